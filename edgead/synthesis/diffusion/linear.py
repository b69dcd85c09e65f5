"""The best linear denoiser of the good images, in closed form: where the small networks start from.

If images were Gaussian, with a mean image and independent frequencies, the best guess of the image in x_t
would be Wiener's filter. It is fitted in a second, draws surfaces of the right mean and grain before any
training, and leaves the network what is not Gaussian: edges, grooves, the part's outline. (Preconditioning as
in Karras et al., arXiv 2206.00364, with a spectrum in place of one variance.)
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from edgead.synthesis.diffusion.process import Process

_LEAST_POWER = 1e-7  # of a frequency, images in -1..1; a spectrum of a few images has holes


class LinearDenoiser(nn.Module):
    """Mean and spectrum of the good images as buffers, so that they are saved with the weights."""

    mean: Tensor
    power: Tensor
    left: Tensor
    best_v: Tensor
    rows: Tensor
    columns: Tensor

    def __init__(self, shape_chw: tuple[int, int, int], steps: int = 1000) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape_chw))
        self.register_buffer("power", torch.ones(shape_chw))  # variance of each frequency
        self.register_buffer("left", torch.linspace(0.9999, 0.0001, steps))  # abar_t
        self.register_buffer("best_v", torch.zeros(steps))
        self.register_buffer("rows", _cosines(shape_chw[1]), persistent=False)
        self.register_buffer("columns", _cosines(shape_chw[2]), persistent=False)

    @torch.no_grad()
    def fit(self, images: Tensor, process: Process) -> None:
        """Take mean, spectrum and the best variance of each step from images N C H W in -1..1."""
        self.mean.copy_(images.mean(dim=0))
        total = torch.zeros_like(self.power)
        for chunk in images.split(64):
            total += (self.rows @ (chunk - self.mean) @ self.columns.T).square().sum(dim=0)
        self.power.copy_((total / len(images)).clamp(min=_LEAST_POWER))
        self.left.copy_(torch.from_numpy(process.alphas_bar))
        self.best_v.copy_(torch.from_numpy(_best_v(process, self.power.double().numpy())))

    def forward(self, x_t: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The expected image B C H W; the root of its mean variance and the best v, both B 1 1 1."""
        left = self.left[timesteps].view(-1, 1, 1, 1)
        spread = left * self.power + 1 - left
        coefficients = self.rows @ (x_t - left.sqrt() * self.mean) @ self.columns.T
        filtered = left.sqrt() * self.power / spread * coefficients
        image = self.mean + self.rows.T @ filtered @ self.columns
        unknown = self._unknown(timesteps).view(-1, 1, 1, 1)
        return image, unknown.sqrt(), self.best_v[timesteps].view(-1, 1, 1, 1)

    def noise_error(self, timesteps: Tensor) -> Tensor:
        """The mean squared error of the noise that follows from the expected image, B."""
        left = self.left[timesteps]
        return left / (1 - left) * self._unknown(timesteps)

    def _unknown(self, timesteps: Tensor) -> Tensor:
        """What is unknown of the image, its variance averaged over the frequencies, B."""
        left = self.left[timesteps].view(-1, 1, 1, 1)
        return (self.power * (1 - left) / (left * self.power + 1 - left)).mean(dim=(1, 2, 3))


def _cosines(length: int) -> Tensor:
    """The orthonormal cosine transform (DCT-II), length x length."""
    place = (torch.arange(length) + 0.5) * math.pi / length
    matrix = torch.cos(torch.arange(length)[:, None] * place) * math.sqrt(2 / length)
    matrix[0] /= math.sqrt(2)
    return matrix


def _best_v(process: Process, power: np.ndarray) -> np.ndarray:
    """v of the variance beta~ + what is unknown of the image, averaged over frequencies, for every step."""
    left, lowest = process.alphas_bar, process.posterior_log_variances
    unknown = np.array([(power * (1 - a) / (a * power + 1 - a)).mean() for a in left])
    of_image = process.betas * np.sqrt(process.alphas_bar_before) / (1 - left)
    best = np.log(np.exp(lowest) + of_image**2 * unknown)
    highest = np.log(process.betas)
    v = 2 * (best - lowest) / np.maximum(highest - lowest, 1e-9) - 1
    v[0] = -1  # the last step draws nothing
    return np.clip(v, -1, 1)
