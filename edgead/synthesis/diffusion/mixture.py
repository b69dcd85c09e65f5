"""The best denoiser of a mixture of Gaussians, in closed form: where the small networks start from.

Good parts fall into a few kinds (bright and dark ones, ones shifted in the frame). Were each kind Gaussian,
with a mean image and independent frequencies, the expected image in x_t would be Wiener's filter of each
kind, weighted by how probable the kind is given x_t. That is fitted in seconds and draws parts of the right
outline, brightness and grain before any training. The network is left what is not Gaussian within a kind:
edges, grooves, scratches. (Preconditioning as in Karras et al., arXiv 2206.00364, with spectra in place of
one variance.)
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from edgead.synthesis.diffusion.process import Process

_LEAST_POWER = 1e-7  # of a frequency, images in -1..1; a spectrum of a few images has holes
_COARSE = 24  # frequencies along a side by which the images are sorted into kinds
_JUDGED = 64  # frequencies along a side by which the kind of x_t is told; the finer ones tell little of it
_IMAGES_PER_KIND = 16  # at least, on average; of fewer a kind would be those images themselves
_TAPERED = 0.5  # of the image, half at each border, in a second estimate of the spectrum
_MOVING = 2.0  # times that estimate, above which a frequency has the power of borders
_BORROWED = 8  # images' worth of the spectrum common to all kinds, in each kind's own
_LEAST_SHARE = 1e-3  # of a kind, below which it is left out of the expected image
_NEVER = -1e9  # log of the weight of a kind that is not there; finite, as all that is saved
_DRAWN = 48  # images drawn from the mixture to tell what is unknown of them
_STEPS_TRIED = 33  # of the chain, for the same
_CHUNK = 64  # images transformed at once: thousands of large ones would not fit twice into memory


class MixtureDenoiser(nn.Module):
    """Kinds of good images as buffers, so that they are saved with the weights: means and spectra K C H W.

    Means and spectra are those of the cosine transform. `components` kinds are kept for each product; those
    that there are too few images for have a weight of 0.
    """

    mean: Tensor
    variance: Tensor
    means: Tensor
    powers: Tensor
    log_weights: Tensor
    left: Tensor
    unknown: Tensor
    best_v: Tensor
    rows: Tensor
    columns: Tensor
    taper: Tensor

    def __init__(
        self, shape_chw: tuple[int, int, int], *, components: int, products: int = 1, steps: int = 1000
    ) -> None:
        super().__init__()
        kinds = components * products
        self.components = components
        self.register_buffer("mean", torch.zeros(shape_chw))  # of all images
        self.register_buffer("variance", torch.ones(()))  # of all images about it
        self.register_buffer("means", torch.zeros(kinds, *shape_chw))
        self.register_buffer("powers", torch.ones(kinds, *shape_chw))  # variance of each frequency
        self.register_buffer("log_weights", torch.full((kinds,), -math.log(components)))
        self.register_buffer("left", torch.linspace(0.9999, 0.0001, steps))  # abar_t
        self.register_buffer("unknown", torch.ones(steps))  # mean variance of an image given its x_t
        self.register_buffer("best_v", torch.zeros(steps))
        self.register_buffer("rows", _cosines(shape_chw[1]), persistent=False)
        self.register_buffer("columns", _cosines(shape_chw[2]), persistent=False)
        self.register_buffer("taper", _taper(shape_chw[1])[:, None] * _taper(shape_chw[2]), persistent=False)

    @torch.no_grad()
    def fit(self, images: Tensor, products: Tensor, process: Process) -> None:
        """Take the kinds, and the best variance of each step, from images N C H W in -1..1, products N."""
        self.mean.copy_(images.mean(dim=0))
        self.variance.copy_((images - self.mean).square().mean().clamp(min=_LEAST_POWER))
        self.log_weights.fill_(_NEVER)
        for product in products.unique().tolist():
            self._fit_product(images[products == product], product * self.components)
        self.left.copy_(torch.from_numpy(process.alphas_bar))
        self.unknown.copy_(self._unknown(products))
        self.best_v.copy_(torch.from_numpy(_best_v(process, self.unknown.double().numpy())))

    def forward(self, x_t: Tensor, timesteps: Tensor, products: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The expected image B C H W; the root of its mean variance and the best v, both B 1 1 1."""
        left = self.left[timesteps].view(-1, 1, 1, 1)
        expected = self._expected(self.rows @ x_t @ self.columns.T, left, products)
        image = self.rows.T @ expected @ self.columns
        unknown = self.unknown[timesteps].view(-1, 1, 1, 1)
        return image, unknown.sqrt(), self.best_v[timesteps].view(-1, 1, 1, 1)

    def noise_error(self, timesteps: Tensor) -> Tensor:
        """The mean squared error of the noise that follows from the expected image, B."""
        left = self.left[timesteps]
        return left / (1 - left) * self.unknown[timesteps]

    def _fit_product(self, images: Tensor, first: int) -> None:
        kinds = self._kinds(images, min(self.components, max(1, len(images) // _IMAGES_PER_KIND)))
        means = [images[kind].mean(dim=0) for kind in kinds]
        plain, tapered = (
            torch.stack(
                [self._power(images, kind, mean, window) for kind, mean in zip(kinds, means, strict=True)]
            )
            for window in (1.0, self.taper)
        )
        # A border that is bright in one image and dark in the next has power in all frequencies of its
        # direction; lines from border to border would be drawn all over the part. Tapered images lack it.
        squares = torch.where(plain.sum(dim=0) > _MOVING * tapered.sum(dim=0), tapered, plain)
        common = squares.sum(dim=0) / max(len(images) - len(kinds), 1)
        for number, (kind, mean, square) in enumerate(zip(kinds, means, squares, strict=True), first):
            count = len(kind)
            # The mean of a kind is known from its few images alone, and is as uncertain as they are few.
            power = (square + _BORROWED * common) / (count - 1 + _BORROWED) * (1 + 1 / count)
            self.powers[number] = power.clamp(min=_LEAST_POWER)
            self.means[number] = self.rows @ mean @ self.columns.T
            self.log_weights[number] = math.log(count / len(images))

    def _kinds(self, images: Tensor, count: int) -> list[Tensor]:
        """Numbers of the images of each kind: k-means of the low frequencies."""
        if count == 1:
            return [torch.arange(len(images))]
        from sklearn.cluster import KMeans

        rows, columns = self.rows[:_COARSE], self.columns[:_COARSE]
        coarse = torch.cat([(rows @ chunk @ columns.T).flatten(1) for chunk in images.split(_CHUNK)])
        labels = KMeans(count, n_init=3, random_state=0).fit_predict(coarse.double().numpy())
        return [torch.from_numpy(np.flatnonzero(labels == label)) for label in np.unique(labels)]

    def _power(self, images: Tensor, kind: Tensor, mean: Tensor, window: Tensor | float) -> Tensor:
        """Sum over the images of a kind of the squares of each frequency, of what differs from their mean."""
        total = torch.zeros_like(mean)
        for chunk in kind.split(_CHUNK):
            total += (self.rows @ ((images[chunk] - mean) * window) @ self.columns.T).square().sum(dim=0)
        return total

    def _expected(self, coefficients: Tensor, left: Tensor, products: Tensor) -> Tensor:
        """The expected image's frequencies from those of x_t, both B C H W."""
        shares = self._shares(coefficients, left, products)
        expected, gains = torch.zeros_like(coefficients), torch.zeros_like(coefficients)
        for kind, most in enumerate(shares.amax(dim=0).tolist()):
            if most >= _LEAST_SHARE:
                share, power, mean = shares[:, kind].view(-1, 1, 1, 1), self.powers[kind], self.means[kind]
                gain = share * power / (left * power + 1 - left)
                expected += (share - left * gain) * mean
                gains += gain
        return expected + left.sqrt() * gains * coefficients

    def _shares(self, coefficients: Tensor, left: Tensor, products: Tensor) -> Tensor:
        """How probable each kind is given x_t, B K."""
        low = (..., slice(_JUDGED), slice(_JUDGED))
        seen, left = coefficients[low][:, None], left[:, None]
        means, powers = self.means[low], self.powers[low]
        spread = left * powers + 1 - left
        gaps = (seen - left.sqrt() * means).square() / spread + spread.log()
        owners = torch.arange(len(self.means), device=products.device) // self.components
        prior = torch.where(owners == products[:, None], self.log_weights, _NEVER)
        return (prior - 0.5 * gaps.sum(dim=(2, 3, 4))).softmax(dim=1)

    def _unknown(self, products: Tensor) -> Tensor:
        """The mean squared error of the expected image at every step, for images drawn from the mixture."""
        generator = torch.Generator().manual_seed(0)
        chosen = products[torch.randint(len(products), (_DRAWN,), generator=generator)]
        owners = torch.arange(len(self.means)) // self.components
        weights = torch.where(owners == chosen[:, None], self.log_weights.exp(), 0.0)
        kinds = torch.multinomial(weights, 1, generator=generator)[:, 0]
        shape = (_DRAWN, *self.mean.shape)
        image = self.means[kinds] + self.powers[kinds].sqrt() * torch.randn(shape, generator=generator)
        noise = torch.randn(shape, generator=generator)
        ratio = ((1 - self.left) / self.left).double().log().numpy()  # of noise; what is unknown follows it
        tried = np.unique(np.searchsorted(ratio, np.linspace(ratio[0], ratio[-1], _STEPS_TRIED)))
        errors = []
        for left in self.left[tried].view(-1, 1, 1, 1):
            expected = self._expected(left.sqrt() * image + (1 - left).sqrt() * noise, left[None], chosen)
            errors.append(float((expected - image).square().mean()))
        return torch.from_numpy(np.exp(np.interp(ratio, ratio[tried], np.log(errors)))).float()


def _cosines(length: int) -> Tensor:
    """The orthonormal cosine transform (DCT-II), length x length."""
    place = (torch.arange(length) + 0.5) * math.pi / length
    matrix = torch.cos(torch.arange(length)[:, None] * place) * math.sqrt(2 / length)
    matrix[0] /= math.sqrt(2)
    return matrix


def _taper(length: int) -> Tensor:
    """A window that rises over the first quarter and falls over the last, of mean square 1."""
    place = (torch.arange(length) + 0.5) / (length * _TAPERED / 2)
    window = torch.sin(torch.minimum(place, place.flip(0)).clamp(max=1.0) * math.pi / 2)
    return window / window.square().mean().sqrt()


def _best_v(process: Process, unknown: np.ndarray) -> np.ndarray:
    """v of the variance beta~ + what is unknown of the image, for every step."""
    left, lowest = process.alphas_bar, process.posterior_log_variances
    of_image = process.betas * np.sqrt(process.alphas_bar_before) / (1 - left)
    best = np.log(np.exp(lowest) + of_image**2 * unknown)
    highest = np.log(process.betas)
    v = 2 * (best - lowest) / np.maximum(highest - lowest, 1e-9) - 1
    v[0] = -1  # the last step draws nothing
    return np.asarray(np.clip(v, -1, 1))
