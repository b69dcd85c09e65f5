"""The linear start: Wiener's filter on Gaussian images, and a network that adds nothing to it untrained."""

from __future__ import annotations

import pytest
import torch

from edgead.synthesis.diffusion.linear import LinearDenoiser
from edgead.synthesis.diffusion.network import SIZES, DenoisingNetwork, network_config, parameter_count
from edgead.synthesis.diffusion.process import make_process
from edgead.synthesis.diffusion.sampler import NoiseStream, draw_images

pytest.importorskip("diffusers")
SIDE = 16


def smooth_images(count: int = 400) -> torch.Tensor:
    """Gaussian images: a ramp, and columns that are alike from row to row."""
    generator = torch.Generator().manual_seed(0)
    grain = torch.randn((count, 1, SIDE, SIDE), generator=generator) * 0.05
    columns = torch.randn((count, 1, 1, SIDE), generator=generator) * 0.1
    return torch.linspace(-0.3, 0.3, SIDE)[:, None] + columns + grain


def fitted() -> LinearDenoiser:
    denoiser = LinearDenoiser((1, SIDE, SIDE))
    denoiser.fit(smooth_images(), make_process())
    return denoiser


@pytest.mark.parametrize("step", [0, 50, 300, 600, 999])
def test_no_other_guess_along_the_filter_is_better(step: int):
    process, denoiser, images = make_process(), fitted(), smooth_images()
    steps = torch.full((len(images),), step)
    x_t = process.noised(images, steps, torch.randn(images.shape, generator=torch.Generator().manual_seed(1)))
    guess, deviation, _ = denoiser(x_t, steps)

    def error(share: float) -> float:
        return float((denoiser.mean + share * (guess - denoiser.mean) - images).square().mean())

    assert error(1.0) <= min(error(0.9), error(1.1)) + 1e-6
    assert error(1.0) ** 0.5 == pytest.approx(float(deviation[0]), rel=0.1)


def test_an_untrained_network_draws_images_of_the_right_mean_and_spectrum():
    network = DenoisingNetwork(network_config("small", height=SIDE, width=SIDE, channels=1)).eval()
    network.linear.fit(smooth_images(), make_process())
    products = torch.zeros(64, dtype=torch.int64)
    noise = NoiseStream(list(range(64)), (1, SIDE, SIDE), device=torch.device("cpu"))
    drawn = draw_images(
        lambda x_t, t: network(x_t, t, products),
        make_process().respaced(100),
        noise,
        strength=torch.zeros(64),
    )
    torch.testing.assert_close(drawn.mean(0), network.linear.mean, atol=0.06, rtol=0)
    real = smooth_images()
    for direction in (2, 3):  # smooth down the columns, rough across them
        ratio = drawn.diff(dim=direction).std() / real.diff(dim=direction).std()
        assert float(ratio) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("step", [5, 50, 300, 600, 999])
def test_before_anything_is_learnt_every_step_of_the_chain_weighs_alike(step: int):
    process, images = make_process(), smooth_images()
    network = DenoisingNetwork(network_config("small", height=SIDE, width=SIDE, channels=1)).eval()
    network.linear.fit(images, process)
    steps = torch.full((len(images),), step)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    x_t = process.noised(images, steps, noise)
    with torch.no_grad():
        output = network(x_t, steps, torch.zeros(len(images), dtype=torch.int64))
    usual = network.usual_error(steps)
    losses = process.losses(output, images, x_t, noise, steps, usual_error=usual)
    plain = process.losses(output, images, x_t, noise, steps)
    assert float(losses["noise"]) == pytest.approx(1, rel=0.1)
    assert float(plain["noise"]) == pytest.approx(float(usual[0]), rel=0.1)


def test_the_published_network_learns_by_the_published_loss():
    tiny = network_config("small", height=SIDE, width=SIDE, channels=1, linear_start=False)
    assert DenoisingNetwork(tiny).usual_error(torch.zeros(2, dtype=torch.int64)) is None


def test_the_published_size_has_the_published_parameters():
    assert parameter_count(network_config("published")) == pytest.approx(552.8e6, rel=1e-3)
    assert parameter_count(SIZES["small"]) < 5e6
