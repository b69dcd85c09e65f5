"""What the diffusion source of anomalies costs, what its strength does, and whether it pays.

    python benchmarks/synthesis.py  # time and memory of each size, on this machine
    python benchmarks/synthesis.py --strength runs/sdas/model  # distance from good images, and a classifier
    python benchmarks/synthesis.py --pays runs/sdas/set --steps 1300
    python benchmarks/synthesis.py --quick

`--pays` trains with and without the set, and with it or textures alone; test images choose nothing.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from common import RESULTS, ROOT, Row, json_option, quick_option, report
from trainings import Trained, Workshop

from edgead.compiler.recipe import load_recipe
from edgead.datasets import open_dataset
from edgead.images import read_image, resize_image
from edgead.synthesis import DEFAULT_MIX, SET_MIX
from edgead.synthesis.diffusion.drawing import usual_chain
from edgead.synthesis.diffusion.mixture import MixtureDenoiser
from edgead.synthesis.diffusion.model import DiffusionModel, ModelFacts, read_model
from edgead.synthesis.diffusion.network import DenoisingNetwork, network_config, parameter_count
from edgead.synthesis.diffusion.process import make_process
from edgead.synthesis.diffusion.sets import open_set
from edgead.training.settings import TrainSettings

DATA = ROOT.parent / "shared" / "data" / "mtd"
LEARNT_AT = (50, 100, 200, 400, 600, 800)  # of the chain's 1000 steps
STRENGTHS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
# What is compared, all else equal: our mix without and with the set, and the two sources of the paper alone.
MIXES: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "mix of sources": {"without the set": DEFAULT_MIX, "with the set": SET_MIX},
    "one source alone": {"textures": {"textures": 1.0}, "the set": {"sdas": 1.0}},
}
_PUBLISHED_GAIN = "published: +2.9 image AUROC over textures, on MPDD"


@click.command(help=__doc__.split("\n", maxsplit=1)[0])
@click.option(
    "--data", default=str(DATA), show_default=False, help="In the layout of MVTec AD.  [default: mtd]"
)
@click.option("--strength", "model", metavar="MODEL", help="Measure what strength does, with this model.")
@click.option("--images", default=48, show_default=True, help="Drawn per strength, for --strength.")
@click.option(
    "--pays", "anomaly_set", metavar="SET", help="Train with and without this set, and with it alone."
)
@click.option("--steps", default=1300, show_default=True, help="Of each training, for --pays.")
@click.option("--seed", "seeds", multiple=True, type=int, help="For --pays.  [default: 0, 1, 2]")
@click.option("--work", default="runs/sdas/pays", show_default=True, metavar="DIR", help="Keeps the runs.")
@quick_option
@json_option
def main(
    data: str, model: str | None, images: int, anomaly_set: str | None, steps: int, seeds: tuple[int, ...],
    work: str, quick: bool, json_path: str | None,
) -> None:  # fmt: skip
    if anomaly_set is not None:
        name, (rows, details) = "synthesis-pays", pays(
            Path(data), anomaly_set, steps=2 if quick else steps, seeds=seeds or (0, 1, 2), work=Path(work)
        )  # fmt: skip
    elif model is not None:
        plot = None if quick else RESULTS / "synthesis-strength.png"
        name, (rows, details) = "synthesis-strength", strength_rows(
            Path(data), Path(model), count=4 if quick else images, plot=plot
        )  # fmt: skip
    else:
        name, (rows, details) = "synthesis", cost_rows(quick=quick)
    report(name, rows, json_path=json_path, quick=quick, settings=details)


def cost_rows(*, quick: bool) -> tuple[list[Row], dict[str, Any]]:
    """Of each size: parameters; of those that this machine can hold, seconds and memory."""
    rows = []
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    for size in ("small", "standard", "published"):
        count = parameter_count(network_config(size)) / 1e6
        rows.append(Row(f"{size}: parameters", count, "M"))
        measured = (size == "small" or cuda) and not (quick and size != "small")
        rows += _speed(size, device) if measured else []
        if not cuda and size != "small":
            rows.append(Row(f"{size}: on a GPU", None, "not yet measured: no GPU at hand"))
    return rows, {"device": str(device), "threads": torch.get_num_threads()}


def _speed(size: str, device: torch.device) -> list[Row]:
    config, process = network_config(size), make_process()
    network = DenoisingNetwork(config).to(device, memory_format=torch.channels_last)
    batch = 4
    image, products = torch.rand(batch, *config.shape_chw, device=device) * 2 - 1, torch.zeros(batch).long()
    steps, products = torch.randint(1000, (batch,), device=device), products.to(device)
    noise = torch.randn_like(image)
    x_t = process.noised(image, steps, noise)

    def learn() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            output = network(x_t, steps, products)
        losses = process.losses(output.float(), image, x_t, noise, steps)
        (losses["noise"] + losses["variance"]).backward()

    facts = ModelFacts(size, config, "linear", ("part",), {}, "", (), 0.0, str(device))
    learning = _processor_seconds(learn, device)
    network.zero_grad(set_to_none=True)
    model = DiffusionModel(facts, network, digest="", device=device)
    steps = usual_chain(size)
    drawing = _processor_seconds(
        lambda: model.draw(range(batch), [0.1] * batch, steps=steps), device, repeats=1
    )
    how = f"batch {batch}, 256 x 256, 3 colours; {'wall' if device.type == 'cuda' else 'processor'} time"
    unit = "s per image"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else peak
    return [
        Row(f"{size}: a step of the fit", learning / batch, unit, how=how),
        Row(f"{size}: drawing, {steps} steps", drawing / batch, unit, how=how),
        Row(f"{size}: peak memory", memory, "GiB", how="of the process; of the GPU where there is one"),
    ]


def _processor_seconds(call: Any, device: torch.device, *, repeats: int = 5) -> float:
    """Median of a few; on a CPU that others use as well, the processor's own seconds."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    call()
    taken = []
    for _ in range(repeats):
        started = clock()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(clock() - started)
    return statistics.median(taken)


def strength_rows(
    data: Path, folder: Path, *, count: int, plot: Path | None
) -> tuple[list[Row], dict[str, Any]]:
    """Distance of drawn images from good ones in a backbone's features, and what a classifier tells apart."""
    model = read_model(folder)
    good = _features(_good(data, model, "train", 10 * count))
    unseen_images = _good(data, model, "test", 2 * count)
    unseen = _features(unseen_images)
    seeds = list(range(count))
    drawn = {s: _features(_drawn(model, seeds, s)) for s in STRENGTHS}
    distances = {s: _distance(features, good) for s, features in drawn.items()}
    rising = all(a < b for a, b in zip(list(distances.values()), list(distances.values())[1:], strict=False))
    ordinary = _distance(unseen, good)
    if plot is not None:
        _plot(distances, ordinary, plot)
    rows = [Row("unseen good images: distance", ordinary, "to the nearest 3 good images")]
    rows += [Row(f"strength {s:g}: distance", distance, "same") for s, distance in distances.items()]
    rows.append(Row("distance rises with strength", float(rising), "1: yes", bar=1.0, higher_is_better=True))
    more = _features(_drawn(model, [s + 10_000 for s in seeds], 0.0))
    accuracy = _classifier_accuracy((unseen[::2], drawn[0.0]), (unseen[1::2], more))
    rows.append(Row("strength 0 against unseen good images: classifier", accuracy, "accuracy; 0.5 is best"))
    rows += list(_learnt(model, unseen_images, _good(data, model, "train", None)))
    fitted = {
        "size": model.facts.size,
        "steps": model.facts.settings["steps"],
        "seconds": model.facts.seconds,
    }
    return rows, {"model": str(folder), "fitted": fitted, "images": count}


@torch.no_grad()
def _learnt(model: DiffusionModel, images: np.ndarray, fitted_on: np.ndarray) -> Iterator[Row]:
    """Errors of unseen good images: the start's over one Gaussian's, the network's over the start's."""
    start = model.network.start
    if start is None:
        return
    seen, image = (_as_fitted(model, pixels) for pixels in (fitted_on, images))
    one = MixtureDenoiser(model.facts.network.shape_chw, components=1)
    one.fit(seen, torch.zeros(len(seen), dtype=torch.int64), model.process)
    products = torch.zeros(len(image), dtype=torch.int64)
    generator = torch.Generator().manual_seed(0)
    for step in LEARNT_AT:
        steps = torch.full((len(image),), step)
        x_t = model.process.noised(image, steps, torch.randn(image.shape, generator=generator))
        noise = model.network(x_t, steps, products).chunk(2, dim=1)[0]
        left = float(model.process.alphas_bar[step])
        guesses = (
            one(x_t, steps, products)[0],
            start(x_t, steps, products)[0],
            (x_t - (1 - left) ** 0.5 * noise) / left**0.5,
        )
        gaussian, begun, learnt = (float((guess - image).square().mean().sqrt()) for guess in guesses)
        how = "root mean square of the expected image's error, good test images"
        yield Row(f"step {step}: the start's error over one Gaussian's", begun / gaussian, "x", how=how)
        yield Row(f"step {step}: the network's error over the start's", learnt / begun, "x", how=how)


def _as_fitted(model: DiffusionModel, images: np.ndarray) -> torch.Tensor:
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)[:, : model.facts.network.channels]
    return pixels.float() / 127.5 - 1


def _plot(distances: Mapping[float, float], ordinary: float, path: Path) -> None:
    """Distance over strength, with that of good images that the model never saw."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(list(distances), list(distances.values()), marker="o", color="#b03a2e", label="drawn images")
    axes.axhline(ordinary, color="#555555", linestyle="--", label="unseen good images")
    axes.set(xlabel="strength s", ylabel="distance to the 3 nearest good images", ylim=(0, None))
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def _drawn(model: DiffusionModel, seeds: Sequence[int], strength: float) -> np.ndarray:
    parts = [seeds[k : k + 8] for k in range(0, len(seeds), 8)]
    steps = usual_chain(model.facts.size)
    return np.concatenate([model.draw(part, [strength] * len(part), steps=steps) for part in parts])


def _good(data: Path, model: DiffusionModel, part: str, count: int | None) -> np.ndarray:
    samples = [s for s in getattr(open_dataset(data), part) if not s.is_anomalous]
    chosen = np.random.default_rng(0).permutation(len(samples))[:count]
    height, width = model.facts.network.height, model.facts.network.width
    return np.stack([resize_image(read_image(samples[k].path), height, width) for k in chosen])


@torch.no_grad()
def _features(images: np.ndarray) -> np.ndarray:
    """Mean and deviation over the image of each channel of the backbone's first three stages, N x C."""
    from edgead.models.backbones import build_backbone

    backbone = build_backbone("efficientnet_lite0", stages=(1, 2, 3)).eval()
    found = []
    for start in range(0, len(images), 16):
        maps = backbone(torch.from_numpy(images[start : start + 16]).permute(0, 3, 1, 2).float())
        parts = [value for one in maps for value in (one.mean((2, 3)), one.std((2, 3)))]
        found.append(torch.cat(parts, 1).numpy())
    return np.concatenate(found)


def _distance(features: np.ndarray, good: np.ndarray) -> float:
    """Mean distance to the three nearest good images, each feature in deviations of the good ones."""
    scale = good.std(axis=0) + 1e-6
    gaps = np.linalg.norm((features[:, None] - good[None]) / scale, axis=2)
    return float(np.sort(gaps, axis=1)[:, :3].mean())


def _classifier_accuracy(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    classifier.fit(np.concatenate(train), np.repeat([0, 1], [len(part) for part in train]))
    right = [(classifier.predict(part) == label).mean() for label, part in enumerate(test)]
    return float(np.mean(right))


def pays(
    data: Path, anomaly_set: str, *, steps: int, seeds: Sequence[int], work: Path
) -> tuple[list[Row], dict[str, Any]]:
    """Trainings with and without the set, equal but for the mix of sources; the bar is on the usual mix."""
    path = str(open_set(anomaly_set).path.resolve())
    workshop = Workshop(work, recipe=load_recipe("default"))
    rows: list[Row] = []
    details: dict[str, Any] = {"set": path, "mixes": {title: dict(pair) for title, pair in MIXES.items()}}
    for title, pair in MIXES.items():
        found: dict[str, list[Trained]] = {label: [] for label in pair}
        for seed in seeds:
            for label, mix in pair.items():
                anomalies = path if "sdas" in mix else None
                settings = TrainSettings(steps=steps, seed=seed, synthesis=dict(mix), anomaly_set=anomalies)
                name = f"{label.replace(' ', '-')}-seed{seed}"
                found[label].append(workshop.trained(data, settings, label=name))
        learnt = {label: [workshop.without_bank(run, data) for run in runs] for label, runs in found.items()}
        bar = 0.0 if title == next(iter(MIXES)) else None
        rows += [*_gains(title, found, bar), *_gains(f"{title}, without the bank", learnt, None)]
        for views, trained in (("all views", found), ("without the bank", learnt)):
            click.echo(f"{title}, {views}\n{_kinds(trained)}\n")
            details[f"{title}, {views}"] = {k: [one.to_json() for one in v] for k, v in trained.items()}
    return rows, details


def _gains(title: str, found: Mapping[str, Sequence[Trained]], bar: float | None) -> Iterator[Row]:
    """What the second of two mixes adds to each metric, mean over the seeds."""
    before, after = found
    for metric, name in (("image_auroc", "image AUROC"), ("au_pro", "AU-PRO")):
        values = {label: [t.figures[metric] or 0.0 for t in runs] for label, runs in found.items()}
        for label, numbers in values.items():
            unit = f"mean of {len(numbers)} seeds"
            yield Row(f"{title}: {name}, {label}", statistics.mean(numbers), unit, higher_is_better=True)
        gains = [new - old for old, new in zip(values[before], values[after], strict=True)]
        each = ", ".join(f"{gain:+.4f}" for gain in gains)
        how = f"by seed {each}; {_PUBLISHED_GAIN}"
        yield Row(f"{title}: {name}, gain", statistics.mean(gains), "", bar, higher_is_better=True, how=how)


def _kinds(found: Mapping[str, Sequence[Trained]]) -> str:
    """What each kind of defect reaches, with and without, mean over the seeds."""
    lines = []
    for kind in sorted(next(iter(found.values()))[0].by_kind):
        cells = []
        for label, runs in found.items():
            entries = [run.by_kind[kind] for run in runs]
            for metric in ("image_auroc", "au_pro"):
                values = [e[metric] for e in entries if isinstance(e, dict) and e.get(metric) is not None]
                cells.append(f"{label} {metric} {statistics.mean(values):.3f}" if values else "")
        lines.append(f"{kind:<12} " + "  ".join(filter(None, cells)))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
