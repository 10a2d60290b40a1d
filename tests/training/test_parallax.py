"""Plane parallax: a patterned ground agrees with itself in all views, what is raised above it does not."""

import numpy as np
import pytest
import torch

from objnerf.dataset.cameras import Pinhole, look_at
from objnerf.rendering.rays import camera_directions, pinhole_tensor, world_rays
from objnerf.training.data import Scenes
from objnerf.training.parallax import GroundEvidence, _neighbourhood, _through_space, ground_evidence
from objnerf.training.recipe import Scale

SIZE = (64, 48)
SCALE = Scale()
EXTENT = 4.0
MIDDLE = (slice(None), slice(16, 32), slice(24, 40))
"""The pixels around the middle of each view."""


def poses(angles: tuple[float, ...]) -> torch.Tensor:
    """Cameras on a circle, 9 world units from the middle and 9 above the ground, looking at the middle."""
    places = [np.array([9 * np.cos(angle), 9 * np.sin(angle), 9.0]) for angle in angles]
    return torch.from_numpy(np.stack([look_at(place, np.zeros(3)) for place in places])).float()


AROUND = poses((0.2, 1.7, 3.3, 4.9))


def pictures(cameras: torch.Tensor, pattern: float, height: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A waved floor of the given contrast, and a red board of 2 × 2 world units hovering over its middle.

    Returns:
        The pictures in [0, 1], and whether a pixel shows the board.
    """
    directions = camera_directions(SCALE.focal_ratio, *SIZE).flatten(0, 1)
    origins, directions = world_rays(directions, cameras)

    def meet(z: float) -> torch.Tensor:
        return (origins - directions * ((origins[..., 2:] - z) / directions[..., 2:]))[..., :2]

    floor = meet(0.0)
    waves = torch.sin(3 * floor[..., :1]) * torch.sin(2 * floor[..., 1:] + 1)
    colours = 0.5 + pattern * waves * torch.tensor([0.5, 1.0, 0.8])
    board = (meet(height).abs() < 1).all(-1)
    colours = torch.where(board[..., None], torch.tensor([0.9, 0.1, 0.1]), colours)
    shape = (len(cameras), SIZE[1], SIZE[0])
    return colours.unflatten(1, shape[1:]).permute(0, 3, 1, 2), board.view(shape)


def evidence(cameras: torch.Tensor, pattern: float, height: float) -> tuple[torch.Tensor, ...]:
    """Evidence for the ground, evidence for something raised, and what is the board."""
    images, board = pictures(cameras, pattern, height)
    ground, raised = ground_evidence(images, cameras, SCALE.focal_ratio, EXTENT).unbind(-1)
    return ground, raised, board


def test_a_floor_alone_is_ground():
    """A board that lies on the floor is part of it: everything agrees, nothing is raised."""
    ground, raised, _ = evidence(AROUND, pattern=0.3, height=0.0)
    assert ground[MIDDLE].mean() > 0.6
    assert raised.max() < 0.05


def test_a_board_above_the_floor_is_raised():
    """Its ground points are floor in the other views; the floor around it stays ground."""
    ground, raised, board = evidence(AROUND, pattern=0.3, height=1.5)
    assert raised[board].mean() > 0.9
    assert ground[board].mean() < 0.05
    # What is raised beside the board is a floor that it hides from all other views: little.
    assert raised[~board].mean() < 0.03
    assert ground[~board].mean() > 0.8


def test_views_through_lenses_of_their_own():
    """The lens of each view, said one by one, gives the same; a wrong one spoils the ground's agreement."""
    images, _ = pictures(AROUND, 0.3, 1.5)
    plain = ground_evidence(images, AROUND, SCALE.focal_ratio, EXTENT)
    lens = Pinhole(SCALE.focal_ratio)
    said = ground_evidence(images, AROUND, pinhole_tensor([lens] * 4), EXTENT)
    torch.testing.assert_close(said, plain, atol=1e-3, rtol=0)
    wrong = [lens, lens, Pinhole((1.5, 2.0)), Pinhole((0.8, 1.1), (0.2, 0.1))]
    spoilt = ground_evidence(images, AROUND, pinhole_tensor(wrong), EXTENT)
    assert spoilt[..., 0].mean() < 0.7 * plain[..., 0].mean()


def test_an_even_floor_says_nothing():
    """Every point of it looks like every other, so it agrees with itself whatever stands on it."""
    images = torch.full((4, 3, SIZE[1], SIZE[0]), 0.5)
    ground, raised = ground_evidence(images, AROUND, SCALE.focal_ratio, EXTENT)[MIDDLE].unbind(-1)
    assert ground.max() < 0.3
    assert raised.max() < 0.15


def test_neighbours_of_one_colour_share_what_is_told():
    """One pixel is told of: its own half of the picture has its colour, the other half has not."""
    told = torch.zeros(1, 1, 48, 64)
    told[0, 0, 24, 28] = 1.0
    images = torch.full((1, 3, 48, 64), 0.2)
    images[..., 32:] = 0.8
    shared = _neighbourhood(told, images)[0, 0]
    assert shared[20:28:2, 24:32:2].min() > 1e-3  # every second pixel is asked
    assert shared[:, 32:].max() < 1e-6
    assert shared[:, :12].max() < 1e-6
    # A mean of what is the same everywhere is just that, also at the picture's edge.
    torch.testing.assert_close(_neighbourhood(torch.full_like(told, 0.3), images), torch.full_like(told, 0.3))


def test_points_in_space_are_where_all_views_say():
    """Each view knows the pixels in which it sees a ball; along its rays only the ball is left."""
    directions = camera_directions(SCALE.focal_ratio, *SIZE).flatten(0, 1)
    origins, directions = world_rays(directions, AROUND)
    middle = torch.tensor([1.0, -1.0, 1.2])
    along = ((middle - origins) * directions).sum(-1) / directions.square().sum(-1)
    ball = (origins + along[..., None] * directions - middle).norm(dim=-1) < 0.8
    score = torch.where(ball, 1.0, -1.0).unflatten(1, (SIZE[1], SIZE[0]))
    # One view has not seen it: the others still say that it is there.
    blind = score.clone()
    blind[0] = 0.0
    best = _through_space(blind, AROUND, SCALE.focal_ratio, EXTENT).flatten(1)
    assert best[0][ball[0]].median() > 0.5
    assert best[0][~ball[0]].median() < -0.5


@pytest.mark.parametrize(("views", "can_be_ground"), [(1, False), (2, False), (3, True)])
def test_too_few_views_say_nothing(views: int, can_be_ground: bool):
    """Ground needs two other views, raised three."""
    ground, raised, _ = evidence(AROUND[:views], pattern=0.3, height=1.5)
    assert (ground[MIDDLE].max() > 0.5) == can_be_ground
    assert raised.max() < 0.06


def test_no_object_is_outside_of_the_box():
    """Rays that miss it, or look up, count as ground, whatever the views say."""
    images, _ = pictures(AROUND, 0.3, 1.5)
    ground, raised = ground_evidence(images, AROUND, SCALE.focal_ratio, 0.01).unbind(-1)
    assert ground.median() > 0.9
    assert raised.max() < 0.06
    up = torch.from_numpy(look_at(np.array([6.0, 0.0, 2.0]), np.array([0.0, 0.0, 8.0]))).float()
    cameras = torch.cat([up[None], AROUND[1:]])
    assert ground_evidence(images, cameras, SCALE.focal_ratio, 100.0)[0, ..., 1].max() < 0.01


def test_the_order_of_the_views_does_not_matter():
    images, _ = pictures(AROUND, 0.3, 1.5)
    order = torch.tensor([2, 0, 3, 1])
    turned = ground_evidence(images[order], AROUND[order], SCALE.focal_ratio, EXTENT)
    torch.testing.assert_close(turned, ground_evidence(images, AROUND, SCALE.focal_ratio, EXTENT)[order])


def test_many_views_are_not_all_compared():
    """Of twelve views four are asked, from all sides; the answer stays what it was."""
    around = poses(tuple(np.linspace(0, 2 * np.pi, 13)[:-1]))
    ground, raised, board = evidence(around, pattern=0.3, height=1.5)
    assert raised[board].mean() > 0.5 > 10 * raised[~board].mean()
    assert ground[~board].mean() > 0.5 > 10 * ground[board].mean()


def test_evidence_of_a_scene_among_others():
    """Scenes with different numbers of views; bytes lose less than a 255th."""
    images, _ = pictures(AROUND, 0.3, 1.5)
    stored = (images * 255).round().byte().flatten(2).transpose(1, 2)
    scenes = Scenes(
        ids=(5, 9),
        first=(0, 3),
        count=(3, 4),
        world_from_camera=torch.cat([AROUND[:3], AROUND]),
        pixels={SIZE: torch.cat([stored[:3], stored])},
    )
    known = GroundEvidence(scenes, SIZE, SCALE)
    exact = ground_evidence(
        stored.float().transpose(1, 2).unflatten(2, (SIZE[1], SIZE[0])) / 255,
        AROUND,
        SCALE.focal_ratio,
        SCALE.obj_scale,
    )
    assert known.of_scene(0).shape == (3, SIZE[0] * SIZE[1], 2)
    torch.testing.assert_close(known.of_scene(1), exact.flatten(1, 2), atol=1 / 255, rtol=0)
    torch.testing.assert_close(known.of_scene(1), known.of_scene(1))
