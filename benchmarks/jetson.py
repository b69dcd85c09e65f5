"""What can be shown of a model for Jetson without one: the rules, the Q/DQ numbers, the bundle's size.

    python benchmarks/jetson.py --run runs/accuracy/mtd-seed0-90f648fa2a
    python benchmarks/jetson.py --rules-only          # every family and backbone against every version
    python benchmarks/jetson.py --quick

The Q/DQ model is executed by ONNX Runtime by the letter of the graph, without the fusions that make integer
kernels of it. Nothing here has run on TensorRT.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from common import Row, json_option, quick_option, report

from edgead.compiler.from_run import compile_run
from edgead.compiler.gate import map_correlation
from edgead.compiler.recipe import load_recipe
from edgead.errors import AccuracyGateError
from edgead.profiles.target import Target, list_targets, read_target

DROP, CORRELATION, MEGABYTES = 0.003, 0.98, 6.0
_NARROW = (64, 128, 128, 64)


@click.command(help=__doc__.split("\n", maxsplit=1)[0])
@click.option("--run", "run_path", type=click.Path(path_type=Path), help="A trained run, its data in place.")
@click.option("--target", "target_name", default="jetson-orin", show_default=True, metavar="NAME")
@click.option("--every", default=1, show_default=True, help="Evaluate each n-th test image.")
@click.option("--rules-only", is_flag=True, help="Nothing but the rules.")
@json_option
@quick_option
def main(
    run_path: Path | None, target_name: str, every: int, rules_only: bool, json_path: str | None, quick: bool
) -> None:
    rows: list[Row] = []
    if rules_only or quick or run_path is None:
        rows += _rules(quick=quick)
    if run_path is not None and not rules_only:
        rows += _numbers(run_path, read_target(target_name), every=10 if quick else every)
    settings = {"run": run_path and run_path.name, "target": target_name, "every": every}
    name = "jetson" if run_path is not None else "jetson_rules"
    report(name, rows, json_path=json_path, quick=quick, settings=settings)


def _rules(*, quick: bool) -> list[Row]:
    """Refusals of every version of every Jetson, model by model, in float and quantized."""
    from edgead.compiler import tensorrt_rules

    targets = [target for target in list_targets() if target.engine == "tensorrt"]
    targets = [target for target in targets if target.name != "jetson-nano"]  # too old for edgead itself
    names = {version.name for target in targets for version in tensorrt_rules.versions_for_target(target)}
    wanted = [tensorrt_rules.find_version(name) for name in sorted(names)]
    rows = []
    for label, content in _models(quick=quick):
        findings = tensorrt_rules.check_model(content, wanted)
        refused = [finding for finding in findings if finding.level == "refuse"]
        how = f"{len(targets)} targets, TensorRT {', '.join(v.name for v in wanted)}"
        details = {"refusals": [str(finding) for finding in refused[:20]]}
        rows.append(Row(f"refusals: {label}", len(refused), "nodes", bar=0, goal=0, how=how, details=details))
        slow = len({(finding.rule, finding.name) for finding in findings}) - len(
            {(f.rule, f.name) for f in refused}
        )
        rows.append(Row(f"slow: {label}", slow, "nodes", how=how))
        click.echo(f"  {label}: {len(refused)} refused, {slow} slow", err=True)
    return rows


def _models(*, quick: bool) -> Iterator[tuple[str, bytes]]:
    """(label, graph) of every family, preset and backbone with random weights, at 128 x 128.

    The paper's RealNets are narrowed: at their own width an ONNX file cannot hold them. Their operators stay.
    """
    from edgead.models.backbones import BACKBONES
    from edgead.models.families import model_families

    wanted: list[tuple[str, str, str | None]] = [
        (family.name, preset, None) for family in model_families().values() for preset in family.presets
    ]
    wanted += [("realnet", "compact", name) for name in BACKBONES]
    for family, preset, backbone in wanted[: 2 if quick else None]:
        narrow = _NARROW if family == "realnet" and preset.startswith("paper") else None
        label = f"{family} {preset}" + (f" on {backbone}" if backbone else "")
        label += f" with channels {narrow}" if narrow else ""
        content = _graph(family, preset, backbone, narrow)
        yield label, content
        if preset == "compact" and not quick:
            yield f"{label}, int8", _quantized(content)


def _graph(
    family: str, preset: str, backbone: str | None, budgets: tuple[int, ...] | None, size: int = 128
) -> bytes:
    from edgead.compiler.export import onnx_from_model
    from edgead.compiler.tensorrt_graph import onnx_for_tensorrt
    from edgead.models.families import model_family
    from edgead.models.inspection import fold_for_export

    config = model_family(family).configure(
        preset, backbone=backbone, channels=budgets, input_size=(size, size)
    )
    return onnx_for_tensorrt(onnx_from_model(fold_for_export(_random(config)), height=size, width=size))


def _random(config: Any) -> Any:
    """An inspection model with random weights: its operators are those of a trained one."""
    import torch

    from edgead.models.backbones import build_backbone
    from edgead.models.families import build_network
    from edgead.models.inspection import InspectionModel
    from edgead.models.scoring.rule import ScoreRule, fit_rule

    torch.manual_seed(0)
    backbone = build_backbone(config.backbone, stages=config.stages, weights=None)
    network = build_network(config, backbone).train()
    with torch.no_grad():
        maps = network.backbone(torch.rand(2, 3, *config.input_size) * 255)
        network.fit_good([maps], torch.Generator().manual_seed(0))
        network(maps)
        rule = fit_rule(ScoreRule(), network.eval().score_components(maps))
    return InspectionModel(network, rule).eval()


def _quantized(content: bytes, size: int = 128) -> bytes:
    from edgead.compiler.quantize import int8_onnx_from_onnx

    images = [*np.random.default_rng(0).integers(0, 256, (4, size, size, 3), np.uint8)]
    return int8_onnx_from_onnx(content, images, spec=load_recipe("tensorrt").quantization)


def _numbers(run_path: Path, target: Target, *, every: int) -> list[Row]:
    """Accuracy of the float graph and of the bundle's Q/DQ graph on the run's test images, and its size."""
    from edgead.bundle import read_bundle
    from edgead.training.data import products_of_run
    from edgead.training.run import read_run

    run = read_run(run_path)
    samples = [sample for product in products_of_run(run).products for sample in product.dataset.test][
        ::every
    ]
    with tempfile.TemporaryDirectory() as folder:
        gate, megabytes, paths = _compiled(run_path, target, Path(folder))
        graphs = [
            bytes(content)
            for path in paths
            for name, content in read_bundle(path).files.items()
            if name.endswith(".onnx")
        ]
    results = [_evaluated(graph, samples, run) for graph in graphs]
    (before, answers), (after, found) = results
    correlation = map_correlation(answers, found)
    how = f"{len(samples)} test images of {run.name}, every {every}; ONNX Runtime, Q/DQ by the letter"
    rows = []
    for metric, label in (
        ("image_auroc", "image AUROC"),
        ("au_pro", "AU-PRO"),
        ("pixel_auroc", "pixel AUROC"),
    ):
        drop = before[metric] - after[metric]
        details = {"float": before[metric], "int8": after[metric]}
        bar = DROP if metric != "pixel_auroc" else None
        rows.append(Row(f"{label}: drop from float", drop, "", bar=bar, how=how, details=details))
    rows.append(
        Row("maps: correlation with float", correlation, "", bar=CORRELATION, higher_is_better=True, how=how)
    )
    details = {"gate": gate}
    rows.append(
        Row(f"bundle for {target.name}", megabytes, "MB", bar=MEGABYTES, how=run.name, details=details)
    )
    return rows


def _compiled(run_path: Path, target: Target, folder: Path) -> tuple[str, float, list[Path]]:
    """(what the gate said, MB of the INT8 bundle, the bundles in float and INT8)."""
    in_float, in_int8 = folder / "float.edgead", folder / "int8.edgead"

    def tell(stage: object) -> None:
        click.echo(f"  {stage}", err=True)

    compile_run(run_path, target=target, out=in_float, precision="f32", threads=1, on_stage=tell)
    recipe, gate = load_recipe(target.options["calibration"]), "passed"
    try:
        done = compile_run(run_path, target=target, out=in_int8, recipe=recipe, threads=1, on_stage=tell)
        gate += f", {len(done.reverted)} operations back in float"
    except AccuracyGateError as refusal:
        gate = f"refused: {refusal}"
        done = compile_run(run_path, target=target, out=in_int8, recipe=recipe.with_max_drop(1.0), threads=1)
    return gate, done.megabytes, [in_float, in_int8]


def _evaluated(graph: bytes, samples: Sequence[Any], run: Any) -> tuple[dict[str, Any], list[Any]]:
    from edgead.evaluation.evaluator import evaluate_samples

    predict, answers = _predictor(graph, run)
    return evaluate_samples(predict, samples).summary(), answers


def _predictor(graph: bytes, run: Any) -> tuple[Callable[[np.ndarray], Any], list[Any]]:
    """A predictor of a graph by the letter, and the list in which it keeps its answers."""
    import onnxruntime

    from edgead.compiler.export import INPUT, OUTPUTS
    from edgead.images import resize_image
    from edgead.map_and_score import MapAndScore

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    height, width = run.config.input_size
    answers: list[Any] = []

    def predict(image: np.ndarray) -> MapAndScore:
        fitted = resize_image(image, height, width)
        anomaly_map, score = session.run(list(OUTPUTS), {INPUT: fitted[None]})
        answers.append((anomaly_map[0], float(score[0])))
        return MapAndScore(anomaly_map[0], float(score[0]))

    return predict, answers


if __name__ == "__main__":
    main()
