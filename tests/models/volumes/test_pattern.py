"""The ground's pattern, continued where the view does not show it."""

import math

import pytest
import torch

from objnerf.models.volumes.pattern import COARSE, continue_pattern, find_moves, self_differences, smooth

SIDE = 64


def _cells() -> tuple[torch.Tensor, torch.Tensor]:
    along = torch.arange(SIDE, dtype=torch.float32)
    y, x = torch.meshgrid(along, along, indexing="ij")
    return x, y


def _waves(turn: float, period: float, contrast: float = 0.3) -> torch.Tensor:
    """A smooth chequered pattern whose axes are turned; on average grey."""
    x, y = _cells()
    first, second = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    wave = (first * (2 * math.pi / period)).sin() * (second * (2 * math.pi / period)).sin()
    return 0.5 + contrast * wave * torch.tensor([1.0, 0.5, -1.0])[:, None, None]


def _noise(seed: int, contrast: float = 0.3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.5 + contrast * (torch.rand(3, SIDE, SIDE, generator=generator) * 2 - 1)


def _continued(colours: torch.Tensor, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    ground = continue_pattern(colours, seen)
    return ground.colours, ground.known


def _left_half(wide: int = SIDE // 2) -> torch.Tensor:
    return (_cells()[0] < wide).float()[None]


def test_differences_are_those_of_pairs_of_cells():
    """Against a loop over pairs, with weights: the correlations are sums over pairs, and overlap counts."""
    generator = torch.Generator().manual_seed(1)
    detail = torch.randn(1, 3, 16, 16, generator=generator) * 0.2
    seen = torch.rand(1, 1, 16, 16, generator=generator)
    found = self_differences(detail, seen)
    assert found.shape == (1, 9, 17)
    total = float(seen.sum())
    variance = float((seen * detail.square()).sum()) / (3 * total)
    for down, right in ((0, 0), (0, 5), (3, -4), (8, 8), (8, -8)):
        rows, columns = slice(0, 16 - down), slice(max(0, -right), 16 - max(0, right))
        moved = slice(down, 16), slice(max(0, right), 16 + min(0, right))
        pairs = seen[..., rows, columns] * seen[..., moved[0], moved[1]]
        apart = (detail[..., rows, columns] - detail[..., moved[0], moved[1]]).square().mean(1)
        summed = float((pairs * apart).sum())
        expected = (summed / (2 * variance) + 0.02 * total) / (float(pairs.sum()) + 0.02 * total)
        assert float(found[0, down, 8 + right]) == pytest.approx(expected, rel=1e-3)


def test_a_period_between_cells_is_found():
    """Along both axes the pattern repeats after 10.4 cells, and, mirrored twice, after half of both."""
    pattern = _waves(0.0, 10.4)
    seen = torch.ones(1, 1, SIDE, SIDE)
    moves = find_moves(self_differences((pattern - 0.5)[None], seen))
    close = moves.by[0][moves.errors[0] < 0.15].tolist()
    assert len(close) >= 3
    for x, y in close:
        halves = x / 5.2, y / 5.2
        assert halves == pytest.approx([round(half) for half in halves], abs=0.06)
        assert (round(halves[0]) + round(halves[1])) % 2 == 0


@pytest.mark.parametrize("turn", [0.0, 0.4, math.pi / 4])
def test_a_pattern_is_continued_beyond_what_is_seen(turn: float):
    pattern, seen = _waves(turn, 12.0), _left_half()
    colours, known = _continued((pattern * seen)[None], seen[None])
    beyond = slice(SIDE // 2, SIDE // 2 + 16)
    off = (colours[0] - pattern)[..., beyond].square().mean()
    grey = (0.5 - pattern)[..., beyond].square().mean()
    assert off < 0.1 * grey
    assert known[0, 0, :, beyond].mean() > 0.7
    assert torch.equal(known[0, 0, :, : SIDE // 2], torch.ones(SIDE, SIDE // 2))


def test_boards_are_continued_along_their_length():
    """Stripes differ from themselves only across: a move along them is as good as a period."""
    y = _cells()[1]
    stripes = (0.5 + 0.3 * (y * 0.9).sin()).expand(3, -1, -1)
    seen = _left_half()
    colours, _ = _continued((stripes * seen)[None], seen[None])
    assert (colours[0] - stripes)[..., SIDE // 2 : SIDE - 8].abs().mean() < 0.05


def test_a_hidden_part_shows_the_pattern_and_not_what_hides_it():
    pattern = _waves(0.2, 12.0)
    hidden = torch.zeros(1, SIDE, SIDE)
    hidden[:, 20:34, 24:40] = 1
    red = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    colours, known = _continued((pattern + hidden * (red - pattern))[None], (1 - hidden)[None])
    assert (colours[0] - pattern)[:, 20:34, 24:40].abs().mean() < 0.06
    assert known[0, 0, 20:34, 24:40].min() > 0.5


def test_what_does_not_repeat_is_not_invented():
    noise, seen = _noise(2), _left_half()
    colours, known = _continued((noise * seen)[None], seen[None])
    beyond = slice(SIDE // 2 + 4, SIDE)
    assert known[0, 0, :, beyond].mean() < 0.3
    around = smooth((noise * seen)[None], seen[None], COARSE)[0]
    assert (colours[0] - around)[..., beyond].abs().mean() < 0.05


def test_a_shadow_stays_where_it_is():
    """Light that changes slowly is no part of the pattern: the copies are lit as what is around them."""
    light = 1 - 0.6 * torch.exp(-((_cells()[0] - 10).square() / 200))
    pattern, seen = _waves(0.0, 8.0, 0.2) * light, _left_half(48)
    colours, _ = _continued((pattern * seen)[None], seen[None])
    beyond = colours[0, :, :, 52:60].mean()
    assert float(beyond) == pytest.approx(float(pattern[..., 44:48].mean()), abs=0.05)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_nothing_seen_and_nothing_to_see(share: float):
    """A view without ground, and a plain floor: finite colours, and a plain one stays plain."""
    plain = torch.full((2, 3, SIDE, SIDE), 0.4)
    seen = _left_half().expand(2, -1, -1, -1) * share
    colours, known = _continued(plain * seen, seen)
    assert torch.isfinite(colours).all()
    assert ((known >= 0) & (known <= 1)).all()
    if share:
        assert (colours - 0.4).abs().max() < 0.01


def test_scenes_do_not_mix():
    first, second, seen = _waves(0.3, 12.0), _noise(3), _left_half()
    alone = _continued((first * seen)[None], seen[None])
    both = _continued(torch.stack([first * seen, second * seen]), torch.stack([seen, seen]))
    for one, two in zip(alone, both, strict=True):
        assert torch.allclose(one[0], two[0], atol=1e-4)
