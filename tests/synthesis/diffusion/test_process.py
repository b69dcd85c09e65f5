"""The diffusion process against closed forms and against diffusers' schedulers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead.errors import UnknownNameError, UsageError
from edgead.synthesis.diffusion.process import (
    SCHEDULES,
    Gaussian,
    kl_divergence,
    log_likelihood,
    make_process,
)

diffusers = pytest.importorskip("diffusers")
SHAPE = (2, 1, 4, 4)


def normal(seed: int, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scheduler(schedule: str, steps: int | None = None, **options):
    betas = {"linear": "linear", "cosine": "squaredcos_cap_v2"}[schedule]
    made = diffusers.DDPMScheduler(
        1000, beta_schedule=betas, timestep_spacing="leading", steps_offset=0, clip_sample=True, **options
    )
    if steps:
        made.set_timesteps(steps)
    return made


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_betas_are_those_of_diffusers(schedule: str):
    np.testing.assert_allclose(make_process(schedule).betas, scheduler(schedule).betas.numpy(), rtol=1e-4)


@pytest.mark.parametrize("steps", [1, 7, 20, 50, 1000])
def test_respacing_keeps_the_steps_and_the_abar_of_diffusers(steps: int):
    chain, reference = make_process().respaced(steps), scheduler("linear", steps)
    assert chain.timesteps[::-1].tolist() == reference.timesteps.tolist()
    expected = reference.alphas_cumprod.numpy()[chain.timesteps]
    np.testing.assert_allclose(chain.alphas_bar, expected, rtol=1e-4, atol=1e-7)


def test_twenty_steps_are_the_published_ones():
    assert make_process().respaced(20).timesteps.tolist() == list(range(0, 1000, 50))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 999), st.integers(0, 5))
def test_forward_marginals_are_those_of_the_chain(step: int, seed: int):
    process = make_process()
    kept = math.prod((1 - process.betas[: step + 1]).tolist())
    image, noise = normal(seed), normal(seed + 100)
    steps = torch.full((2,), step)
    expected = math.sqrt(kept) * image + math.sqrt(1 - kept) * noise
    torch.testing.assert_close(process.noised(image, steps, noise), expected)
    reference = scheduler("linear").add_noise(image.float(), noise.float(), steps)
    torch.testing.assert_close(reference.double(), expected, atol=1e-4, rtol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 999))
def test_posterior_is_bayes_rule_on_the_two_gaussians(step: int):
    """q(x_{t-1} | x_t, x_0) from q(x_{t-1} | x_0) as prior and q(x_t | x_{t-1}) as likelihood."""
    process = make_process()
    beta, before = process.betas[step], process.alphas_bar[step - 1]
    precision = 1 / (1 - before) + (1 - beta) / beta
    assert process.posterior_variances[step] == pytest.approx(1 / precision)
    image, x_t = normal(1), normal(2)
    mean = (math.sqrt(before) * image / (1 - before) + math.sqrt(1 - beta) * x_t / beta) / precision
    torch.testing.assert_close(process.posterior_mean(image, x_t, torch.full((2,), step)), mean)


@pytest.mark.parametrize("number", [0, 1, 10, 19])
def test_a_step_of_twenty_has_the_mean_of_diffusers(number: int):
    chain, reference = make_process().respaced(20), scheduler("linear", 20, variance_type="fixed_small")
    x_t, noise = normal(3).float(), normal(4).float()
    gaussian, _ = chain.step_back(x_t, torch.cat((noise, -torch.ones(SHAPE)), 1), torch.full((2,), number))
    step = int(chain.timesteps[number])
    reference._get_variance = lambda *_args, **_options: torch.zeros(())  # leaves the mean
    expected = reference.step(noise, step, x_t).prev_sample
    torch.testing.assert_close(gaussian.mean, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("step", [1, 500, 999])
def test_learnt_variance_is_that_of_diffusers_on_the_whole_chain(step: int):
    process, reference = make_process(), scheduler("linear", 1000, variance_type="learned_range")
    v = normal(5).float().tanh()
    expected = reference._get_variance(step, predicted_variance=v)
    torch.testing.assert_close(
        process.log_variance(v, torch.full((2,), step)), expected, atol=2e-3, rtol=1e-3
    )


def test_image_and_noise_are_inverse_within_the_limits():
    process, steps = make_process(), torch.tensor([100, 700])
    image, noise = normal(6).clamp(-1, 1), normal(7)
    x_t = process.noised(image, steps, noise)
    torch.testing.assert_close(process.image_from(x_t, noise, steps), image)
    torch.testing.assert_close(process.noise_from(x_t, image, steps), noise)


def test_the_bound_is_lowest_at_the_true_variance_and_teaches_the_variance_alone():
    process, steps = make_process(), torch.tensor([400, 400])
    image, noise = normal(8).clamp(-1, 1), normal(9)
    x_t = process.noised(image, steps, noise)

    def bound(v: float) -> float:
        return float(
            process.losses(torch.cat((noise, torch.full(SHAPE, v)), 1), image, x_t, noise, steps)["variance"]
        )

    assert bound(-1.0) == pytest.approx(0, abs=1e-9)
    assert bound(-1.0) < bound(0.0) < bound(1.0)
    output = torch.cat((noise + 0.1, torch.zeros(SHAPE)), 1).requires_grad_()
    process.losses(output, image, x_t, noise, steps)["variance"].backward()
    assert float(output.grad[:, :1].abs().sum()) == 0 < float(output.grad[:, 1:].abs().sum())


def test_the_last_step_scores_grey_levels():
    """The masses of all 256 levels of a Gaussian add up to one."""
    levels = torch.linspace(-1, 1, 256, dtype=torch.float64)[None, None, None]
    gaussian = Gaussian(torch.full_like(levels, 0.3), torch.full_like(levels, -3.0))
    assert float(log_likelihood(levels, gaussian).exp().sum()) == pytest.approx(1, abs=1e-6)


def test_kl_divergence_is_that_of_torch():
    first, second = Gaussian(normal(1), normal(2)), Gaussian(normal(3), normal(4))
    pair = [torch.distributions.Normal(g.mean, (0.5 * g.log_variance).exp()) for g in (first, second)]
    torch.testing.assert_close(kl_divergence(first, second), torch.distributions.kl_divergence(*pair))


def test_what_cannot_be_a_process_is_refused():
    with pytest.raises(UnknownNameError, match="Did you mean cosine"):
        make_process("cosin")
    with pytest.raises(UsageError, match="at least 2 steps"):
        make_process(steps=1)
    with pytest.raises(UsageError, match="1000 steps"):
        make_process().respaced(1001)
