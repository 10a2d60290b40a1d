"""Compositing: cases worked out by hand, and laws that hold for any densities."""

import math

import pytest
import torch

from objnerf.rendering.volume import (
    SlotSamples,
    composite,
    density_shares,
    expected_depth,
    ray_weights,
    step_lengths,
)


def _random(slots: int = 4, samples: int = 9) -> tuple[SlotSamples, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    density = (torch.randn((2, slots, 5 * samples), generator=generator) * 8).relu()
    colour = torch.rand((2, slots, 5 * samples, 3), generator=generator)
    directions = torch.randn((2, 5, 3), generator=generator)
    depths = torch.linspace(6, 20, samples).expand(2, 5, samples)
    return SlotSamples(density, colour), depths, directions


def test_two_samples_by_hand():
    """One slot, two samples 7 apart, unit 14, a ray of length 2.

    Steps: 7/14·2 = 1 and 0.01·2 = 0.02. Density ln 2 at the first: alpha = 1 - e^(-ln 2·1) = 0.5.
    Density 50 ln 4 at the second: alpha = 1 - e^(-50 ln 4·0.02) = 1 - 1/4 = 0.75, seen through 0.5: 0.375.
    The share of a lone slot is d / (d + 1e-5), about 1. Colour: 0.5·1 + 0.375·0.2 = 0.575.
    """
    samples = SlotSamples(
        torch.tensor([[[math.log(2), 50 * math.log(4)]]]),
        torch.tensor([1.0, 0.2])[None, None, :, None].expand(1, 1, 2, 3),
    )
    depths, directions = torch.tensor([[[6.0, 13.0]]]), torch.tensor([[[0.0, math.sqrt(3), 1.0]]])
    seen = composite(samples, depths, directions, unit=14.0)
    assert seen.opacity.item() == pytest.approx(0.875, abs=1e-4)
    assert seen.rgb[0, 0].tolist() == pytest.approx([0.575] * 3, abs=1e-4)
    # Weights 0.5 and 0.375, each raised by 1e-5: (0.50001·6 + 0.37501·13) / 0.87502 = 9.00001…
    assert seen.depth.item() == pytest.approx((0.50001 * 6 + 0.37501 * 13) / 0.87502, abs=1e-4)


def test_shares_by_hand():
    """Densities 3 and 1: shares 3/4 and 1/4; the mixed density is 3·3/4 + 1·1/4 = 2.5, the sum is 4."""
    samples = SlotSamples(torch.tensor([[[3.0], [1.0]]]), torch.tensor([[[[1.0, 0, 0]], [[0, 1.0, 0]]]]))
    depths, directions = torch.tensor([[[6.0]]]), torch.tensor([[[0.0, 0.0, 100.0]]])  # one step of 1
    mixed = composite(samples, depths, directions, unit=14.0)
    assert mixed.opacity.item() == pytest.approx(1 - math.exp(-2.5), rel=1e-4)
    assert mixed.rgb[0, 0].tolist() == pytest.approx(
        [m * mixed.opacity.item() for m in (0.75, 0.25, 0)], rel=1e-4
    )
    added = composite(samples, depths, directions, unit=14.0, mixing="sum")
    assert added.opacity.item() == pytest.approx(1 - math.exp(-4), rel=1e-4)


@pytest.mark.parametrize("mixing", ["share", "sum"])
def test_laws(mixing: str):
    samples, depths, directions = _random()
    seen = composite(samples, depths, directions, unit=14.0, mixing=mixing)
    assert (seen.opacity >= 0).all()
    assert (seen.opacity <= 1 + 1e-6).all()
    torch.testing.assert_close(seen.slot_opacity.sum(-1), seen.opacity, rtol=1e-3, atol=1e-4)
    assert (seen.depth >= 6).all()
    assert (seen.depth <= 20).all()
    # All slots white: the picture is the opacity.
    white = composite(
        SlotSamples(samples.density, torch.ones_like(samples.colour)),
        depths,
        directions,
        unit=14.0,
        mixing=mixing,
    )
    torch.testing.assert_close(white.rgb, white.slot_opacity.sum(-1, keepdim=True).expand(-1, -1, 3))
    # The order of slots is no matter.
    turned = composite(
        SlotSamples(samples.density.flip(1), samples.colour.flip(1)),
        depths,
        directions,
        unit=14.0,
        mixing=mixing,
    )
    torch.testing.assert_close(turned.rgb, seen.rgb)
    torch.testing.assert_close(turned.slot_opacity.flip(-1), seen.slot_opacity)


def test_occlusion_is_mutual():
    """An opaque slot in front hides the one behind it in ``slot_opacity``, but not when rendered alone."""
    density = torch.zeros(1, 2, 4)
    density[0, 0, 1] = density[0, 1, 2] = 1e4
    samples = SlotSamples(density, torch.ones(1, 2, 4, 3))
    depths = torch.linspace(6, 20, 4).expand(1, 1, 4)
    seen = composite(samples, depths, torch.tensor([[[0.0, 0.0, 1.0]]]), unit=14.0, per_slot=True)
    assert seen.slot_opacity[0, 0].tolist() == pytest.approx([1, 0], abs=1e-5)
    assert seen.per_slot is not None
    assert seen.per_slot.rgb[0, 0, :, 0].tolist() == pytest.approx([1, 1], abs=1e-5)
    assert seen.per_slot.depth[0, 0].tolist() == pytest.approx([6 + 14 / 3, 6 + 28 / 3], abs=1e-3)


def test_alone_equals_the_other_slots_left_out_of_the_compositing():
    """By hand for each slot: its share-weighted density and colour composited as a single field."""
    samples, depths, directions = _random()
    seen = composite(samples, depths, directions, unit=14.0, per_slot=True)
    assert seen.per_slot is not None
    share = density_shares(samples.density).unflatten(2, (5, -1))
    steps = step_lengths(depths, directions, 14.0)
    for slot in range(4):
        density = share[:, slot] * samples.density.unflatten(2, (5, -1))[:, slot]
        weights = ray_weights(density, steps)
        colour = samples.colour.unflatten(2, (5, -1))[:, slot] * share[:, slot, ..., None]
        torch.testing.assert_close(seen.per_slot.rgb[:, :, slot], (weights[..., None] * colour).sum(2))
        torch.testing.assert_close(seen.per_slot.density_mask[:, :, slot], (weights * density).sum(2))
        torch.testing.assert_close(seen.per_slot.depth[:, :, slot], expected_depth(weights, depths))


def test_empty_rays():
    samples, depths, directions = _random()
    empty = SlotSamples(torch.zeros_like(samples.density), samples.colour)
    seen = composite(empty, depths, directions, unit=14.0)
    assert seen.opacity.abs().max() == 0
    assert seen.rgb.abs().max() == 0
    torch.testing.assert_close(seen.depth, torch.full_like(seen.depth, 13.0))  # the mean of 6 … 20


def test_weights_telescope():
    """One minus the opacity is the product of what every sample lets through."""
    _, depths, directions = _random()
    density = torch.rand(2, 5, 9) * 10
    steps = step_lengths(depths, directions, 14.0)
    passed = torch.exp(-(density * steps).sum(-1))
    torch.testing.assert_close(1 - ray_weights(density, steps).sum(-1), passed, rtol=1e-4, atol=1e-5)


def test_float32_under_autocast():
    samples, depths, directions = _random()
    expected = composite(samples, depths, directions, unit=14.0)
    with torch.autocast("cpu", torch.bfloat16):
        seen = composite(samples, depths, directions, unit=14.0)
    assert seen.rgb.dtype == torch.float32
    assert torch.equal(seen.rgb, expected.rgb)
