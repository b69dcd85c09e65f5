"""Many trainings on the machines of a Ray cluster, or on this one; a lost worker costs no product.

Each training is one task with the processors, GPUs and memory that the plan declares; Ray places it where
these are free. A worker that is killed, a machine that fails or memory that runs out brings the task back,
and it goes on from its last checkpoint: run folders lie on a disk that all machines see. An error of the
training itself (unusable images, settings) would come again: it ends that product, and the others go on.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgead.errors import TrainingError, UsageError
from edgead.training.jobs import Job, JobResult, run_job

LOCAL = "local"
WAITING, TRAINING, DONE, FAILED = "waiting", "training", "done", "failed"
_POLL_S = 0.5
_CONNECT_S = 10
_LOCAL_STORE = 100 * 2**20  # Ray's smallest but a little: tasks pass no arrays


@dataclass(frozen=True)
class Resources:
    """Processors, GPUs and memory of one training."""

    cpus: float = 1
    gpus: float = 0
    memory_gb: float = 0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0:
                raise ValueError(f"expected {name} to be a number from 0 up, found {value}")

    def for_ray(self) -> dict[str, Any]:
        memory = {"memory": int(self.memory_gb * 2**30)} if self.memory_gb else {}
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, **memory}


@dataclass
class JobState:
    """Where a job stands; `losses` says of each lost attempt what happened."""

    job: Job
    status: str = WAITING
    losses: list[str] = field(default_factory=list)
    result: JobResult = field(default_factory=JobResult)

    def progress(self) -> dict[str, Any]:
        """What the worker last noted: stage, step, steps, host and pid; nothing before it starts."""
        try:
            noted = json.loads(Path(self.job.progress).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return noted if isinstance(noted, dict) else {}


OnChange = Callable[[Sequence[JobState]], None]


def train_all(
    jobs: Sequence[Job],
    *,
    resources: Resources,
    address: str = LOCAL,
    retries: int = 3,
    on_change: OnChange = lambda states: None,
) -> list[JobState]:
    """Run all jobs and return how each ended; `on_change` is called about twice a second.

    `address` is that of a Ray cluster, or "local". A job that loses more than `retries` workers has failed.
    Raises TrainingError where Ray cannot be reached, UsageError where no machine of it has the resources.
    """
    states = [JobState(job) for job in jobs]
    for job in jobs:
        Path(job.progress).unlink(missing_ok=True)  # of an earlier command
    with connected(address) as ray:
        _require(ray, resources)
        task = ray.remote(max_retries=0, **resources.for_ray())(run_job)
        running = {task.remote(state.job): state for state in states}
        on_change(states)
        while running:
            ready, _ = ray.wait(list(running), num_returns=1, timeout=_POLL_S)
            for reference in ready:
                state = running.pop(reference)
                if not _settle(ray, reference, state, retries):
                    running[task.remote(state.job)] = state
            for state in running.values():
                state.status = TRAINING if state.progress() else WAITING
            on_change(states)
    return states


def _settle(ray: Any, reference: Any, state: JobState, retries: int) -> bool:
    """Take a task's result; False where its worker was lost and another may try."""
    try:
        state.result = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        state.result = JobResult(error=f"{error.cause!r}")
    except ray.exceptions.RayError as error:
        where = state.progress()
        at = f" on {where['host']} at step {where['step']}" if where else ""
        state.losses.append(f"{type(error).__name__}{at}")
        Path(state.job.progress).unlink(missing_ok=True)
        if len(state.losses) <= retries:
            state.status = WAITING
            return False
        state.result = JobResult(error=f"lost {len(state.losses)} workers: {'; '.join(state.losses)}")
    state.status = FAILED if state.result.error else DONE
    return True


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray, started on this machine or reached at `address`; one that the host program uses stays as it is."""
    import ray
    import ray.exceptions

    if ray.is_initialized():
        yield ray
        return
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address == LOCAL:
            ray.init(include_dashboard=False, object_store_memory=_LOCAL_STORE, **quiet)
        else:
            _require_listening(address)
            ray.init(address=address, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        raise TrainingError(
            f"Ray cannot be reached at '{address}': {error}. Start it there (ray start --head) and check the "
            "address, or use --ray local."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _require_listening(address: str) -> None:
    """Raise OSError where nothing answers at host:port: Ray itself would go on trying for minutes."""
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator:  # "auto" and the like
        return
    if not port.isdigit():
        raise ValueError("expected host:port or ray://host:port")
    socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()


def _require(ray: Any, resources: Resources) -> None:
    """Refuse resources that no machine has: Ray would wait for them without end."""
    wanted = {"CPU": resources.cpus, "GPU": resources.gpus, "memory": resources.memory_gb * 2**30}
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(all(have.get(name, 0) >= need for name, need in wanted.items()) for have in machines):
        return
    found = "; ".join(
        f"{have.get('CPU', 0):g} processors, {have.get('GPU', 0):g} GPUs, "
        f"{have.get('memory', 0) / 2**30:.1f} GB"
        for have in machines
    )
    raise UsageError(
        f"Each training needs {resources.cpus:g} processors, {resources.gpus:g} GPUs and "
        f"{resources.memory_gb:.1f} GB, and no machine has that (found {found}). Give "
        "smaller [resources] in the plan."
    )
