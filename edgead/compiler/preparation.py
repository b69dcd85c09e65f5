"""What a graph needs before an engine can take it: one entry for each engine that needs anything.

ONNX is prepared the same for all other engines: nothing is changed, nothing is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgead.compiler import tensorrt_rules
from edgead.compiler.tensorrt_graph import onnx_for_tensorrt
from edgead.engines import engines
from edgead.errors import CompileError
from edgead.profiles.target import Target


@dataclass(frozen=True)
class Preparation:
    """How a graph is made ready for one engine.

    `rewrite` changes the graph without changing its float answers. `check_target` refuses, before any work, a
    device that no bundle can be made for; `check_graph` refuses a graph that the device could not build, and
    returns what it found in words; None: there are no rules. `answers_with` names the engine that answers on
    this machine where the engine itself builds on the device alone. `packs_half`: the bundle may hold the
    model in half precision too.
    """

    rewrite: Callable[[bytes], bytes] = lambda content: content
    check_target: Callable[[Target], object] = lambda target: None
    check_graph: Callable[[bytes, Target], str] | None = None
    answers_with: str | None = None
    packs_half: bool = False


def _tensorrt_findings(content: bytes, target: Target) -> str:
    versions = tensorrt_rules.versions_for_target(target)
    findings = tensorrt_rules.check_model(content, versions)
    tensorrt_rules.demand(findings, origin=f"Target {target.name}")
    slow = len({(finding.rule, finding.name) for finding in findings})
    named = ", ".join(version.name for version in versions)
    return f"no refusal by TensorRT {named}; {slow} places that cost speed"


PREPARATIONS = {
    "tensorrt": Preparation(
        rewrite=onnx_for_tensorrt,
        check_target=tensorrt_rules.versions_for_target,
        check_graph=_tensorrt_findings,
        answers_with="onnxruntime",
        packs_half=True,
    )
}


def preparation_for(target: Target) -> Preparation:
    """The preparation for a target's engine.

    Raises CompileError for an engine that this version does not run, and for a device that its engine does
    not serve: at once, not after the minutes of quantizing.
    """
    if target.engine not in engines():
        raise CompileError(
            f"Target {target.name} runs on {target.engine}, which this version of edgead does not run yet "
            f"(it runs {', '.join(engines())}). What is known of the device: edgead targets {target.name}"
        )
    preparation = PREPARATIONS.get(target.engine, Preparation())
    preparation.check_target(target)
    return preparation


def engine_that_answers(engine: str) -> str:
    """The engine that gives the answers of a bundle for `engine` on the machine that compiles."""
    preparation = PREPARATIONS.get(engine)
    return (preparation.answers_with if preparation else None) or engine
