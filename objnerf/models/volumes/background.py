"""The background: the ground plane, looked up in the input view by homography.

A ray that no object stops meets the ground plane in a point, and the input view shows that point unless an
object occludes it or it lies outside the image. So the background's colour is looked up there, with the
objects' pixels left out and filled in from around them, and a small network weighs and corrects it. In
training, the view that is looked up is never the one that is rendered, so the background cannot paint
objects, which do not lie in the plane.

Walls are vertical surfaces around the scene (``layout``) that are looked up in the same way. The assumptions
are a ground at z = 0 and, where there are walls, a room that holds all cameras.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from objnerf.models.volumes.grid import in_view, look_up, project
from objnerf.models.volumes.maps import fill_in, widen
from objnerf.models.volumes.surfaces import Surfaces

CORRECTION = 0.5
"""How far the network may change a colour, as a logit. Free to, it would paint what objects leave open."""


@dataclass(frozen=True)
class Source:
    """The view that the background is looked up in."""

    image: Float[Tensor, "scenes 8 height width"]
    """See ``source_image``."""
    means: Float[Tensor, "scenes 2 3"]
    """Mean colour of its ground and of its walls."""
    world_from_camera: Float[Tensor, "scenes 4 4"]
    pinholes: Float[Tensor, "scenes 4"]


class Background(nn.Module):
    """Colours of ground and walls.

    Args:
        reach: world units that positions on the ground are divided by.
        cells_width: channels of the map seen from above.
        width: of the hidden layers.
    """

    def __init__(self, reach: float, cells_width: int, width: int = 48) -> None:
        super().__init__()
        self.reach = reach
        self.first = nn.Linear(3 + 3 + 3 + 5 + 1 + 1 + 1 + 1 + 2 + 12, width)
        self.second = nn.Linear(width, width)
        self.out = nn.Linear(width, 6)
        nn.init.zeros_(self.out.bias)
        self.out.weight.data.mul_(0.1)
        # Shadows belong to the ground: a map seen from above may darken it, but not paint it.
        self.shade = nn.Conv2d(cells_width, 1, 1)
        nn.init.zeros_(self.shade.weight)
        assert self.shade.bias is not None
        nn.init.zeros_(self.shade.bias)

    def forward(
        self,
        source: Source,
        surfaces: Surfaces,
        pattern: Float[Tensor, "scenes rays 5"],
        shade: Float[Tensor, "scenes rays"],
        field_from_world: Float[Tensor, "scenes 3 3"],
    ) -> Float[Tensor, "scenes rays 3"]:
        """Colours, in [0, 1], of what rays meet behind the objects.

        Args:
            source: the view that is looked up.
            surfaces: where the rays meet ground and walls.
            pattern: colour of the ground there if its pattern continues, and how well that is known (see
                ``pattern``), and 1 for what lies on that map, 0 elsewhere.
            shade: logarithm of the light on the ground there, beside what the source shows.
            field_from_world: rotation into the field frame.
        """
        ground, wall = self._look_up(source, surfaces.ground), self._look_up(source, surfaces.wall)
        share = surfaces.is_wall[..., None]
        colour, filled, visible, valid = (ground + share * (wall - ground)).split([3, 3, 1, 1], dim=-1)
        mean = source.means[:, :1] + share * (source.means[:, 1:] - source.means[:, :1])
        place = (surfaces.met @ field_from_world.transpose(1, 2)) / self.reach
        flat = place[..., :2]
        waves = [wave(flat * 2.0**octave) for octave in range(3) for wave in (torch.sin, torch.cos)]
        continued, certain, mapped = (pattern * (1 - share)).split([3, 1, 1], dim=-1)
        known = [colour * visible, filled, mean, continued, certain, mapped, visible, valid, share]
        known.append(place[..., 2:].clamp(-1, 3))
        answer = torch.cat([*known, flat.clamp(-3, 3), *waves], dim=-1)
        answer = self.out(F.relu(self.second(F.relu(self.first(answer)))))
        # Beyond the image's edge its border counts for something, and the mean for the rest.
        edge = answer[..., 4:5].sigmoid() * (1 - valid)
        filled = filled + edge * (mean - filled)
        # On the map the ground is filled in from the ground only, in the image from walls as well.
        filled = filled + (answer[..., 5:] + 2).sigmoid() * (continued - mapped * filled)
        trust = visible * (answer[..., 3:4] + 2).sigmoid()
        mixed = (filled + trust * (colour - filled)).clamp(0.02, 0.98)
        # Light multiplies; in logarithms of colours a darker ground keeps its hue.
        lit = (mixed.log() + (1 - share) * shade[..., None]).exp().clamp(0.01, 0.98)
        return (torch.logit(lit) + CORRECTION * answer[..., :3].tanh()).sigmoid()

    def _look_up(
        self, source: Source, points: Float[Tensor, "scenes rays subrays 3"]
    ) -> Float[Tensor, "scenes rays 8"]:
        """Colour, filled colour, what is visible, and what is in the image; means over the subrays."""
        where, depth = project(points.flatten(1, 2), source.world_from_camera, source.pinholes)
        valid = in_view(where, depth)[..., None].to(source.image)
        seen = look_up(source.image, where.clamp(-1.2, 1.2))
        seen = torch.cat([seen[..., :6], seen[..., 6:7] * valid, valid], dim=-1)
        return seen.unflatten(1, points.shape[1:3]).mean(2)


def source_image(
    images: Float[Tensor, "scenes 3 height width"],
    objects: Float[Tensor, "scenes 1 height width"],
    around: Float[Tensor, "scenes 1 height width"] | None = None,
) -> Float[Tensor, "scenes 8 height width"]:
    """What is looked up: colours, colours without the objects, what is visible, and what is surely visible.

    Args:
        images: the input views, in [0, 1].
        objects: share of each pixel that shows an object, in [0, 1].
        around: the same, and what may show a little of one: no other place is filled with its colour.
    """
    clean = 1 - (objects if around is None else around)
    return torch.cat([images, fill_in(images, clean), 1 - objects, clean], dim=1)


def growing_mask(
    shown: Float[Tensor, "scenes 1 rows columns"], gain: float, wide: float | Tensor
) -> Float[Tensor, "scenes 1 rows columns"]:
    """Pixels that are left out of the ground: first those that surely show objects, then those around.

    A wide mask from the first step on would leave nothing to compare the ground with.

    Args:
        shown: the objects' opacity, in [0, 1].
        gain: what the opacity is multiplied by in the end, at most 1 afterwards.
        wide: how far the mask has grown, from 0 to 1.
    """
    mask = widen((shown * (1 + (gain - 1) * wide)).clamp(max=1), 1)
    return mask + wide * (widen(mask, 1) - mask)


def log_shade(raw: Tensor) -> Tensor:
    """Logarithm of the light that a shadow leaves: from a quarter to a little over 1."""
    return math.log(0.25) * (raw - 3).sigmoid()
