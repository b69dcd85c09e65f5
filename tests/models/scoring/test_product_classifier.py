"""Products told apart by the means of their features."""

from __future__ import annotations

import torch

from edgead.models.scoring.product_classifier import ProductClassifier


def three_products(seed: int, apart: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Means at the corners of a triangle in two of eight channels, with noise of 0.2."""
    generator = torch.Generator().manual_seed(seed)
    owners = torch.arange(90) % 3
    corners = torch.tensor([[0.0, 0.0], [apart, 0.0], [0.0, apart]])
    context = torch.randn(90, 8, generator=generator) * 0.2 + 5
    context[:, :2] += corners[owners]
    return context, owners


def test_new_images_are_told_apart():
    classifier = ProductClassifier.fitted(*three_products(0, apart=2.0))
    context, owners = three_products(1, apart=2.0)
    shares = classifier(context)
    assert torch.equal(shares.argmax(dim=1), owners)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(len(owners)))
    assert float(shares.amax(dim=1).mean()) > 0.95


def test_products_that_look_alike_share_what_they_are_told_as():
    classifier = ProductClassifier.fitted(*three_products(0, apart=0.0))
    context, _ = three_products(1, apart=0.0)
    assert float(classifier(context).amax(dim=1).mean()) < 0.8


def test_an_image_far_from_all_is_given_to_the_nearest_without_overflow():
    classifier = ProductClassifier.fitted(*three_products(0, apart=2.0))
    far = torch.full((1, 8), 1e6)
    assert bool(classifier(far).isfinite().all())


def test_constant_features_and_single_images_are_no_error():
    classifier = ProductClassifier.fitted(torch.ones(3, 4), torch.tensor([0, 1, 2]))
    torch.testing.assert_close(classifier(torch.ones(1, 4)), torch.full((1, 3), 1 / 3))
