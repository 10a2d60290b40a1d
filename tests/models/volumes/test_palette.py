"""Palettes: which colours are the background's."""

import pytest
import torch

from objnerf.models.volumes.palette import BINS, foreignness, make_palette, paint

FLOOR, CHAIR, OTHER = (0.8, 0.6, 0.4), (0.2, 0.3, 0.8), (0.1, 0.9, 0.1)


def colours(*parts: tuple[tuple[float, float, float], int]) -> torch.Tensor:
    """One scene: so many pixels of each colour."""
    return torch.cat([torch.tensor(colour).expand(count, 3) for colour, count in parts])[None]


def test_a_foot_has_the_colour_of_its_chair():
    """Views agree that 30 of a chair's 90 pixels lie on the ground, where they do lie."""
    seen = colours((FLOOR, 900), (CHAIR, 90))
    explained = torch.cat([torch.ones(930), torch.zeros(60)])[None]
    palette = make_palette(seen, explained, torch.ones(1, 990))
    floor, chair, unseen = palette.likeness(torch.tensor([[FLOOR, CHAIR, OTHER]]))[0].tolist()
    assert floor > 0.98
    assert chair < 0.05
    assert unseen == pytest.approx(0.5)


def test_a_floor_that_views_disagree_about_in_part_stays_a_floor():
    """About a tenth of a pattern, and all that stands on it."""
    seen = colours((FLOOR, 900), (CHAIR, 90))
    explained = torch.cat([torch.ones(810), torch.zeros(180)])[None]
    palette = make_palette(seen, explained, torch.ones(1, 990))
    floor, chair = palette.likeness(torch.tensor([[FLOOR, CHAIR]]))[0].tolist()
    assert floor > 0.75
    assert chair < 0.05


def test_what_is_far_away_is_no_object():
    """A wall that nobody else sees has a colour of its own, and nothing is known of it."""
    seen = colours((FLOOR, 900), (OTHER, 90))
    explained = torch.cat([torch.ones(900), torch.zeros(90)])[None]
    near = torch.cat([torch.ones(900), torch.zeros(90)])[None]
    assert make_palette(seen, explained, near).likeness(colours((OTHER, 1))).item() == pytest.approx(
        0.5, abs=0.01
    )


def test_a_scene_that_is_all_ground_has_no_foreign_colour():
    seen = torch.rand(1, 500, 3, generator=torch.Generator().manual_seed(0))
    palette = make_palette(seen, torch.ones(1, 500), torch.ones(1, 500))
    assert palette.likeness(seen).min() >= 0.5


def test_scenes_have_palettes_of_their_own():
    """What is floor in one scene is object in the other; alone and together they say the same."""
    seen = colours((FLOOR, 900), (CHAIR, 100))
    explained = torch.cat([torch.ones(900), torch.zeros(100)])[None]
    both = make_palette(seen.expand(2, -1, -1), torch.cat([explained, 1 - explained]), torch.ones(2, 1000))
    asked = torch.tensor([[FLOOR, CHAIR]]).expand(2, -1, -1)
    found = both.likeness(asked)
    assert found[0, 0] > 0.98 > 0.05 > found[0, 1]
    assert found[1, 0] < 0.05 < 0.98 < found[1, 1]
    alone = make_palette(seen, explained, torch.ones(1, 1000))
    assert torch.allclose(alone.likeness(asked[:1])[0], found[0], atol=1e-6)


def test_frequencies():
    """Grey 0.5 has no hue: it lies in the middle of both hues, and at .3 × .5 of the brightness."""
    grey = torch.full((1, 100, 3), 0.5)
    assert paint(grey)[0, 0].tolist() == pytest.approx([0.5, 0.5, 0.15])
    palette = make_palette(grey, torch.ones(1, 100), torch.ones(1, 100))
    place = [round(share * (BINS - 1)) for share in (0.5, 0.5, 0.15)]
    assert palette.frequencies[0, 0].argmax().item() == (place[0] * BINS + place[1]) * BINS + place[2]
    assert palette.frequencies[0, 0].max().item() == pytest.approx(0.4026**3, rel=5e-3)
    assert palette.frequencies[0, 0].sum().item() == pytest.approx(1.0, rel=5e-3)


def test_paint_in_the_shade_is_the_same_paint():
    """Half of the light moves a colour by less than three bins, another hue by more than ten."""
    lit = torch.tensor(CHAIR)
    shaded, other = lit / 2, lit.roll(1)
    bins = BINS - 1
    assert (paint(lit) - paint(shaded)).abs().max() * bins < 3
    assert (paint(lit) - paint(other)).abs().max() * bins > 10


def test_a_foot_in_the_shade_of_its_seat():
    """As the foot above, with a third less light."""
    dark = (CHAIR[0] / 1.5, CHAIR[1] / 1.5, CHAIR[2] / 1.5)
    seen = colours((FLOOR, 900), (dark, 30), (CHAIR, 60))
    explained = torch.cat([torch.ones(930), torch.zeros(60)])[None]
    palette = make_palette(seen, explained, torch.ones(1, 990))
    floor, foot = palette.likeness(torch.tensor([[FLOOR, dark]]))[0].tolist()
    assert floor > 0.98
    assert foot < 0.5


def test_foreign_from_even_odds_to_three_to_one():
    likeness = torch.tensor([1.0, 0.5, 0.4, 0.25, 0.0])
    assert foreignness(likeness).tolist() == pytest.approx([0.0, 0.0, 0.4, 1.0, 1.0])
