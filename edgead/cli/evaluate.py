"""`edgead evaluate`: measure a run or a bundle on labelled images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgead.cli.options import engine_option, json_option, threads_option, write_json
from edgead.cli.progress import progress_share
from edgead.errors import DataError, UsageError

if TYPE_CHECKING:
    from edgead.bundle import Manifest, ThresholdSpec
    from edgead.datasets import ImageDataset
    from edgead.evaluation.evaluator import Evaluation, Predict
    from edgead.report import ReportData


@dataclass(frozen=True, eq=False)
class Subject:
    """What is evaluated: a predictor, its threshold and what the report says of it."""

    path: Path
    predict: Predict
    threshold: ThresholdSpec | None
    words: str
    report_fields: dict[str, Any] = field(default_factory=dict)
    is_timed: bool = False


@click.command()
@click.argument("run_or_bundle", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--report", "report_path", type=click.Path(path_type=Path), metavar="FILE", help="Write HTML here."
)
@click.option(
    "--table",
    "table_path",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Evaluate a folder of models on a folder of data sets; write the tables here.",
)
@click.option(
    "--size", default=256, show_default=True, type=click.IntRange(min=8), help="Side for pixel metrics."
)
@engine_option
@threads_option
@json_option
def command(
    run_or_bundle: Path,
    data: Path,
    report_path: Path | None,
    table_path: Path | None,
    size: int,
    engine: str | None,
    threads: int | None,
    json_path: str | None,
) -> None:
    """Measure RUN_OR_BUNDLE on the test images of DATA, a folder in the layout of MVTec AD.

    \b
    Examples:
      edgead evaluate part.edgead parts/
      edgead evaluate runs/part parts/ --report report.html --json -
      edgead evaluate models/ data/ --table comparison/

    Maps and masks are brought to --size x --size for the pixel metrics. The test images choose nothing: the
    threshold is the one set in training, or in the bundle.

    With --table, RUN_OR_BUNDLE and DATA are folders of many: a bundle or run in it is a model for all
    products, a folder of them a model for each product by its name; DATA holds products, or data sets.
    """
    if table_path is not None:
        from edgead.cli.evaluate_many import evaluate_many

        if report_path is not None:
            raise UsageError("--report is of one model on one data set, --table of many: give one of them.")
        evaluate_many(
            run_or_bundle,
            data,
            table_path,
            size=size,
            open_subject=lambda path: _opened(path, engine=engine, threads=threads),
            json_path=json_path,
        )
        return
    from edgead.evaluation.evaluator import evaluate

    dataset = _labelled(data)
    opened = _opened(run_or_bundle, engine=engine, threads=threads)
    with opened as subject, progress_share("Evaluating") as on_share:
        evaluation = evaluate(
            subject.predict,
            dataset.test,
            size=(size, size),
            keep_maps=report_path is not None,
            on_progress=lambda done, total: on_share(done / total),
        )
    answer = _answer(subject, dataset, evaluation)
    if report_path is not None:
        from edgead.report import write_report

        write_report(report_path, _report_data(subject, dataset, evaluation))
    if json_path is not None:
        write_json(json_path, answer)
    if json_path != "-":
        _print(answer, report_path)


def _labelled(data: Path) -> ImageDataset:
    from edgead.datasets import open_dataset

    dataset = open_dataset(data)
    if not dataset.test:
        raise DataError(
            f"{data}: expected labelled images in test/good and test/<kind of defect>, found none. "
            "Good images alone say nothing of what a model catches; `edgead run` inspects them."
        )
    return dataset


@contextlib.contextmanager
def _opened(path: Path, *, engine: str | None, threads: int | None) -> Iterator[Subject]:
    """The subject at `path`: a folder is a run, a file a bundle."""
    if path.is_dir():
        if engine or threads:
            raise UsageError(f"{path} is a run, which runs in torch: --engine and --threads are for bundles.")
        yield _run_subject(path)
    else:
        with _bundle_subject(path, engine, threads) as subject:
            yield subject


@contextlib.contextmanager
def _bundle_subject(path: Path, engine: str | None, threads: int | None) -> Iterator[Subject]:
    import edgead
    from edgead.evaluation.evaluator import predictor_from_inspector

    with edgead.open(path, engine=engine, threads=threads) as inspector:
        stated = inspector.manifest
        yield Subject(
            path=path,
            predict=predictor_from_inspector(inspector),
            threshold=replace(stated.threshold, score=inspector.threshold, pixel=inspector.pixel_threshold),
            words=f"{stated.name}: {stated.family}, {stated.precision} on {inspector.engine.name}",
            report_fields=_bundle_fields(stated),
            is_timed=True,
        )


def _bundle_fields(stated: Manifest) -> dict[str, Any]:
    """What the manifest tells the report: the figures of its compile, and where the bundle comes from."""
    metrics = stated.metrics
    return {
        "stages": {"float": metrics.float, stated.precision: metrics.compiled} if metrics.compiled else {},
        "stages_measured_on": metrics.measured_on,
        "trained": _nonempty(
            {
                "model": stated.family,
                "configuration": ", ".join(f"{name} = {value}" for name, value in stated.config.items()),
                "data split": stated.hashes.split,
                "weights": stated.hashes.weights,
                "compiled": f"{stated.created} for {stated.target}, {stated.precision}",
            }
        ),
        "chosen_by": _nonempty(
            {
                "threshold": f"{stated.threshold.good_images} good images ({stated.threshold.method})",
                "calibration list": stated.hashes.calibration,
                "these test images": "chose nothing",
            }
        ),
        "versions": stated.versions,
    }


def _run_subject(path: Path) -> Subject:
    from edgead import __version__
    from edgead.evaluation.evaluator import predictor_from_module
    from edgead.training.run import read_run

    run = read_run(path)
    return Subject(
        path=path,
        predict=predictor_from_module(run.model(), height=run.height, width=run.width, rule=run.resize),
        threshold=run.threshold,
        words=f"{run.name}, float in torch",
        report_fields={
            "trained": run.trained_facts(),
            "chosen_by": {**run.chosen_by_facts(), "these test images": "chose nothing"},
            "versions": {"edgead": __version__},
            "plan": run.plan,
        },
    )


def _nonempty(facts: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in facts.items() if value}


def _answer(subject: Subject, dataset: ImageDataset, evaluation: Evaluation) -> dict[str, Any]:
    answer: dict[str, Any] = {"subject": str(subject.path), "model": subject.words, "data": str(dataset.root)}
    answer |= evaluation.to_json()
    if subject.threshold is not None:
        answer["at_threshold"] = _at_threshold(evaluation, subject.threshold.score)
    return answer


def _at_threshold(evaluation: Evaluation, threshold: float) -> dict[str, Any]:
    over = [(record.is_anomalous, record.score >= threshold) for record in evaluation.records]
    return {
        "threshold": threshold,
        "caught": over.count((True, True)),
        "missed": over.count((True, False)),
        "false_alarms": over.count((False, True)),
        "passed": over.count((False, False)),
    }


def _report_data(subject: Subject, dataset: ImageDataset, evaluation: Evaluation) -> ReportData:
    from edgead.device.machine import describe_machine
    from edgead.report import Latency, ReportData

    latency = None
    if subject.is_timed:
        latency = Latency(
            [1e3 * record.seconds for record in evaluation.records],
            scenario="Each image of this evaluation once, between reading files. "
            "`edgead bench` measures latency in a loop.",
        )
    found = describe_machine()
    machine = {"processor": found["cpu"], "usable cores": found["usable_cores"], "system": found["system"]}
    return ReportData(
        title=f"{dataset.name}: {subject.path.name}",
        dataset=f"the test images of {dataset.name}",
        model=subject.words,
        evaluation=evaluation,
        threshold=subject.threshold,
        latency=latency,
        machine=machine,
        **subject.report_fields,
    )


def _print(answer: dict[str, Any], report: Path | None) -> None:
    bad = answer["anomalous_images"]
    click.echo(f"{answer['model']}\n{answer['data']}: {answer['images'] - bad} good, {bad} defective images")
    for name, value in answer["metrics"].items():
        click.echo(f"  {name:<14} {_figure(value)}")
    if "at_threshold" in answer:
        click.echo(_verdicts(answer["at_threshold"]))
    from edgead.metrics import IMAGE_AUROC

    for kind, found in answer["by_kind"].items():
        click.echo(f"  {kind:<14} {found['count']:>5} images, image AUROC {_figure(found[IMAGE_AUROC.key])}")
    if report is not None:
        click.echo(f"Report: {report}")


def _verdicts(at: dict[str, Any]) -> str:
    defects, good = at["caught"] + at["missed"], at["false_alarms"] + at["passed"]
    return (
        f"At the threshold {at['threshold']:.4g}: {at['caught']} of {defects} defects caught, "
        f"{at['false_alarms']} of {good} good parts rejected"
    )


def _figure(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4f}"
