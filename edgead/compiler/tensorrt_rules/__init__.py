"""Says which nodes of an ONNX file a version of TensorRT refuses or runs slowly, without TensorRT.

What it says is what the documents of TensorRT say (each rule names its own); it is no build. A graph without
a finding may still fail on a device, for its builder also needs an implementation of every layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import onnx

from edgead.compiler.tensorrt_rules.checks import CHECKS, CheckedGraph
from edgead.compiler.tensorrt_rules.table import (
    OLD_JETSONS,
    REFUSE,
    SLOW,
    Rule,
    Version,
    find_version,
    rules,
    versions,
    versions_of,
)
from edgead.errors import CompileError
from edgead.profiles.target import Target

__all__ = [
    "REFUSE",
    "SLOW",
    "Finding",
    "Rule",
    "Version",
    "check_for_target",
    "check_model",
    "demand",
    "find_version",
    "rules",
    "versions",
    "versions_for_target",
    "versions_of",
]
_NAMED = 4


@dataclass(frozen=True)
class Finding:
    """A node or tensor that breaks a rule of one version; `level` is "refuse" or "slow"."""

    version: str
    rule: str
    level: str
    name: str
    operator: str
    found: str
    reason: str
    remedy: str
    source: str

    def __str__(self) -> str:
        where = f"{self.operator} '{self.name}'" if self.operator else f"'{self.name}'"
        return f"TensorRT {self.version}: {where}: {self.reason} ({self.found}). {self.remedy} [{self.rule}]"

    def to_json(self) -> dict[str, str]:
        """Plain data for `json.dumps`."""
        return asdict(self)


def check_model(model: bytes, wanted: Iterable[Version]) -> list[Finding]:
    """What each version refuses or runs slowly in an ONNX file; raises CompileError for one that is none."""
    proto = _parse(model)
    found, named = [], list(wanted)
    if not named:
        return []
    graph = CheckedGraph(proto, named[0])
    for version in named:
        graph.version = version
        for rule in rules():
            if rule.holds_for(version):
                for name, operator, value in CHECKS[rule.check](graph, rule.settings):
                    found.append(
                        Finding(
                            version.name,
                            rule.name,
                            rule.level,
                            name,
                            operator,
                            value,
                            rule.reason,
                            rule.remedy,
                            rule.source,
                        )
                    )
    return found


def _parse(model: bytes) -> onnx.ModelProto:
    try:
        proto = onnx.load_model_from_string(model)
        onnx.checker.check_model(proto)
    except Exception as error:  # protobuf's errors and the checker's share no base class of their own
        gist = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise CompileError(f"Not a valid ONNX model: {gist}. Export it again.") from error
    if not proto.graph.node:
        raise CompileError("Not a valid ONNX model: it has no nodes. Export it again.")
    return proto


def versions_for_target(target: Target) -> tuple[Version, ...]:
    """The versions of TensorRT that a target's device may have; CompileError where edgead runs on none.

    A Jetson has those of its JetPacks; any other GPU may have each.
    """
    capability = target.device.get("compute_capability")
    value = None if capability is None else capability.value
    found = versions_of(value)
    if not found:
        raise CompileError(
            f"Target {target.name}: its last system is {OLD_JETSONS[value or 0.0]}, and edgead needs "
            f"TensorRT {next(iter(versions()))} or newer. Take a newer Jetson; for a look at its figures: "
            f"edgead targets {target.name}"
        )
    return found


def check_for_target(model: bytes, target: Target) -> list[Finding]:
    """The findings for every version of TensorRT that the target's device may have."""
    return check_model(model, versions_for_target(target))


def demand(findings: Sequence[Finding], *, origin: str) -> None:
    """Raise CompileError that names the first refusals and how many there are."""
    refused = [finding for finding in findings if finding.level == REFUSE]
    if refused:
        reasons = " ".join(map(str, refused[:_NAMED]))
        more = f" And {len(refused) - _NAMED} more." if len(refused) > _NAMED else ""
        raise CompileError(f"{origin}: TensorRT would refuse it. {reasons}{more}")
