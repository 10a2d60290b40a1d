"""Which pixels the ground explains: a red ball on a patterned plane, seen by cameras around it."""

import math

import numpy as np
import pytest
import torch

from objnerf.dataset.cameras import look_at
from objnerf.models.volumes.consistency import photo_consistency
from objnerf.rendering.rays import camera_directions, world_rays

WIDTH, HEIGHT = 64, 48
LENS = (1.1, 1.1 * WIDTH / HEIGHT)
RADIUS = 1.2
CENTER = torch.tensor([0.4, -0.3, RADIUS])


def pose(azimuth: float) -> torch.Tensor:
    """A camera 12 units from the origin, 40° up."""
    up = math.radians(40)
    position = 12 * np.array(
        [math.cos(azimuth) * math.cos(up), math.sin(azimuth) * math.cos(up), math.sin(up)]
    )
    return torch.tensor(look_at(position, np.zeros(3)), dtype=torch.float32)


def pattern(points: torch.Tensor, fineness: float) -> torch.Tensor:
    """Colours of the ground, without any red; about ``fineness`` waves a unit."""
    x, y = points[..., 0], points[..., 1]
    green = 0.5 + 0.3 * torch.sin(2 * math.pi * fineness * x)
    blue = 0.5 + 0.3 * torch.sin(2 * math.pi * fineness * y)
    return torch.stack([torch.zeros_like(x), green, blue], dim=-1)


def views(*azimuths: float, fineness: float = 0.1) -> tuple[torch.Tensor, ...]:
    """Poses, images, ground points of the pixels, and which of them show the ball."""
    poses = torch.stack([pose(azimuth) for azimuth in azimuths])
    origins, directions = world_rays(camera_directions(LENS, WIDTH, HEIGHT).flatten(0, 1), poses)
    ground = origins - directions * (origins[..., 2:] / directions[..., 2:])
    # A ray meets the ball where |o + t d - c| = r has a solution.
    toward = origins - CENTER
    b, a = (toward * directions).sum(-1), directions.square().sum(-1)
    ball = b.square() - a * (toward.square().sum(-1) - RADIUS**2) > 0
    colours = torch.where(ball[..., None], torch.tensor([0.9, 0.1, 0.1]), pattern(ground, fineness))
    images = colours.transpose(1, 2).unflatten(2, (HEIGHT, WIDTH))
    return poses, images, ground, ball


def explained(*azimuths: float, fineness: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    """Photo-consistency of all pixels, and which of them show the ball."""
    poses, images, ground, ball = views(*azimuths, fineness=fineness)
    count = len(azimuths)
    columns, rows = np.meshgrid(
        (2 * np.arange(WIDTH) + 1) / WIDTH - 1, (2 * np.arange(HEIGHT) + 1) / HEIGHT - 1
    )
    where = torch.tensor(np.stack([columns, rows], -1).reshape(-1, 2), dtype=torch.float32)
    found = photo_consistency(
        images[None],
        poses[None],
        torch.tensor([*LENS, 0, 0]).expand(1, count, 4),
        torch.arange(count)[None, :, None].expand(1, count, WIDTH * HEIGHT),
        where.expand(1, count, -1, 2),
        ground[None],
    )
    shown = images.flatten(2).transpose(1, 2)
    assert torch.allclose(found.colours[0], shown, atol=1e-5)
    return found.exact[0].amax(0), ball


@pytest.mark.parametrize(("fineness", "least"), [(0.02, 0.95), (0.1, 0.95), (0.4, 0.5)])
def test_ground_is_explained_and_the_ball_is_not(fineness: float, least: float):
    found, ball = explained(0.3, 1.9, 4.0, fineness=fineness)
    middle = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    middle[16:32, 21:43] = True  # what the others see, too
    assert found[ball].mean() < 0.1
    # Around the ball, and where it hides the ground from the others, the ground is not explained.
    assert found[~ball & middle.flatten()].median() > least


def test_ground_that_one_view_hides_is_explained_by_another():
    """Behind the ball, seen from the second camera, the third still sees the ground."""
    two, _ = explained(0.3, 1.9)
    three, ball = explained(0.3, 1.9, 4.0)
    hidden = (two[0] < 0.1) & (three[0] > 0.9) & ~ball[0]
    assert hidden.sum() > 20


def test_the_same_camera_twice_explains_nothing():
    found, _ = explained(0.3, 0.3)
    assert found.max() < 1e-3


def test_little_parallax_counts_in_part():
    ground = ~explained(0.3, 0.35)[1][0]
    little, much = explained(0.3, 0.35)[0][0], explained(0.3, 0.9)[0][0]
    assert 0.02 < little[ground].mean() < 0.5 * much[ground].mean()


def test_a_point_outside_of_every_other_view_is_not_explained():
    poses, images, ground, _ = views(0.3, 1.9)
    far = torch.full_like(ground, 500.0)
    found = photo_consistency(
        images[None],
        poses[None],
        torch.tensor([*LENS, 0, 0]).expand(1, 2, 4),
        torch.arange(2)[None, :, None].expand(1, 2, WIDTH * HEIGHT),
        torch.zeros(1, 2, WIDTH * HEIGHT, 2),
        far[None],
    )
    assert found.exact.max() == found.rough.max() == 0
