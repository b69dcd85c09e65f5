"""How well the models that edgead trains and compiles find real defects, beside the simplest detectors.

    python benchmarks/accuracy.py                          # six data sets; keeps its runs in runs/accuracy
    python benchmarks/accuracy.py --only mtd-draw1         # one of them: share the work between processes
    python benchmarks/accuracy.py --data part=parts/ --steps 2000 --seed 0 --seed 1
    python benchmarks/accuracy.py --quick

Every data set is trained with the same settings and evaluated as it is trained and in INT8; the rivals of
`simple_detectors` see the same images through the same backbone. The magnetic tiles are drawn three times,
whole tiles to one side. Test images choose nothing: the last step is the one that is evaluated, threshold and
accuracy gate use good images held out of training. What is finished in `--work` is not done again.
"""

from __future__ import annotations

import csv
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from accuracy_plot import plot
from common import ROOT, Row, json_option, median_ms, quick_option, report, time_in_turns
from simple_detectors import FIGURES, Reached, best_rival, detectors, figures_of, rivals_on
from trainings import Workshop, subset

import edgead
from edgead.compiler.recipe import Recipe, load_recipe
from edgead.datasets import open_dataset
from edgead.evaluation.evaluator import Evaluation, evaluate_samples, predictor_from_inspector
from edgead.evaluation.evaluator import predictor_from_module as predictor_from_model
from edgead.images import read_image
from edgead.metrics import AU_PRO, CAUGHT_AT_2_PERCENT, IMAGE_AUROC
from edgead.training.settings import TrainSettings

SHARED = ROOT.parent / "shared" / "data"
SETS = ("mtd", "pcb", "kolektorsdd", "bsdata", "aitex_fabric03", "piped_brg01_rl")
DRAWN = "mtd"  # the set whose groups are known: it is drawn anew, whole groups to one side
DRAWS = 3  # the first is the set's own split
STEPS = 1300
STAGES = ("float", "int8")
# (set, metric's key) -> (bar, goal), in INT8
BARS = {
    ("mtd", IMAGE_AUROC.key): (0.90, 0.96),
    ("mtd", AU_PRO.key): (0.82, 0.88),
    ("mtd", CAUGHT_AT_2_PERCENT.key): (0.60, 0.85),
}


@dataclass(frozen=True)
class Subject:
    """One split of one data set, and how its images are grouped."""

    data: str  # name of the data set
    draw: int
    path: Path
    group_by: str | None = None

    @property
    def name(self) -> str:
        return f"{self.data}-draw{self.draw}" if self.draw else self.data


@dataclass(frozen=True)
class Result:
    """One training of one subject: its figures as trained and in INT8, and the rivals' on the same images."""

    subject: str
    data: str
    seed: int
    minutes: float
    figures: Mapping[str, Mapping[str, float | None]]  # by stage and metric's key
    rejected: Mapping[str, int]  # good test images at or above the threshold, by stage
    good: int
    promised: float  # rate of false rejects that the threshold states
    interval: tuple[float, float]  # of that rate
    groups: int  # of held-out images
    bundle: str  # name of the file in the folder of the runs
    gate: str
    rivals: Mapping[str, Mapping[str, float | None]]  # by rule and metric's key
    control: float | None

    def drop(self, key: str) -> float:
        return _known(self.figures["float"][key]) - _known(self.figures["int8"][key])

    def best_rival(self, key: str) -> tuple[float, str]:
        return max((_known(figures[key]), rule) for rule, figures in self.rivals.items())


@click.command(help=__doc__.split("\n", maxsplit=1)[0])
@click.option("--data", "pairs", multiple=True, metavar="NAME=PATH", help="Data sets.  [default: all six]")
@click.option("--only", multiple=True, metavar="NAME", help="Of these, as mtd, mtd-draw1 or pcb.")
@click.option("--work", default="runs/accuracy", show_default=True, metavar="DIR", help="Keeps the runs.")
@click.option("--steps", type=click.IntRange(min=1), default=STEPS, show_default=True, help="Of a training.")
@click.option("--seed", "seeds", multiple=True, type=int, default=(0,), show_default=True)
@click.option("--times", is_flag=True, help="Time one image each and plot; while nothing else runs.")
@quick_option
@json_option
def main(
    pairs: tuple[str, ...],
    only: tuple[str, ...],
    work: str,
    steps: int,
    seeds: tuple[int, ...],
    times: bool,
    quick: bool,
    json_path: str | None,
) -> None:
    with tempfile.TemporaryDirectory(prefix="edgead-accuracy-") as temporary:
        folder = Path(temporary if quick else work)
        subjects = [one for one in subjects_of(pairs, folder) if not only or {one.name, one.data} & {*only}]
        if not subjects:
            raise click.UsageError(
                f"No data set of these names in {SHARED}. Give your own: --data NAME=PATH."
            )
        if quick:
            subjects, seeds, steps = [few_images(subjects[0], folder)], seeds[:1], 2
        results = [
            _result(one, TrainSettings(steps=steps, seed=seed), folder, quick=quick)
            for one in subjects
            for seed in seeds
        ]
        rows = list(result_rows(results))
        if times:
            milliseconds = _milliseconds(subjects[0], folder / results[0].bundle)
            rows += [Row(f"one image: {name}", value, "ms p50") for name, value in milliseconds.items()]
            plot(results, milliseconds, ROOT / "docs" / "accuracy.png")
    each = [asdict(result) for result in results]
    settings = {"steps": steps, "seeds": seeds, "results": each}
    report("accuracy", rows, json_path=json_path, quick=quick, settings=settings)


def subjects_of(pairs: Sequence[str], work: Path) -> Iterator[Subject]:
    if pairs:
        for pair in pairs:
            name, separator, path = pair.partition("=")
            if not separator or not name or not path:
                raise click.UsageError(f"--data is written NAME=PATH; '{pair}' is not.")
            yield Subject(name, 0, Path(path))
        return
    for name in SETS:
        path, groups = SHARED / name, SHARED / f"{name}_groups.json"
        if not path.is_dir():
            continue
        if name != DRAWN or not groups.is_file():
            yield Subject(name, 0, path)
            continue
        group_of = {file: str(group) for file, group in json.loads(groups.read_text()).items()}
        table = _group_table(work / f"{name}-groups.csv", group_of)
        yield Subject(name, 0, path, group_by=table)
        for draw in range(1, DRAWS):
            yield Subject(name, draw, drawn_split(work, path, group_of, draw=draw), group_by=table)


def _group_table(path: Path, group_of: Mapping[str, str]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "group"), *sorted(group_of.items())])
    return str(path.resolve())


def drawn_split(work: Path, data: Path, group_of: Mapping[str, str], *, draw: int) -> Path:
    """A folder of links: `data` with as many good test images, of other groups, none of which trains."""
    dataset = open_dataset(data)
    good = [*dataset.train, *(sample for sample in dataset.test if not sample.is_anomalous)]
    wanted, chosen = len(good) - len(dataset.train), set[str]()
    order = np.random.default_rng(draw).permutation(sorted(set(group_of.values())))
    for group in order:
        if sum(group_of[sample.path.name] in chosen for sample in good) >= wanted:
            break
        chosen.add(str(group))
    root = work / f"{data.name}-draw{draw}-data"
    for sample in good:
        side = "test" if group_of[sample.path.name] in chosen else "train"
        _link(sample.path, root / side / "good" / sample.path.name)
    for sample in dataset.test:
        if sample.is_anomalous:
            _link(sample.path, root / sample.path.relative_to(data))
            if sample.mask_path is not None:
                _link(sample.mask_path, root / sample.mask_path.relative_to(data))
    return root


def _link(path: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.is_symlink():
        place.symlink_to(path.resolve())


def few_images(subject: Subject, folder: Path) -> Subject:
    dataset = open_dataset(subject.path)
    names = {sample.path.name for sample in dataset.train[:: max(1, len(dataset.train) // 16)]}
    every = max(1, len(dataset.test) // 24)
    few = subset(folder / "few", subject.path, train_names=names, test_every=every)
    return replace(subject, path=few, group_by=None)


def recipe_of(*, quick: bool) -> Recipe:
    recipe = load_recipe("default")
    if not quick:
        return recipe
    few = replace(recipe.calibration, images=8)
    return replace(recipe.with_max_drop(1.0), calibration=few)  # hardly trained: there is nothing to gate


def _result(subject: Subject, settings: TrainSettings, work: Path, *, quick: bool) -> Result:
    if subject.group_by is not None:
        settings = replace(settings, group_by=subject.group_by)
    if quick:
        settings = replace(settings, selection_batches=1, batch=4)
    workshop = Workshop(work, recipe=recipe_of(quick=quick))
    run = workshop.run(subject.path, settings, label=f"{subject.name}-seed{settings.seed}")
    bundle, gate = workshop.bundle(run)
    kept = bundle.with_suffix(".figures.json")
    if kept.exists():
        return Result(**json.loads(kept.read_text(encoding="utf-8")))
    test = open_dataset(subject.path).test
    model = predictor_from_model(run.model(), height=run.height, width=run.width, rule=run.resize)
    with edgead.open(bundle) as inspector:
        thresholds = {"float": run.threshold.score, "int8": inspector.manifest.threshold.score}
        found = {
            "float": evaluate_samples(model, test),
            "int8": evaluate_samples(predictor_from_inspector(inspector), test),
        }
    rivals, control = _rivals(subject, work)
    result = Result(
        subject=subject.name,
        data=subject.data,
        seed=settings.seed,
        minutes=run.seconds / 60,
        figures={stage: figures_of(one) for stage, one in found.items()},
        rejected={stage: _rejected(one, thresholds[stage]) for stage, one in found.items()},
        good=sum(not sample.is_anomalous for sample in test),
        promised=run.threshold.false_alarm_rate,
        interval=(run.threshold.interval_low, run.threshold.interval_high),
        groups=run.threshold.good_groups,
        bundle=bundle.name,
        gate=gate,
        rivals=rivals,
        control=control,
    )
    kept.write_text(json.dumps(asdict(result)), encoding="utf-8")
    return result


def _rejected(found: Evaluation, threshold: float) -> int:
    return sum(record.score >= threshold for record in found.records if not record.is_anomalous)


def _rivals(subject: Subject, work: Path) -> tuple[dict[str, Any], float | None]:
    """The rivals' figures by rule, and the control's image AUROC; computed once for each subject."""
    kept = work / f"{subject.name}-rivals.json"
    if not kept.exists():
        reached, control = rivals_on(open_dataset(subject.path))
        found = {one.rival: one.figures for one in reached}
        content = {"rivals": found, "control": None if control is None else control.auroc}
        kept.write_text(json.dumps(content), encoding="utf-8")
    content = json.loads(kept.read_text(encoding="utf-8"))
    return content["rivals"], content["control"]


def _milliseconds(subject: Subject, bundle: Path) -> dict[str, float]:
    """Median times of one image in turns: ours in INT8, and the rivals as they are, torch in float32."""
    dataset = open_dataset(subject.path)
    image = read_image(dataset.test[0].path)
    rivals = detectors(dataset.train)
    with edgead.open(bundle) as inspector:
        calls: dict[str, Callable[[], object]] = {"edgead, INT8": lambda: inspector.inspect(image)}
        for name, call in rivals.items():
            calls[f"{name}, torch"] = lambda call=call: call(image)  # type: ignore[misc]
        taken = time_in_turns(calls, rounds=20)
    return {name: median_ms(samples) for name, samples in taken.items()}


def result_rows(results: Sequence[Result]) -> Iterator[Row]:
    """The claims: each set, the means over sets, the worst set, thresholds, drops and times of training."""
    by_set = {name: [r for r in results if r.data == name] for name in dict.fromkeys(r.data for r in results)}
    for name, own in by_set.items():
        yield from _set_rows(name, own)
    yield from _summary_rows(by_set)
    yield from _threshold_rows(results)
    for metric in (IMAGE_AUROC, AU_PRO):
        drops = {f"{r.subject} seed {r.seed}": r.drop(metric.key) for r in results}
        how = "float minus INT8: " + ", ".join(f"{name} {drop:+.4f}" for name, drop in drops.items())
        mean, worst = statistics.fmean(drops.values()), max(drops.values())
        yield Row(f"mean drop of {metric.title} to INT8", mean, "", 0.003, 0.001, how=how)
        yield Row(f"worst drop of {metric.title} to INT8", worst, "", 0.01, 0.001, how=how)
    yield Row("longest training", max(r.minutes for r in results), "min", 30, 10, how="one process")


def _set_rows(name: str, own: Sequence[Result]) -> Iterator[Row]:
    how = "; ".join(f"{r.subject} seed {r.seed}: {_both_stages(r)}" for r in own)
    for stage in STAGES:
        for metric in FIGURES:
            bar, goal = BARS.get((name, metric.key), (None, None)) if stage == "int8" else (None, None)
            claim = f"{name}: {_title(stage)}, {metric.title}"
            yield Row(claim, _ours(own, stage, metric.key), "", bar, goal, True, how)
    for metric in (IMAGE_AUROC, AU_PRO):
        rules = ", ".join(sorted({r.best_rival(metric.key)[1] for r in own}))
        yield Row(f"{name}: best rival, {metric.title}", _best(own, metric.key), "", None, None, True, rules)
    controls = [r.control for r in own if r.control is not None]
    if controls:
        yield Row(f"{name}: control, thumbnails, image AUROC", statistics.fmean(controls), "")


def _both_stages(result: Result) -> str:
    return ", ".join(f"{stage} {_known(result.figures[stage][IMAGE_AUROC.key]):.4f}" for stage in STAGES)


def _summary_rows(by_set: Mapping[str, Sequence[Result]]) -> Iterator[Row]:
    """Means over the sets in INT8 beside the one rival rule that is best on that mean, and the worst set."""
    rules = next(iter(by_set.values()))[0].rivals
    reached = {name: [_rival(own, rule) for rule in rules] for name, own in by_set.items()}
    for metric, bar, goal in ((IMAGE_AUROC, 0.03, 0.06), (AU_PRO, 0.03, 0.08)):
        rule, best = best_rival(reached, key=metric.key)
        mean = statistics.fmean(_ours(own, "int8", metric.key) for own in by_set.values())
        yield Row(f"mean of {len(by_set)} sets, INT8, {metric.title}", mean, "", None, None, True)
        yield Row(f"mean of {len(by_set)} sets, best rival rule ({rule}), {metric.title}", best, "")
        yield Row(f"{metric.title} over the best rival rule, mean", mean - best, "", bar, goal, True)
    key = IMAGE_AUROC.key
    gaps = {name: _ours(own, "int8", key) - _best(own, key) for name, own in by_set.items()}
    how = ", ".join(f"{name} {gap:+.4f}" for name, gap in gaps.items())
    yield Row("worst set: INT8 over its own best rival", min(gaps.values()), "", -0.02, 0.0, True, how)


def _threshold_rows(results: Sequence[Result]) -> Iterator[Row]:
    for stage in STAGES:
        each = ", ".join(
            f"{r.subject} seed {r.seed} {r.rejected[stage]} of {r.good} "
            f"(promised {r.promised:.1%}, {r.interval[0]:.1%} to {r.interval[1]:.1%}, {r.groups} groups)"
            for r in results
        )
        share = sum(r.rejected[stage] for r in results) / sum(r.good for r in results)
        yield Row(f"good parts rejected, all sets, {_title(stage)}", share, "", 0.04, None, how=each)


def _title(stage: str) -> str:
    return {"float": "as trained", "int8": "INT8"}[stage]


def _ours(results: Sequence[Result], stage: str, key: str) -> float:
    """Our mean over draws and seeds."""
    return statistics.fmean(_known(result.figures[stage][key]) for result in results)


def _best(results: Sequence[Result], key: str) -> float:
    """The mean of each draw's own best rival."""
    return statistics.fmean(result.best_rival(key)[0] for result in results)


def _rival(results: Sequence[Result], rule: str) -> Reached:
    """The means of one rival over draws."""
    keys = [metric.key for metric in FIGURES]
    means = {key: statistics.fmean(_known(result.rivals[rule][key]) for result in results) for key in keys}
    return Reached(rule, dict(means))


def _known(value: float | None) -> float:
    return float("nan") if value is None else value


if __name__ == "__main__":
    main()
