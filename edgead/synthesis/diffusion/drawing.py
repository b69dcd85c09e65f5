"""Drawing a set: which images are whose, whatever number of processes and machines share the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edgead.errors import TrainingError, UsageError
from edgead.synthesis.diffusion.fit import is_out_of_memory, largest_batch
from edgead.synthesis.diffusion.model import DiffusionModel, Images
from edgead.synthesis.diffusion.sets import SetFacts, SetWriter

__all__ = ["DrawSettings", "count_of_part", "draw_set", "seed_and_strength", "usual_chain"]

# Images that edgead draws belong to whoever fitted the model; they say nothing on their own.
OWN_LICENCE = "that of the images which the model was fitted on"


# Of 20 steps the last but one has noise of 22 grey levels, from which `small` guesses the mean of what grain
# there may be: surfaces came out smooth. Of 100 it has 6, and the grain of brushed tiles is there.
_PUBLISHED_CHAIN = 20
_CHAINS = {"small": 100}


def usual_chain(size: str) -> int:
    """Steps from noise to image that suit a model of this size."""
    return _CHAINS.get(size, _PUBLISHED_CHAIN)


@dataclass(frozen=True)
class DrawSettings:
    """What is drawn. Equal settings give equal images on machines of one kind."""

    count: int
    strength_range: tuple[float, float] = (0.1, 0.2)  # published
    seed: int = 0
    steps: int = _PUBLISHED_CHAIN  # of the chain's 1000
    sampler: str = "ancestral"
    batch: int = 8
    licence: str = OWN_LICENCE

    def __post_init__(self) -> None:
        low, high = self.strength_range
        if not (np.isfinite(low) and np.isfinite(high) and 0 <= low <= high):
            raise UsageError(f"A range of strengths rises from 0 up, as in 0.1:0.2, and is {low:g}:{high:g}.")
        for name in ("count", "steps", "batch"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}.")


def seed_and_strength(settings: DrawSettings, number: int) -> tuple[int, float]:
    """Of image `number`: a function of the settings' seed and range alone."""
    seed = int(
        np.random.SeedSequence([settings.seed, number]).generate_state(1, np.uint64)[0] >> np.uint64(1)
    )
    low, high = settings.strength_range
    return seed, float(np.random.default_rng(seed).uniform(low, high))


def draw_set(
    model: DiffusionModel,
    out: str | Path,
    *,
    settings: DrawSettings,
    product: str | None = None,
    part: int = 1,
    parts: int = 1,
    on_images: Callable[[int], None] | None = None,
) -> Path:
    """Draw part `part` of `parts` of a set into the folder `out`; what is there already is not drawn again.

    Images come in batches of fixed numbers, the last one filled up and cut, so that each is computed in the
    same company and comes out the same to the bit however the set is split. `on_images` hears how many are
    done. Raises UsageError, DataError for an `out` of something else, TrainingError naming the batch that
    fits.
    """
    if not 1 <= part <= parts:
        raise UsageError(f"A part is one of 1 to {parts}, not {part}.")
    number = model.product_number(product)
    config = model.facts.network
    facts = SetFacts(
        model_sha256=model.digest,
        product=model.facts.products[number],
        height=config.height,
        width=config.width,
        strength_range=settings.strength_range,
        sampler=settings.sampler,
        steps=settings.steps,
        batch=settings.batch,
        seed=settings.seed,
        licence=settings.licence,
    )
    writer = SetWriter(Path(out), facts, part=part, parts=parts)
    for batch in _batches(settings, part=part, parts=parts):
        wanted = [image for image in batch if image < settings.count]
        if not writer.done.issuperset(wanted):
            drawn = _draw(model, settings, batch, product=number)
            pairs = [seed_and_strength(settings, image) for image in wanted]
            writer.add(
                wanted,
                map(_png, drawn[: len(wanted)]),
                seeds=[seed for seed, _ in pairs],
                strengths=[s for _, s in pairs],
            )
        if on_images:
            on_images(len(wanted))
    writer.close()
    return Path(out)


def count_of_part(settings: DrawSettings, *, part: int, parts: int) -> int:
    """How many images a part has."""
    batches = _batches(settings, part=part, parts=parts)
    return sum(sum(image < settings.count for image in batch) for batch in batches)


def _batches(settings: DrawSettings, *, part: int, parts: int) -> Iterator[range]:
    size = settings.batch
    return (range(k * size, (k + 1) * size) for k in range(part - 1, -(-settings.count // size), parts))


def _draw(model: DiffusionModel, settings: DrawSettings, batch: range, *, product: int) -> Images:
    pairs = [seed_and_strength(settings, number) for number in batch]

    def draw(count: int) -> Images:
        seeds, strengths = zip(*pairs[:count], strict=True)
        return model.draw(seeds, strengths, product=product, steps=settings.steps, sampler=settings.sampler)

    try:
        return draw(len(pairs))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    fitting = largest_batch(draw, len(pairs) // 2)
    advice = f"--batch {fitting} fits" if fitting else "not even one image fits"
    raise TrainingError(
        f"Drawing {len(pairs)} images at once does not fit into the memory of {model.device}; {advice}. "
        "What was drawn is kept, for a set with its own batch."
    )


def _png(image: Images) -> bytes:
    """Grey images as grey: a third of the bytes."""
    is_grey = bool((image == image[..., :1]).all())
    stored = image[..., 0] if is_grey else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", stored)[1].tobytes()
