"""From noise to images in a few steps, each with more noise than was learnt: SDAS.

The step back draws from N(mu, (1 + s) Sigma): at strength s = 0 these are good parts; above it what is drawn
drifts off them, and the network, which sees each drawn step, makes a whole of it (RealNet, equation 2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from edgead.errors import UnknownNameError, UsageError
from edgead.synthesis.diffusion.process import Process

__all__ = ["SAMPLERS", "NoiseStream", "draw_images"]

Denoiser = Callable[[Tensor, Tensor], Tensor]  # (x_t B C H W, timesteps B) -> noise and v, B 2C H W
Guide = Callable[[Tensor, Tensor], Tensor]  # (x_t, timesteps) -> gradient of log p(y | x_t), B C H W

# ancestral draws every step, as published; ddim is deterministic at strength 0 and wants 0.01 to 0.03.
SAMPLERS = ("ancestral", "ddim")


class NoiseStream:
    """Standard normal noise, a stream of its own for each image: an image does not depend on its neighbours.

    It is drawn on the CPU, so that a seed means the same image on every machine, up to rounding.
    """

    def __init__(
        self, seeds: Sequence[int], shape_chw: tuple[int, int, int], *, device: torch.device
    ) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._shape, self._device = shape_chw, device

    def __len__(self) -> int:
        return len(self._generators)

    def draw(self) -> Tensor:
        """The next noise of every image, float32 B C H W."""
        parts = [torch.randn(self._shape, generator=generator) for generator in self._generators]
        return torch.stack(parts).to(self._device)


@torch.no_grad()
def draw_images(
    denoiser: Denoiser,
    process: Process,
    noise: NoiseStream,
    *,
    strength: Tensor,
    sampler: str = "ancestral",
    guide: Guide | None = None,
    guide_scale: float = 1.0,
) -> Tensor:
    """Images float32 B C H W in -1..1 through every step of `process` (respace it first), last to first.

    `strength` is s of each image, B, from 0 up. `guide` pulls every step towards a class by the gradient of
    a classifier that knows noised images (classifier guidance, arXiv 2105.05233, algorithm 1).
    Raises UsageError for strengths that are negative, not finite or not one per image, UnknownNameError.
    """
    if sampler not in SAMPLERS:
        raise UnknownNameError("sampler", sampler, SAMPLERS)
    if strength.shape != (len(noise),) or not bool((strength.isfinite() & (strength >= 0)).all()):
        raise UsageError(f"Expected {len(noise)} strengths, finite and from 0 up, found {strength.tolist()}.")
    take_step = _ancestral_step if sampler == "ancestral" else _ddim_step
    x_t = noise.draw()
    extra = strength.to(device=x_t.device, dtype=x_t.dtype).view(-1, 1, 1, 1)
    for number in reversed(range(len(process))):
        step = torch.full((len(noise),), number, dtype=torch.int64, device=x_t.device)
        timestep = torch.full_like(step, int(process.timesteps[number]))
        output = denoiser(x_t, timestep).float()
        pull = torch.zeros_like(x_t) if guide is None else guide_scale * guide(x_t, timestep)
        mean, deviation = take_step(process, x_t, output, step, pull, extra)
        x_t = mean + deviation * noise.draw() if number else mean
    return x_t.clamp(-1, 1)


def _ancestral_step(
    process: Process, x_t: Tensor, output: Tensor, step: Tensor, pull: Tensor, extra: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the step: N(mu + Sigma pull, (1 + s) Sigma)."""
    gaussian, _ = process.step_back(x_t, output, step)
    mean = gaussian.mean + gaussian.log_variance.exp() * pull
    return mean, torch.exp(0.5 * gaussian.log_variance) * torch.sqrt(1 + extra)


def _ddim_step(
    process: Process, x_t: Tensor, output: Tensor, step: Tensor, pull: Tensor, extra: Tensor
) -> tuple[Tensor, Tensor]:
    """The deterministic step (arXiv 2010.02502, equation 12 with eta = 0), and s Sigma of noise upon it.

    A pull changes the predicted noise by -sqrt(1 - abar) of it (arXiv 2105.05233, algorithm 2).
    """
    noise, v = output.chunk(2, dim=1)
    number = int(step[0])
    left, before = float(process.alphas_bar[number]), float(process.alphas_bar_before[number])
    image = process.image_from(x_t, noise - (1 - left) ** 0.5 * pull, step)
    mean = before**0.5 * image + (1 - before) ** 0.5 * process.noise_from(x_t, image, step)
    return mean, torch.exp(0.5 * process.log_variance(v, step)) * torch.sqrt(extra)
