"""Sampling: on Gaussian data the best denoiser is known, and with it what every strength must do."""

from __future__ import annotations

import math

import pytest
import torch

from edgead.errors import UnknownNameError, UsageError
from edgead.synthesis.diffusion.process import Process, make_process
from edgead.synthesis.diffusion.sampler import SAMPLERS, NoiseStream, draw_images

CPU = torch.device("cpu")
DEVIATION = 0.1  # of the data, around 0; far from the limits of -1 and 1


def coefficients(chain: Process, number: int) -> tuple[float, float, float]:
    """Of a step back: the weights of image and x_t in its mean, and E[x_0 | x_t] / x_t."""
    left, before = chain.alphas_bar[number], chain.alphas_bar_before[number]
    gain = math.sqrt(left) * DEVIATION**2 / (left * DEVIATION**2 + 1 - left)
    of_image = chain.betas[number] * math.sqrt(before) / (1 - left)
    return of_image, (1 - before) * math.sqrt(1 - chain.betas[number]) / (1 - left), gain


def best_variance(chain: Process, number: int) -> float:
    """Var[x_{t-1} | x_t]: beta~, and what is unknown of the image."""
    left = chain.alphas_bar[number]
    unknown = DEVIATION**2 * (1 - left) / (left * DEVIATION**2 + 1 - left)
    of_image, _, _ = coefficients(chain, number)
    return float(chain.posterior_variances[number] + of_image**2 * unknown)


def best_denoiser(chain: Process):
    """The noise expected in x_t of data N(0, DEVIATION^2), and the true variance of each step, as v."""

    def denoiser(x_t: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        number = int((chain.timesteps == int(timesteps[0])).argmax())
        left = chain.alphas_bar[number]
        noise = x_t * math.sqrt(1 - left) / (left * DEVIATION**2 + 1 - left)
        lowest, highest = chain.posterior_log_variances[number], math.log(chain.betas[number])
        v = 2 * (math.log(best_variance(chain, number)) - lowest) / (highest - lowest) - 1 if number else 0
        return torch.cat((noise, torch.full_like(noise, v)), 1)

    return denoiser


def closed_form_variance(chain: Process, strength: float) -> float:
    """Variance of what the chain ends with: each step is linear in x_t, plus (1 + s) Sigma of noise."""
    variance = 1.0
    for number in reversed(range(len(chain))):
        of_image, of_noised, gain = coefficients(chain, number)
        variance *= (of_image * gain + of_noised) ** 2
        if number:
            variance += (1 + strength) * best_variance(chain, number)
    return variance


def draw(strength: float, *, seeds=range(8), steps: int = 20, **options) -> torch.Tensor:
    chain = make_process().respaced(steps)
    noise = NoiseStream(list(seeds), (1, 48, 48), device=CPU)
    strengths = torch.full((len(noise),), strength)
    return draw_images(best_denoiser(chain), chain, noise, strength=strengths, **options)


@pytest.mark.parametrize("strength", [0.0, 0.1, 0.2, 0.5, 1.0])
def test_variance_grows_with_strength_as_the_formula_says(strength: float):
    expected = closed_form_variance(make_process().respaced(20), strength)
    assert float(draw(strength).var()) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("steps", [5, 20, 100])
def test_strength_0_gives_the_variance_of_the_data_however_few_the_steps(steps: int):
    """But for what is unknown at the last step, which draws nothing."""
    assert float(draw(0.0, steps=steps).std()) == pytest.approx(DEVIATION, rel=0.02)


def plain_ancestral(process: Process, steps: int, seeds: list[int]) -> torch.Tensor:
    """The published sampler without strength, written out."""
    chain = process.respaced(steps)
    denoiser = best_denoiser(chain)
    noise = NoiseStream(seeds, (1, 48, 48), device=CPU)
    x_t = noise.draw()
    for number in reversed(range(steps)):
        step = torch.full((len(seeds),), number)
        gaussian, _ = chain.step_back(x_t, denoiser(x_t, torch.from_numpy(chain.timesteps)[step]), step)
        x_t = gaussian.mean
        if number:
            x_t = x_t + torch.exp(0.5 * gaussian.log_variance) * noise.draw()
    return x_t.clamp(-1, 1)


def test_strength_0_is_the_plain_sampler_to_the_bit():
    assert torch.equal(draw(0.0, seeds=[3, 5]), plain_ancestral(make_process(), 20, [3, 5]))


def test_ddim_at_strength_0_depends_on_the_first_noise_alone():
    chain = make_process().respaced(10)
    noise = NoiseStream([1], (1, 8, 8), device=CPU)
    drawn = draw_images(best_denoiser(chain), chain, noise, strength=torch.zeros(1), sampler="ddim")
    reference = NoiseStream([1], (1, 8, 8), device=CPU).draw()
    ratio = drawn / reference
    torch.testing.assert_close(ratio, torch.full_like(ratio, float(ratio.mean())))


def test_ddim_follows_diffusers():
    diffusers = pytest.importorskip("diffusers")
    steps = 10
    chain = make_process().respaced(steps)
    reference = diffusers.DDIMScheduler(1000, timestep_spacing="leading", steps_offset=0, clip_sample=True,
                                        set_alpha_to_one=True)  # fmt: skip
    reference.set_timesteps(steps)
    denoiser, x_t = best_denoiser(chain), NoiseStream([1], (1, 8, 8), device=CPU).draw()
    for t in reference.timesteps:
        x_t = reference.step(denoiser(x_t, t[None]).chunk(2, 1)[0], int(t), x_t).prev_sample
    noise = NoiseStream([1], (1, 8, 8), device=CPU)
    ours = draw_images(denoiser, chain, noise, strength=torch.zeros(1), sampler="ddim")
    torch.testing.assert_close(ours, x_t, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_more_strength_is_more_spread_with_either_sampler(sampler: str):
    spreads = [float(draw(s, sampler=sampler).std()) for s in (0.0, 0.02, 0.2)]
    assert spreads == sorted(spreads)
    assert spreads[0] < spreads[2]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_guide_pulls_the_samples_its_way(sampler: str):
    """The gradient of log p(y | x) of a class that likes bright images."""
    unguided = float(draw(0.0, sampler=sampler, seeds=[1, 2]).mean())
    guided = float(draw(0.0, sampler=sampler, seeds=[1, 2], guide=lambda x, _t: torch.ones_like(x)).mean())
    assert guided > unguided


def test_an_image_depends_on_its_own_seed_alone():
    together, alone = draw(0.3, seeds=[7, 8, 9]), draw(0.3, seeds=[8])
    assert torch.equal(together[1:2], alone)
    assert not torch.equal(together[0], together[1])


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(UnknownNameError, match="ancestral"):
        draw(0.0, sampler="ancestrall")
    for wrong in (-0.1, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="finite and from 0 up"):
            draw(wrong)
