"""Compile a run folder: its network, its data again, its threshold."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edgead.bundle import ThresholdSpec
from edgead.compiler.image_sets import NamedImage, draw_calibration, draw_gate_set
from edgead.compiler.pipeline import ImageSets, Provenance, compile_model
from edgead.compiler.recipe import Recipe, load_recipe
from edgead.compiler.stages import CompileReport, StageReport
from edgead.datasets import Products, Sample
from edgead.errors import CompileError
from edgead.files import file_hash
from edgead.images import read_image, resize_image
from edgead.map_and_score import MapAndScore
from edgead.models.inspection import InspectionModel, fold_for_export
from edgead.profiles.target import Target
from edgead.training.data import products_of_run
from edgead.training.run import FoldScores, Run, read_run
from edgead.training.threshold import threshold_of_products


def compile_run(
    path: str | Path,
    *,
    target: Target,
    out: str | Path,
    recipe: Recipe | None = None,
    precision: str | None = None,
    threads: int | None = None,
    with_half: bool = False,
    on_stage: Callable[[StageReport], None] | None = None,
) -> CompileReport:
    """Compile the run folder at `path` for a target; without a recipe, with the target's or the default one.

    Raises DataError for a run or its data that cannot be read, and what `compile_model` raises.
    """
    run = read_run(path)
    others = run.fold_scores
    recipe = recipe or load_recipe(target.options.get("calibration", "default"))
    products = products_of_run(run)
    held_out = _load(run, products, products.validation)
    model = run.model()
    return compile_model(
        model,
        _image_sets(run, recipe, products, held_out),
        provenance=_provenance(run),
        target=target,
        recipe=recipe,
        out=out,
        precision=precision,
        threads=threads,
        prepare=_prepare,
        keep_in_float=model.kept_in_float,
        set_threshold=lambda answer: _threshold(answer, run, products, held_out, others),
        with_half=with_half,
        on_stage=on_stage,
    )


def _image_sets(
    run: Run, recipe: Recipe, products: Products, held_out: Sequence[Sequence[NamedImage]]
) -> ImageSets:
    """The images that calibrate and those that judge; several products have equal parts in both."""
    shares = _shared(recipe, len(products.products))
    gate = [
        item
        for own, share in zip(held_out, shares, strict=True)
        for item in draw_gate_set(own, spec=share.gate)
    ]
    judges = {digest for item in gate for digest in item.hashes}
    chosen = []
    for product, share in zip(products.products, shares, strict=True):
        spec = share.calibration
        order = np.random.default_rng(spec.seed).permutation(len(product.split.train))
        chosen.append([product.split.train[i] for i in order[: spec.images]])
        _check_files_apart(chosen[-1], product.dataset.test)
    images = _load(run, products, chosen)
    calibration = [
        item
        for own, share in zip(images, shares, strict=True)
        for item in draw_calibration(own, spec=share.calibration, apart_from=judges)
    ]
    return ImageSets(calibration, gate)


def _shared(recipe: Recipe, products: int) -> list[Recipe]:
    """The recipe for each of the products, whose numbers of images add up to the recipe's."""

    def part(whole: int, number: int) -> int:
        return max(1, (whole * (number + 1)) // products - (whole * number) // products)

    return [
        dataclasses.replace(
            recipe,
            calibration=dataclasses.replace(
                recipe.calibration, images=part(recipe.calibration.images, number)
            ),
            gate=dataclasses.replace(
                recipe.gate,
                images=part(recipe.gate.images, number),
                anomalies=part(recipe.gate.anomalies, number),
            ),
        )
        for number in range(products)
    ]


def _check_files_apart(chosen: Sequence[Sample], test: Sequence[Sample]) -> None:
    """Refuse calibration files that are also test files; only files of equal length are read."""
    by_length: dict[int, list[Sample]] = {}
    for sample in test:
        by_length.setdefault(sample.path.stat().st_size, []).append(sample)
    for sample in chosen:
        for other in by_length.get(sample.path.stat().st_size, []):
            if file_hash(sample.path) == file_hash(other.path):
                raise CompileError(
                    f"Calibration and test images must be apart; {sample.path} and {other.path} are "
                    "the same file. Remove one of them and train again."
                )


def _load(run: Run, products: Products, samples: Sequence[Sequence[Sample]]) -> list[list[NamedImage]]:
    """The images of each product at the model's size, by name."""
    height, width = run.config.input_size
    return [
        [
            (products.file_name(number, sample), resize_image(read_image(sample.path), height, width))
            for sample in own
        ]
        for number, own in enumerate(samples)
    ]


def _prepare(model: nn.Module) -> nn.Module:
    return fold_for_export(model) if isinstance(model, InspectionModel) else model


def _threshold(
    answer: Callable[[Sequence[NDArray[np.uint8]]], list[MapAndScore]],
    run: Run,
    products: Products,
    held_out: Sequence[Sequence[NamedImage]],
    others: FoldScores,
) -> ThresholdSpec:
    """Set as training did, with the compiled model's answers for the same held-out good images.

    What other folds held out keeps the scores of their trainings, which are not compiled.
    """
    answers = answer([image for own in held_out for _, image in own])
    names = [p.name for p, own in zip(products.products, held_out, strict=True) for _ in own]
    return threshold_of_products(
        [*(score for _, score in answers), *others.scores],
        [*(float(anomaly_map.max()) for anomaly_map, _ in answers), *others.peaks],
        [*names, *others.products],
        groups=[*products.validation_groups, *others.groups],
        false_alarm_rate=run.settings.false_alarm_rate,
        folds=run.settings.folds,
    )


def _provenance(run: Run) -> Provenance:
    return Provenance(
        name=run.name,
        family=run.family,
        threshold=run.threshold,
        split_sha256=run.hashes["split"],
        weights_sha256=run.hashes["weights"],
        score_rule=run.rule.text,
        config=run.config.to_json(),
        licences=dict(run.licences),
    )
