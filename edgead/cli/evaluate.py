"""`edgead evaluate`: measure a run or a bundle on labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgead.cli.options import engine_option, json_option, threads_option, write_json
from edgead.cli.progress import progress_share
from edgead.errors import UsageError

if TYPE_CHECKING:
    from edgead.api.opened_model import OpenedModel
    from edgead.datasets import ImageDataset
    from edgead.evaluation.evaluator import Evaluation
    from edgead.report import ReportData


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

    The control is what the nearest training image tells by thumbnails alone, without any network: far above
    0.5, the test images differ from training by more than their defects, and the figures owe something to it.

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
            engine=engine,
            threads=threads,
            json_path=json_path,
        )
        return
    from edgead.api.functions import open_labelled
    from edgead.api.opened_model import open_model
    from edgead.datasets.thumbnails import thumbnail_control
    from edgead.evaluation.evaluator import evaluate_samples

    dataset = open_labelled(data)
    opened = open_model(run_or_bundle, engine=engine, threads=threads)
    with opened as model, progress_share("Evaluating") as on_share:
        evaluation = evaluate_samples(
            model.predict,
            dataset.test,
            size=(size, size),
            keep_maps=report_path is not None,
            on_progress=lambda done, total: on_share(done / total),
        )
    answer = _answer(model, dataset, evaluation)
    control = thumbnail_control(dataset)
    remarks = () if control is None else tuple(filter(None, (control.text, control.warning)))
    remarks += evaluation.mask_remarks
    answer["mask_remarks"] = list(evaluation.mask_remarks)
    answer["thumbnail_control"] = None if control is None else asdict(control)
    if report_path is not None:
        from edgead.report import write_report

        write_report(report_path, replace(_report_data(model, dataset, evaluation), notes=remarks))
    if json_path is not None:
        write_json(json_path, answer)
    if json_path != "-":
        _print(answer, report_path)
        if control is not None:
            click.echo(control.text)
    _warn(dataset, [*evaluation.mask_remarks, "" if control is None else control.warning])


def _warn(dataset: ImageDataset, warnings: Sequence[str]) -> None:
    """What to know beside the figures; empty warnings are none."""
    for warning in filter(None, warnings):
        click.echo(f"Warning: {warning}", err=True)
    if dataset.ignored:
        click.echo(f"{dataset.root}: {dataset.ignored_in_words}", err=True)


def _answer(model: OpenedModel, dataset: ImageDataset, evaluation: Evaluation) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "subject": str(model.path),
        "model": model.description,
        "data": str(dataset.root),
    }
    answer |= evaluation.to_json()
    answer["at_threshold"] = _at_threshold(evaluation, model.threshold.score)
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


def _report_data(model: OpenedModel, dataset: ImageDataset, evaluation: Evaluation) -> ReportData:
    from edgead.device.machine import describe_machine
    from edgead.report import Latency, ReportData

    latency = None
    if model.is_timed:
        latency = Latency(
            [1e3 * record.seconds for record in evaluation.records],
            scenario="Each image of this evaluation once, between reading files. "
            "`edgead bench` measures latency in a loop.",
        )
    found = describe_machine()
    machine = {"processor": found["cpu"], "usable cores": found["usable_cores"], "system": found["system"]}
    return ReportData(
        title=f"{dataset.name}: {model.path.name}",
        dataset=f"the test images of {dataset.name}",
        model=model.description,
        evaluation=evaluation,
        threshold=model.threshold,
        latency=latency,
        machine=machine,
        **model.report_fields,
    )


def _print(answer: dict[str, Any], report: Path | None) -> None:
    bad = answer["anomalous_images"]
    click.echo(f"{answer['model']}\n{answer['data']}: {answer['images'] - bad} good, {bad} defective images")
    from edgead.metrics import IMAGE_AUROC, KEY_WIDTH

    for name, value in answer["metrics"].items():
        click.echo(f"  {name:<{KEY_WIDTH}} {_figure(value)}")
    click.echo(_verdicts(answer["at_threshold"]))
    for kind, found in answer["by_kind"].items():
        click.echo(
            f"  {kind:<{KEY_WIDTH}} {found['count']:>5} images, image AUROC {_figure(found[IMAGE_AUROC.key])}"
        )
    if report is not None:
        click.echo(f"Report: {report}")


def _verdicts(at: dict[str, Any]) -> str:
    defects, good = at["caught"] + at["missed"], at["false_alarms"] + at["passed"]
    return (
        f"At the threshold {at['threshold']:.4g}: {at['caught']} of {defects} defects caught "
        f"({at['missed']} missed: escapes), "
        f"{at['false_alarms']} of {good} good parts rejected (false rejects)"
    )


def _figure(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4f}"
