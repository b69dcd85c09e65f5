"""The diffusion process: what noise does to an image, and the Gaussian of one step back (arXiv 2102.09672).

Symbols of the papers: beta_t is the variance that step t adds, abar_t the share of the image's variance
that is left after it, beta~_t the variance of the step back when the image is known. Everything is kept in
float64 and cast where it meets the images. diffusers' schedulers draw with the same numbers (tests hold ours
to them), but the loss of a learnt variance needs the Gaussians themselves, which they do not give.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgead.errors import UnknownNameError, UsageError

__all__ = ["SCHEDULES", "Gaussian", "Process", "make_process"]

Vector = npt.NDArray[np.float64]

_LEVEL = 2 / 255  # one grey level of images in -1..1


def linear_betas(count: int) -> Vector:
    """1e-4 to 0.02 for 1000 steps (DDPM), scaled to add the same noise in any other number of steps."""
    scale = 1000 / count
    return np.linspace(scale * 1e-4, scale * 0.02, count, dtype=np.float64)


def cosine_betas(count: int) -> Vector:
    """abar_t as a squared cosine (arXiv 2102.09672, equation 17), beta at most 0.999."""
    t = np.arange(count + 1, dtype=np.float64) / count
    left = np.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
    return np.asarray(np.minimum(1 - left[1:] / left[:-1], 0.999))


SCHEDULES: dict[str, Callable[[int], Vector]] = {"linear": linear_betas, "cosine": cosine_betas}


@dataclass(frozen=True)
class Gaussian:
    """A distribution per value: `mean` and `log_variance`, both shaped like the images."""

    mean: Tensor
    log_variance: Tensor


@dataclass(frozen=True)
class Process:
    """A chain of steps. `betas[k]` belongs to step k; `timesteps[k]` is what the network is told at step k.

    Steps are given as int64 of B, images as float B C H W in -1..1. The network's answer has 2 C channels:
    the noise and, in v, where the log-variance lies between beta~ (-1) and beta (+1).
    """

    betas: Vector
    timesteps: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.betas)

    @cached_property
    def alphas_bar(self) -> Vector:
        return np.cumprod(1 - self.betas, dtype=np.float64)

    @cached_property
    def alphas_bar_before(self) -> Vector:
        return np.append(1.0, self.alphas_bar[:-1])

    @cached_property
    def posterior_variances(self) -> Vector:
        """beta~_t; 0 at the first step, where nothing is left to draw."""
        variances: Vector = self.betas * (1 - self.alphas_bar_before) / (1 - self.alphas_bar)
        return variances

    @cached_property
    def posterior_log_variances(self) -> Vector:
        """log beta~_t, with the second step's value at the first, whose own is -infinity."""
        variances = self.posterior_variances
        return np.asarray(
            np.log(np.append(variances[1] if len(variances) > 1 else self.betas[0], variances[1:]))
        )

    def respaced(self, count: int) -> Process:
        """The chain through every `len / count`-th step from 0 on; its betas follow from the abar it keeps.

        Raises UsageError unless 1 <= count <= len.
        """
        if not 1 <= count <= len(self):
            raise UsageError(
                f"The chain has {len(self)} steps; it can be sampled in 1 to that many, not {count}."
            )
        kept = np.arange(count) * (len(self) // count)
        left = self.alphas_bar[kept]
        return Process(1 - left / np.append(1.0, left[:-1]), self.timesteps[kept])

    def noised(self, image: Tensor, step: Tensor, noise: Tensor) -> Tensor:
        """q(x_t | x_0): sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise."""
        return (
            _at(np.sqrt(self.alphas_bar), step, image) * image
            + _at(np.sqrt(1 - self.alphas_bar), step, image) * noise
        )

    def posterior_mean(self, image: Tensor, x_t: Tensor, step: Tensor) -> Tensor:
        """Mean of q(x_{t-1} | x_t, x_0) (DDPM, equation 7)."""
        of_image = self.betas * np.sqrt(self.alphas_bar_before) / (1 - self.alphas_bar)
        of_noised = (1 - self.alphas_bar_before) * np.sqrt(1 - self.betas) / (1 - self.alphas_bar)
        return _at(of_image, step, x_t) * image + _at(of_noised, step, x_t) * x_t

    def image_from(self, x_t: Tensor, noise: Tensor, step: Tensor) -> Tensor:
        """The image that the predicted noise implies, held to -1..1."""
        scaled = _at(np.sqrt(1 / self.alphas_bar), step, x_t) * x_t
        return (scaled - _at(np.sqrt(1 / self.alphas_bar - 1), step, x_t) * noise).clamp(-1, 1)

    def noise_from(self, x_t: Tensor, image: Tensor, step: Tensor) -> Tensor:
        """The noise that an image implies; the inverse of `image_from` without its limits."""
        scaled = _at(np.sqrt(1 / self.alphas_bar), step, x_t) * x_t
        return (scaled - image) / _at(np.sqrt(1 / self.alphas_bar - 1), step, x_t)

    def log_variance(self, v: Tensor, step: Tensor) -> Tensor:
        """Between log beta~ and log beta, as v goes from -1 to 1 (arXiv 2102.09672, equation 15)."""
        share = (v + 1) / 2
        highest, lowest = _at(np.log(self.betas), step, v), _at(self.posterior_log_variances, step, v)
        return share * highest + (1 - share) * lowest

    def step_back(self, x_t: Tensor, output: Tensor, step: Tensor) -> tuple[Gaussian, Tensor]:
        """p(x_{t-1} | x_t) from the network's answer B 2C H W, and the image that the answer implies."""
        noise, v = output.chunk(2, dim=1)
        image = self.image_from(x_t, noise, step)
        return Gaussian(self.posterior_mean(image, x_t, step), self.log_variance(v, step)), image

    def losses(
        self,
        output: Tensor,
        image: Tensor,
        x_t: Tensor,
        noise: Tensor,
        step: Tensor,
        *,
        usual_error: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The two terms of the hybrid loss: "noise", squared error; "variance", a bound in bits per value.

        With `usual_error`, B, the squared error of each image is a multiple of it, so that every step of the
        chain weighs alike. The bound teaches the variance alone: the predicted noise takes no gradient from
        it.
        """
        predicted, v = output.chunk(2, dim=1)
        frozen = torch.cat((predicted.detach(), v), dim=1)
        believed, _ = self.step_back(x_t, frozen, step)
        true_mean = self.posterior_mean(image, x_t, step)
        true_log_variance = _at(self.posterior_log_variances, step, image).expand_as(image)
        divergence = kl_divergence(Gaussian(true_mean, true_log_variance), believed)
        bits = torch.where((step == 0)[:, None, None, None], -log_likelihood(image, believed), divergence)
        error = (predicted - noise).square().mean(dim=(1, 2, 3))
        if usual_error is not None:
            error = error / usual_error
        return {"noise": error.mean(), "variance": bits.mean() / math.log(2)}


def make_process(schedule: str = "linear", steps: int = 1000) -> Process:
    """The whole chain of a schedule. Raises UnknownNameError, or UsageError for fewer than two steps."""
    if schedule not in SCHEDULES:
        raise UnknownNameError("noise schedule", schedule, SCHEDULES)
    if steps < 2:
        raise UsageError(f"A diffusion process has at least 2 steps, not {steps}.")
    return Process(np.minimum(SCHEDULES[schedule](steps), 0.999), np.arange(steps, dtype=np.int64))


def kl_divergence(first: Gaussian, second: Gaussian) -> Tensor:
    """KL(first || second) in nats per value."""
    gap = first.log_variance - second.log_variance
    distance = (first.mean - second.mean) ** 2 * torch.exp(-second.log_variance)
    return 0.5 * (-1 - gap + gap.exp() + distance)


def log_likelihood(image: Tensor, gaussian: Gaussian) -> Tensor:
    """log of the Gaussian's mass in the grey level of each value (DDPM, equation 13), in nats."""
    scale = torch.exp(-0.5 * gaussian.log_variance)
    above = _mass_below(scale * (image - gaussian.mean + _LEVEL / 2))
    below = _mass_below(scale * (image - gaussian.mean - _LEVEL / 2))
    above = torch.where(image > 1 - _LEVEL / 2, torch.ones_like(above), above)
    below = torch.where(image < -1 + _LEVEL / 2, torch.zeros_like(below), below)
    return (above - below).clamp(min=1e-12).log()


def _mass_below(z: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf(z / math.sqrt(2)))


def _at(values: Vector, step: Tensor, like: Tensor) -> Tensor:
    """The values of the given steps as B 1 1 1 on the device and in the precision of `like`."""
    table = torch.from_numpy(values).to(device=like.device, dtype=like.dtype)
    return table[step.to(like.device)].view(-1, *[1] * (like.ndim - 1))
