"""Shadows: what is missing from the light beside an object."""

import pytest
import torch

from objnerf.models.volumes.grid import Square
from objnerf.models.volumes.pattern import Continued
from objnerf.models.volumes.shadows import DARKEST, Shadows, find_shadows

SQUARE = Square(half=8.0, cells=64)
SCALE = 4.0


def _disc(x: float, y: float, radius: float) -> torch.Tensor:
    away = SQUARE.columns() - torch.tensor([x, y])
    return (away.norm(dim=-1) < radius).float()


def _shares(*places: tuple[float, float]) -> torch.Tensor:
    """Objects of radius .5, one at each place, and one that is not there."""
    return torch.stack([*(_disc(*place, 0.5) for place in places), torch.zeros(64, 64)])[None]


def _all_found(light: torch.Tensor, seen: torch.Tensor, shares: torch.Tensor) -> Shadows:
    light = light.expand(1, 3, -1, -1)
    ground = Continued(light, seen, light, torch.zeros_like(light))
    found = find_shadows(ground, seen, torch.zeros(1, 1, 64, 64), shares, SQUARE, SCALE)
    assert found.cast.shape == found.zones.shape == shares.shape
    assert found.cast.max() <= 0
    assert found.zones.min() >= 0
    assert found.zones.sum(1).max() <= 1 + 1e-5
    return found


def _found(light: torch.Tensor, seen: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    return _all_found(light, seen, shares).cast[0]


def test_a_shadow_is_what_is_missing_from_the_light_around_it():
    """Beside an object half of the light is missing: log ½. Its edges are as soft as the light is coarse."""
    shadow = _disc(0.8, 0.0, 0.5)
    light = (0.6 * (1 - 0.5 * shadow))[None, None]
    found = _found(light, torch.ones(1, 1, 64, 64), _shares((0.0, 0.0)))
    inside = found[0][shadow > 0]
    assert inside.mean().item() == pytest.approx(torch.tensor(0.5).log().item(), abs=0.1)
    assert found[0][(_disc(0.8, 0.0, 1.0) == 0) & (_disc(0.0, 0.0, 1.0) == 0)].abs().max() < 0.02
    assert found[1].abs().max() == 0


def test_cleared_ground_has_neither_shadows_nor_what_hides_it():
    """Also where the object stands, of which the map shows anything."""
    shadow, hidden = _disc(0.8, 0.0, 0.5), _disc(0.0, 0.0, 0.6)
    light = (0.6 * (1 - 0.5 * shadow) * (1 - hidden) + hidden)[None, None]
    found = _all_found(light, (1 - hidden)[None, None], _shares((0.0, 0.0)))
    assert (found.cleared - 0.6).abs().max() < 0.02
    assert found.zones[0, 0][(shadow + _disc(0.0, 0.0, 0.5)) > 0].min() > 0.7
    assert found.zones[0, 0][_disc(0.4, 0.0, 1.8) == 0].max() < 0.01


def test_each_object_has_its_own_shadow():
    shadows = torch.stack([_disc(-2.2, 0.0, 0.5), _disc(2.2, 1.0, 0.5)])
    light = (0.6 * (1 - 0.6 * shadows.sum(0)))[None, None]
    found = _found(light, torch.ones(1, 1, 64, 64), _shares((-3.0, 0.0), (3.0, 1.0)))
    for slot, other in ((0, 1), (1, 0)):
        assert found[slot][shadows[slot] > 0].mean() < -0.5
        assert found[slot][shadows[other] > 0].abs().max() < 0.05


def test_light_that_falls_off_across_the_room_is_no_shadow():
    x, y = SQUARE.columns().unbind(-1)
    light = (0.5 + 0.02 * x - 0.001 * y * y)[None, None]
    found = _found(light, torch.ones(1, 1, 64, 64), _shares((-3.0, 2.0)))
    assert found.abs().max() < 0.02


def test_an_uneven_floor_has_no_shadows():
    """Where the light away from objects deviates as much, darkness beside one says nothing."""
    generator = torch.Generator().manual_seed(3)
    light = 0.5 * torch.exp(0.3 * torch.randn(1, 1, 64, 64, generator=generator))
    found = _found(light, torch.ones(1, 1, 64, 64), _shares((0.0, 0.0)))
    assert (found < -0.3).float().mean() < 0.02


def test_nothing_is_known_where_nothing_is_seen():
    """A map that is hardly seen, and darkness in a part that is not seen."""
    dark = (0.6 * (1 - 0.9 * _disc(0.8, 0.0, 1.0)))[None, None]
    few = torch.zeros(1, 1, 64, 64)
    few[..., :2, :8] = 1
    assert _found(dark, few, _shares((0.0, 0.0))).abs().max() == 0
    assert torch.isfinite(_found(dark, torch.zeros(1, 1, 64, 64), _shares((0.0, 0.0)))).all()
    seen = (1 - _disc(0.8, 0.0, 3.5))[None, None]
    assert _found(dark, seen, _shares((0.0, 0.0)))[0][_disc(0.8, 0.0, 1.0) > 0].min() > -0.3


def test_a_shadow_leaves_some_light():
    light = (0.6 * (1 - 0.999 * _disc(0.8, 0.0, 0.5)))[None, None]
    found = _found(light, torch.ones(1, 1, 64, 64), _shares((0.0, 0.0)))
    assert found.min() >= torch.tensor(DARKEST).log() - 1e-4
