"""Checkpoints: tensors and JSON in one file, written completely or not at all, never a pickled class."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from edgead.errors import TrainingError
from edgead.files import write_bytes


@dataclass(frozen=True)
class Checkpoint:
    """State after `step` steps: tensors by name (`network.*`, `optimizer.*`) and facts for JSON."""

    step: int
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors under this name, without it."""
        prefix = f"{name}."
        return {key.removeprefix(prefix): t for key, t in self.tensors.items() if key.startswith(prefix)}


def save_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors with facts beside them; an interruption leaves the file that was there before."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(plain, metadata={"facts": json.dumps(facts, allow_nan=False)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote. Raises TrainingError for a file that is missing, damaged or has NaN."""
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            facts = json.loads((file.metadata() or {})["facts"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise TrainingError(
            f"{path} cannot be read as weights ({type(error).__name__}: {error}). Copy it again from where "
            "it was trained, or train again."
        ) from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise TrainingError(
                f"{path}: '{name}' holds values that are not finite. The training diverged or the file is "
                "damaged: train again, with a lower --learning-rate if it happens twice."
            )
    return tensors, facts


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    save_tensors(path, checkpoint.tensors, {**checkpoint.facts, "step": checkpoint.step})


def load_checkpoint(path: Path) -> Checkpoint:
    tensors, facts = load_tensors(path)
    return Checkpoint(int(facts.pop("step")), tensors, facts)


def last_checkpoint(path: Path, *, identity: str) -> Checkpoint | None:
    """The checkpoint to go on from, None without one; TrainingError for that of another training."""
    if not path.exists():
        return None
    found = load_checkpoint(path)
    if found.facts.get("identity") != identity:
        raise TrainingError(
            f"{path} is of a training with other settings or other images. Give another --out, or remove "
            "that file to begin again."
        )
    return found


def write_history(path: Path, entries: Sequence[Mapping[str, Any]], *, first: int) -> None:
    """Write one line of JSON for each step, behind the first `first` lines of the file that is there."""
    kept = path.read_text(encoding="utf-8").splitlines()[:first] if path.exists() and first else []
    lines = kept + [json.dumps(entry) for entry in entries]
    write_bytes(path, "".join(f"{line}\n" for line in lines).encode())


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state per parameter as named tensors; its settings come from the run's settings."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": torch.as_tensor(value)
        for number, values in state.items()
        for name, value in values.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
