"""The start: the best denoiser of a mixture of Gaussians, and a network that adds nothing to it untrained."""

from __future__ import annotations

import pytest
import torch

from edgead.synthesis.diffusion.mixture import MixtureDenoiser
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


def of_one_product(images: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(images), dtype=torch.int64)


def fitted(images: torch.Tensor, components: int) -> MixtureDenoiser:
    denoiser = MixtureDenoiser((1, SIDE, SIDE), components=components)
    denoiser.fit(images, of_one_product(images), make_process())
    return denoiser


def untrained_network() -> DenoisingNetwork:
    config = network_config("small", height=SIDE, width=SIDE, channels=1, components=1)
    return DenoisingNetwork(config).eval()


@pytest.mark.parametrize("step", [0, 50, 300, 600, 999])
def test_no_other_guess_along_the_filter_is_better(step: int):
    images = smooth_images()
    process, denoiser = make_process(), fitted(images, components=1)
    steps = torch.full((len(images),), step)
    x_t = process.noised(images, steps, torch.randn(images.shape, generator=torch.Generator().manual_seed(1)))
    guess, deviation, _ = denoiser(x_t, steps, of_one_product(images))

    def error(share: float) -> float:
        return float((denoiser.mean + share * (guess - denoiser.mean) - images).square().mean())

    assert error(1.0) <= min(error(0.9), error(1.1)) + 1e-6
    assert error(1.0) ** 0.5 == pytest.approx(float(deviation[0]), rel=0.1)


def test_an_untrained_network_draws_images_of_the_right_mean_and_spectrum():
    network = DenoisingNetwork(
        network_config("small", height=SIDE, width=SIDE, channels=1, components=1)
    ).eval()
    real = smooth_images()
    network.start.fit(real, of_one_product(real), make_process())
    products = torch.zeros(64, dtype=torch.int64)
    noise = NoiseStream(list(range(64)), (1, SIDE, SIDE), device=torch.device("cpu"))
    drawn = draw_images(
        lambda x_t, t: network(x_t, t, products),
        make_process().respaced(100),
        noise,
        strength=torch.zeros(64),
    )
    torch.testing.assert_close(drawn.mean(0), network.start.mean, atol=0.06, rtol=0)
    for direction in (2, 3):  # smooth down the columns, rough across them
        ratio = drawn.diff(dim=direction).std() / real.diff(dim=direction).std()
        assert float(ratio) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("step", [5, 50, 300, 600, 999])
def test_before_anything_is_learnt_every_step_of_the_chain_weighs_alike(step: int):
    process, images = make_process(), smooth_images()
    network = DenoisingNetwork(
        network_config("small", height=SIDE, width=SIDE, channels=1, components=1)
    ).eval()
    network.start.fit(images, of_one_product(images), process)
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
    tiny = network_config("small", height=SIDE, width=SIDE, channels=1, components=0)
    assert DenoisingNetwork(tiny).usual_error(torch.zeros(2, dtype=torch.int64)) is None


def test_the_published_size_has_the_published_parameters():
    assert parameter_count(network_config("published")) == pytest.approx(552.8e6, rel=1e-3)
    assert parameter_count(SIZES["small"]) < 5e6


def images_of_two_kinds(count: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    """Bright on the left or bright on the right, with grain; and which is which."""
    generator = torch.Generator().manual_seed(0)
    kinds = torch.arange(count) % 2
    ramp = torch.linspace(-0.4, 0.4, SIDE).expand(1, SIDE, SIDE)
    grain = torch.randn((count, 1, SIDE, SIDE), generator=generator) * 0.05
    return torch.where(kinds.view(-1, 1, 1, 1) == 0, ramp, -ramp) + grain, kinds


def test_a_mixture_tells_kinds_apart_that_one_gaussian_blends():
    images, _ = images_of_two_kinds()
    process, noise = make_process(), torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    steps = torch.full((len(images),), 300)
    x_t = process.noised(images, steps, noise)
    one, two = (fitted(images, components)(x_t, steps, of_one_product(images)) for components in (1, 2))
    errors = [(guess - images).square().mean() for guess, _, _ in (one, two)]
    assert errors[1] < 0.4 * errors[0]
    assert float(errors[1] ** 0.5) == pytest.approx(float(two[1][0]), rel=0.1)


def test_the_expected_image_of_a_mixture_is_that_of_bayes():
    """Against the posterior over the very images of a finite set, each a kind of its own with no grain."""
    images, _ = images_of_two_kinds(2)
    denoiser = fitted(images, components=2)
    denoiser.means.copy_(denoiser.rows @ images @ denoiser.columns.T)
    denoiser.powers.fill_(1e-9)
    denoiser.log_weights.copy_(torch.tensor([0.25, 0.75]).log())
    process, steps = make_process(), torch.tensor([900])
    x_t = process.noised(images.mean(0)[None] + 0.02 * images[:1], steps, torch.zeros(1, 1, SIDE, SIDE))
    left = float(process.alphas_bar[900])
    logits = -(x_t - left**0.5 * images).square().sum((1, 2, 3)) / (2 * (1 - left)) + denoiser.log_weights
    expected = (logits.softmax(0).view(-1, 1, 1, 1) * images).sum(0)
    guess, _, _ = denoiser(x_t, steps, torch.tensor([0]))
    torch.testing.assert_close(guess[0], expected, atol=1e-4, rtol=0)


def test_products_have_kinds_of_their_own():
    images, kinds = images_of_two_kinds()
    denoiser = MixtureDenoiser((1, SIDE, SIDE), components=3, products=2)
    denoiser.fit(images, kinds, make_process())
    noise = torch.randn((2, 1, SIDE, SIDE), generator=torch.Generator().manual_seed(1))
    guess, _, _ = denoiser(noise, torch.tensor([999, 999]), torch.tensor([0, 1]))
    for product in (0, 1):
        torch.testing.assert_close(guess[product], images[kinds == product].mean(0), atol=0.1, rtol=0)


def test_a_border_that_comes_and_goes_draws_no_lines_across_the_part():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn((300, 1, 32, 32), generator=generator) * 0.02
    images[:, :, :1] += torch.randn((300, 1, 1, 1), generator=generator) * 0.5
    denoiser = MixtureDenoiser((1, 32, 32), components=1)
    denoiser.fit(images, of_one_product(images), make_process())
    everywhere = (denoiser.rows @ images @ denoiser.columns.T).square().mean(0)[0, 4:, 0]
    assert float(denoiser.powers[0, 0, 4:, 0].mean()) < 0.1 * float(everywhere.mean())


def test_many_products_share_the_kinds_of_one():
    found = {products: network_config("small", products=products).components for products in (1, 2, 15, 40)}
    assert found == {1: 32, 2: 16, 15: 2, 40: 2}
    assert network_config("published", products=15).components == 0
    assert network_config("small", products=2, components=5).components == 5
