"""Walls: a vertical surface around the scene, as a distance for each direction seen from above.

A room that holds all cameras is star-shaped around the scene's middle, so one distance for each direction
describes its walls. How likely each distance is, is predicted from the input view: for points of the ground
in many directions and distances, the features of the view there tell whether a wall begins. Outside of the
view the learned prior counts. The last probability is that there is no wall.

A ray shows a wall if the point in which it meets the ground lies behind one. That is a sum of probabilities,
so each ray tells the network something, however wrong its walls are. A single distance would not: walls that
are predicted too far away are in nobody's sight, and stay there.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from objnerf.models.volumes.grid import in_view, look_up, project

DIRECTIONS = 48
"""In which the distance is predicted; between them it is interpolated."""

NEAREST, FARTHEST, STEPS = 1.0, 3.4, 18
"""Candidates for the distance, in obj_scale, geometrically spaced; the cameras stand at about 2.1."""

STRIDE = math.log(FARTHEST / NEAREST) / (STEPS - 1)
"""Logarithm of the ratio of neighbouring candidates."""

CROSSING_STEPS = 12
"""Stretches of a ray that its crossing of the wall is looked for in."""

REFINEMENTS = 3
"""Halvings of the stretch that it is found in, before it is interpolated."""


class WallLayout(nn.Module):
    """Predicts the walls' distances.

    Args:
        features: channels of the input view's features.
        scale: obj_scale, world units.
    """

    def __init__(self, features: int, scale: float) -> None:
        super().__init__()
        radii = scale * NEAREST * (STRIDE * torch.arange(STEPS)).exp()
        angles = torch.arange(DIRECTIONS) * (2 * math.pi / DIRECTIONS)
        points = torch.stack(
            [
                angles.cos()[:, None] * radii,
                angles.sin()[:, None] * radii,
                torch.zeros(DIRECTIONS, STEPS),
            ],
            dim=-1,
        )
        self.register_buffer("points", points.flatten(0, 1), persistent=False)
        self.points: Tensor
        self.first = nn.Linear(features + 3 + 1, 24)
        self.second = nn.Conv2d(24 + 3, 24, 3)
        self.third = nn.Conv2d(24, 24, 3)
        self.out = nn.Conv2d(24, 1, 1)
        self.none = nn.Parameter(torch.tensor(3.0))

    def forward(
        self,
        seen: Float[Tensor, "scenes channels height width"],
        world_from_camera: Float[Tensor, "scenes 4 4"],
        pinholes: Float[Tensor, "scenes 4"],
        field_from_world: Float[Tensor, "scenes 3 3"],
    ) -> Float[Tensor, "scenes directions distances"]:
        """How likely each distance of the wall from the world's origin is, in directions of the field frame.

        Args:
            seen: features and colours of the input view.
            world_from_camera: its pose.
            pinholes: its lens.
            field_from_world: rotation into the field frame.
        """
        where, depth = project(self.points @ field_from_world, world_from_camera, pinholes)
        inside = in_view(where, depth)[..., None].to(seen)
        known = torch.cat([look_up(seen, where) * inside, inside], dim=-1)
        hidden = F.relu(self.first(known)).transpose(1, 2).unflatten(2, (DIRECTIONS, STEPS))
        turn = torch.arange(DIRECTIONS, device=seen.device) * (2 * math.pi / DIRECTIONS)
        out = torch.linspace(-1, 1, STEPS, device=seen.device)
        place = torch.stack(
            [
                turn.cos()[:, None].expand(-1, STEPS),
                turn.sin()[:, None].expand(-1, STEPS),
                out.expand(DIRECTIONS, -1),
            ]
        )
        hidden = torch.cat([hidden, place.expand(len(seen), -1, -1, -1)], dim=1)
        for layer in (self.second, self.third):
            # Around the scene the last direction is the first one's neighbour.
            hidden = F.pad(F.pad(hidden, (0, 0, 1, 1), mode="circular"), (1, 1, 0, 0))
            hidden = F.relu(layer(hidden))
        logits = torch.cat([self.out(hidden)[:, 0], self.none.expand(len(seen), DIRECTIONS, 1)], dim=-1)
        return logits.softmax(-1)


def mean_distances(
    walls: Float[Tensor, "scenes directions distances"], scale: float
) -> Float[Tensor, "scenes directions"]:
    """Where the wall is if there is one: geometric means, world units.

    Args:
        walls: probabilities of the distances; see ``WallLayout``.
        scale: obj_scale, world units.
    """
    steps = torch.arange(STEPS, device=walls.device)
    there = walls[..., :-1] + 1e-4
    mean = (there * steps).sum(-1) / there.sum(-1)
    return scale * NEAREST * (STRIDE * mean).exp()


def behind_wall(
    walls: Float[Tensor, "scenes directions distances"],
    points: Float[Tensor, "scenes points coords"],
    scale: float,
) -> Float[Tensor, "scenes points"]:
    """How likely field-frame points lie behind a wall; each candidate stands for distances around it.

    Args:
        walls: probabilities of the distances; see ``WallLayout``.
        points: world units.
        scale: obj_scale, world units.
    """
    nearer = F.pad(walls[..., :-1].cumsum(-1), (1, 0))
    # Around the scene the last direction is the first one's neighbour.
    nearer = torch.cat([nearer, nearer[:, :1]], dim=1)
    radius = points[..., :2].norm(dim=-1).clamp(min=1e-6 * scale) / (scale * NEAREST)
    column = (radius.log() / STRIDE + 0.5).clamp(0, STEPS)
    where = torch.stack([2 * column / STEPS - 1, 2 * _turn(points) - 1], dim=-1)
    return F.grid_sample(nearer[:, None], where[:, None], align_corners=True)[:, 0, 0]


def _turn(points: Float[Tensor, "*points coords"]) -> Float[Tensor, "*points"]:
    """Direction of points around the origin, as a part of a full turn from x towards y, in [0, 1)."""
    return (torch.atan2(points[..., 1], points[..., 0]) / (2 * math.pi)) % 1


def distance_at(
    layout: Float[Tensor, "scenes directions"], points: Float[Tensor, "scenes points coords"]
) -> Float[Tensor, "scenes points"]:
    """The wall's distance in the directions of field-frame points, interpolated linearly."""
    turn = _turn(points) * layout.shape[1]
    low = turn.floor()
    share = turn - low
    low = low.long() % layout.shape[1]
    first, second = layout.gather(1, low), layout.gather(1, (low + 1) % layout.shape[1])
    return first + share * (second - first)


def wall_depth(
    layout: Float[Tensor, "scenes directions"],
    origins: Float[Tensor, "scenes rays 3"],
    directions: Float[Tensor, "scenes rays 3"],
    near: float,
    far: float,
) -> Float[Tensor, "scenes rays"]:
    """Planar depth at which rays leave the room through its wall; far where they don't before.

    Rays are followed from where they are nearest to the middle: from there on a star-shaped room is left
    once. Gradients reach the layout.

    Args:
        layout: distances in directions of the field frame.
        origins: field frame, world units.
        directions: field frame, camera z-depth 1.
        near: least depth, world units.
        far: greatest depth.
    """
    flat, along = origins[..., :2], directions[..., :2]
    speed = along.square().sum(-1).clamp(min=1e-6)
    middle = (-(flat * along).sum(-1) / speed).clamp(near, far)

    def beyond(depths: Tensor) -> Tensor:
        points = flat[..., None, :] + depths[..., None] * along[..., None, :]
        return points.norm(dim=-1) - distance_at(layout, points.flatten(1, 2)).unflatten(1, points.shape[1:3])

    steps = torch.arange(CROSSING_STEPS + 1, device=layout.device) / CROSSING_STEPS
    depths = middle[..., None] + (far - middle)[..., None] * steps
    with torch.no_grad():
        out = beyond(depths)[..., 1:] > 0
        index = out.int().argmax(-1, keepdim=True)
        begin, end = depths.gather(-1, index), depths.gather(-1, index + 1)
        for _ in range(REFINEMENTS):
            half = (begin + end) / 2
            left = beyond(half) > 0
            begin, end = torch.where(left, begin, half), torch.where(left, half, end)
    before, after = beyond(torch.cat([begin, end], dim=-1)).split(1, dim=-1)
    share = (-before / (after - before).clamp(min=1e-4)).clamp(0, 1)
    found = (begin + share * (end - begin))[..., 0]
    return torch.where(out.any(-1), found, torch.full_like(found, far))
