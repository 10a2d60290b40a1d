"""Objects seen from above: the teacher's splitting, centres and votes, and who owns a cell."""

import pytest
import torch

from objnerf.models.volumes.grid import Grid
from objnerf.models.volumes.instances import (
    assign,
    blur,
    climb,
    find_centers,
    seen_from_above,
    split,
)
from objnerf.models.volumes.losses import center_heat, decided, instance_losses

GRID = Grid(half=4.0, height=2.0, cells=32, layers=4)
COLUMNS = GRID.columns()


def _bumps(*middles: tuple[float, float], width: float = 0.7) -> torch.Tensor:
    """Round heaps of height 1."""
    return torch.stack(
        [torch.exp(-(COLUMNS - torch.tensor(middle)).square().sum(-1) / (2 * width**2)) for middle in middles]
    ).amax(0)[None]


def test_every_cell_climbs_to_its_own_summit():
    heights = _bumps((-2.0, 0.0), (1.5, 1.0))
    summit = climb(heights, 2)[0]
    tops = summit.unique()
    first, second = ((COLUMNS - torch.tensor(top)).norm(dim=-1) for top in ([-2.0, 0.0], [1.5, 1.0]))
    owners = first < second
    high = heights[0] > 0.2
    assert len(summit[high].unique()) == 2
    assert len(summit[high & owners].unique()) == 1
    assert all(summit.flatten()[top] == top for top in tops)


def test_touching_heaps_are_split_at_the_valley():
    labels, centers, exists = split(
        _bumps((-1.0, 0.0), (1.0, 0.0)), COLUMNS, count=4, sigma=1.0, reach=2, threshold=0.3
    )
    assert exists[0].tolist() == [True, True, False, False]
    found = sorted(centers[0, :2, 0].tolist())
    assert found == pytest.approx([-1.05, 1.05], abs=0.15)
    left = labels[0][COLUMNS[..., 0] < -0.2]
    right = labels[0][COLUMNS[..., 0] > 0.2]
    assert len(set(left.tolist()) - {0}) == 1
    assert len(set(right.tolist()) - {0}) == 1
    assert set(left.tolist()) != set(right.tolist())


def test_nothing_is_no_object():
    labels, _, exists = split(torch.zeros(2, 32, 32), COLUMNS, count=3, sigma=1.5, reach=2, threshold=0.3)
    assert not labels.any()
    assert not exists.any()


def test_more_heaps_than_slots_leave_the_smallest_out():
    heights = torch.maximum(_bumps((-2.5, 0.0), (2.5, 0.0), width=0.9), 0.8 * _bumps((0.0, 2.5), width=0.4))
    labels, centers, exists = split(heights, COLUMNS, count=2, sigma=1.0, reach=2, threshold=0.3)
    assert exists.all()
    assert centers[0, :, 1].abs().max() < 0.3
    assert labels[0][(COLUMNS - torch.tensor([0.0, 2.5])).norm(dim=-1) < 0.3].max() == 0


def test_columns_are_as_opaque_as_their_voxels_together():
    """Two voxels of one half let a quarter through."""
    volume = torch.zeros(1, 4, 2, 2)
    volume[0, :2, 0, 1] = 0.5
    assert seen_from_above(volume)[0].tolist() == [[pytest.approx(0, abs=1e-5), pytest.approx(0.75)], [0, 0]]


def test_blur_keeps_what_there_is():
    heights = torch.zeros(1, 32, 32)
    heights[0, 16, 12] = 1.0
    found = blur(heights, 1.5)
    assert found.sum().item() == pytest.approx(1.0, abs=1e-4)
    assert int(found.flatten().argmax()) == 16 * 32 + 12


def test_peaks_of_the_heatmap_are_the_centres():
    centers = torch.tensor([[[-2.0, 1.0], [1.0, -1.5], [0.0, 0.0]]])
    exists = torch.tensor([[True, True, False]])
    heat = center_heat(COLUMNS, centers, exists, 0.4)
    assert heat.max() <= 1
    found, active = find_centers(heat, COLUMNS, 3, 0.3, 3)
    assert active[0].tolist() == [True, True, False]
    nearest = torch.cdist(found[0, :2], centers[0, :2]).amin(1)
    assert nearest.max() < GRID.cell


def test_the_best_peak_always_counts():
    _, active = find_centers(torch.full((1, 32, 32), 0.01), COLUMNS, 3, 0.3, 3)
    assert active[0].tolist() == [True, False, False]


def test_a_cell_belongs_to_the_centre_that_it_votes_for():
    centers = torch.tensor([[[-1.0, 0.0], [1.0, 0.0], [9.0, 9.0]]])
    active = torch.tensor([[True, True, False]])
    votes = torch.zeros(1, 32, 32, 2)
    share = assign(votes, COLUMNS, centers, active, 0.3)
    assert torch.allclose(share.sum(1), torch.ones(1, 32, 32))
    assert not share[0, 2].any()
    left = COLUMNS[..., 0] < -0.3
    assert (share[0, 0][left] > 0.9).all()
    # Whatever lies where, if it votes for the right one.
    votes = torch.tensor([1.0, 0.0]) - COLUMNS[None]
    assert (assign(votes, COLUMNS, centers, active, 0.3)[0, 1] > 0.99).all()


def test_perfect_centres_and_votes_cost_least():
    labels, centers, exists = split(
        _bumps((-1.5, 0.5), (1.5, 0.0)), COLUMNS, count=3, sigma=1.0, reach=2, threshold=0.3
    )
    target = center_heat(COLUMNS, centers, exists, 0.4).clamp(1e-4, 1 - 1e-4)
    goal = torch.cat([torch.zeros(1, 1, 2), centers], 1)[0][labels[0]][None]
    right = instance_losses(target.logit(), goal - COLUMNS, COLUMNS, labels, centers, exists, 0.4)
    assert right[1].item() == pytest.approx(0, abs=1e-5)
    wrong = instance_losses(
        target.roll(6, 1).logit(), goal - COLUMNS + 0.5, COLUMNS, labels, centers, exists, 0.4
    )
    assert wrong[0] > right[0]
    assert wrong[1].item() == pytest.approx(1.0, abs=1e-5)  # half a unit along each axis


def test_decided_rays_cost_nothing():
    assert decided(torch.tensor([0.0, 1.0])).item() == 0
    assert decided(torch.tensor([0.5])).item() == 1
