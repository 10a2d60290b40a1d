"""Photo-consistency: which pixels show the ground or a wall, judged from the other views of a scene.

A pixel that shows the background shows a point that other views see as well, each unless something hides it
there. So where one other view shows the point in the pixel's colour, the pixel hardly shows an object.

Two views of a texture never agree to the pixel: resampling moves and blurs its edges. So colours are
compared twice. The pixel's colour has to lie within what the other view shows close around the point, and the
mean of a wider surrounding has to be the same in both. Neither suffices by itself: on a chequered floor the
first holds for any colour, and the second overlooks what is thin.

A camera in nearly the same place agrees with everything, whatever stands there, and is not counted.

What touches the ground looks alike in all views, and would explain itself: an object's foot would be ground.
There, colours decide (``palette``); and where they say nothing, views whose outlines show an object at the
point are not counted.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from objnerf.models.volumes.code import VolumesCode
from objnerf.models.volumes.grid import in_view, look_up, project

CLOSE = 3
"""Side of the surrounding whose range of colours counts, pixels; odd."""

WIDE = 5
"""Side of the surrounding whose mean counts, pixels; odd."""

CLOSE_SIGMA = 0.03
"""Root mean square distance from that range, colours in [0, 1], at which two views may still agree."""

WIDE_SIGMA = 0.04
"""Root mean square difference of the means at which they may."""

ROUGH_SIGMA = 0.06
"""The same for what may be a floor that reflects, or whose pattern is too fine for the pixels."""

PARALLAX = math.radians(15)
"""Angle between the rays to a point from which two views are fully believed; below, in part."""


@dataclass(frozen=True)
class Agreement:
    """How well other views agree that pixels show given points."""

    exact: Float[Tensor, "scenes views inputs rays"]
    """Of each view, from 0 to 1; 0 for the pixel's own."""
    rough: Float[Tensor, "scenes views inputs rays"]
    """How surely they show its colour somewhere close around the point."""
    colours: Float[Tensor, "scenes inputs rays 3"]
    """Of the pixels, in [0, 1]."""
    at: Float[Tensor, "entries points 2"]
    """Where each view of each scene shows the points of all inputs; see ``grid.project``."""


@torch.no_grad()
def photo_consistency(
    images: Float[Tensor, "scenes views 3 height width"],
    world_from_camera: Float[Tensor, "scenes views 4 4"],
    pinholes: Float[Tensor, "scenes views 4"],
    view: Int[Tensor, "scenes inputs rays"],
    where: Float[Tensor, "scenes inputs rays 2"],
    points: Float[Tensor, "scenes inputs rays 3"],
) -> Agreement:
    """How well each other view agrees, in [0, 1], that a pixel shows a given point; 0 for its own.

    Args:
        images: all views of some scenes, in [0, 1].
        world_from_camera: their poses, OpenCV axes.
        pinholes: their lenses; see ``rays.pinhole_tensor``.
        view: which view each pixel belongs to.
        where: where in that view, the image's outer edges at -1 and 1.
        points: where the pixels' rays meet the background, world units.
    """
    scenes, views = images.shape[:2]
    inputs, rays = view.shape[1:]
    flat = images.flatten(0, 1)
    low = -F.max_pool2d(-flat, CLOSE, 1, CLOSE // 2)
    high = F.max_pool2d(flat, CLOSE, 1, CLOSE // 2)
    wide = F.avg_pool2d(flat, WIDE, 1, WIDE // 2, count_include_pad=False)
    # Each pixel's own colours: looked up in all views, and taken from its own.
    view, where, points = (x.flatten(1, 2) for x in (view, where, points))
    own = look_up(torch.cat([flat, wide], dim=1).unflatten(0, (scenes, views)).flatten(1, 2), where)
    own = own.unflatten(2, (views, 6)).gather(2, view[..., None, None].expand(-1, -1, 1, 6))
    colour, mean = own.transpose(1, 2).split(3, dim=-1)
    # What each view shows around the points.
    everywhere = points[:, None].expand(-1, views, -1, -1).flatten(0, 1)
    at, depth = project(everywhere, world_from_camera.flatten(0, 1), pinholes.flatten(0, 1))
    seen = look_up(torch.cat([low, high, wide], dim=1), at).unflatten(0, (scenes, views))
    low, high, wide = seen.split(3, dim=-1)
    outside = ((low - colour).clamp(min=0) + (colour - high).clamp(min=0)).square().mean(-1)
    unlike = outside / CLOSE_SIGMA**2 + (mean - wide).square().mean(-1) / WIDE_SIGMA**2
    # A view has no parallax with itself.
    rays_to = F.normalize(points[:, None] - world_from_camera[:, :, None, :3, 3], dim=-1)
    from_own = rays_to.gather(1, view[:, None, :, None].expand(-1, 1, -1, 3))
    apart = (rays_to - from_own).norm(dim=-1) / (2 * math.sin(PARALLAX / 2))
    inside = in_view(at, depth).unflatten(0, (scenes, views))
    counted = apart.clamp(max=1) * inside
    exact, rough = (
        (torch.exp(-each / 2) * counted).unflatten(2, (inputs, rays))
        for each in (unlike, outside / ROUGH_SIGMA**2)
    )
    return Agreement(exact, rough, colour[:, 0].unflatten(1, (inputs, rays)), at)


@dataclass(frozen=True)
class Explanation:
    """Whether the background explains pixels, each from 0 to 1."""

    anyway: Float[Tensor, "inputs rays"]
    """How surely other views show their colours at the same points of the background."""
    shown: Float[Tensor, "inputs rays"]
    """The same, by those views only that show no object there."""
    roughly: Float[Tensor, "inputs rays"]
    """How surely other views show their colours somewhere close around these points."""
    colours: Float[Tensor, "inputs rays 3"]
    """Of the pixels, in [0, 1]."""


def explained_by(
    anyway: Float[Tensor, "*pixels"], shown: Float[Tensor, "*pixels"], likeness: Float[Tensor, "*pixels"]
) -> Float[Tensor, "*pixels"]:
    """How surely pixels show the background, from 0 to 1.

    Where the colour says that they do, any view that agrees will do; where it says nothing, one that shows
    no object there; where it says that they do not, none.

    Args:
        anyway: how surely other views agree; see ``Explanation``.
        shown: how surely other views agree that show no object there.
        likeness: how likely the colours are the background's; see ``Palette.likeness``.
    """
    undecided = 1 - (2 * likeness - 1).abs()
    return undecided * shown + (2 * likeness - 1).clamp(min=0) * anyway


@torch.no_grad()
def explain_by_background(
    code: VolumesCode,
    views: int,
    view: Int[Tensor, "inputs rays"],
    where: Float[Tensor, "inputs rays 2"],
    points: Float[Tensor, "inputs rays 3"],
) -> Explanation:
    """How surely other views explain pixels by the background: from 0 where it is as likely as not, to 1.

    Args:
        code: of all views of some scenes, ``views`` entries after each other for each.
        views: of each scene.
        view: which of its scene's views each pixel belongs to.
        where: where in that view, the image's outer edges at -1 and 1.
        points: where the pixels' rays meet the background, world units.
    """
    scenes = (len(code.slots) // views, views)
    agreement = photo_consistency(
        code.pixels[:, :3].unflatten(0, scenes),
        code.world_from_camera.unflatten(0, scenes),
        code.pinholes.unflatten(0, scenes),
        view.unflatten(0, scenes),
        where.unflatten(0, scenes),
        points.unflatten(0, scenes),
    )
    outlined = (2 * code.pixels[:, 3:].sigmoid() - 1).clamp(min=0)
    hidden = look_up(outlined, agreement.at)[..., 0].view_as(agreement.exact)
    anyway, shown, roughly = (
        (2 * found.amax(1) - 1).clamp(min=0).flatten(0, 1)
        for found in (agreement.exact, agreement.exact * (1 - hidden), agreement.rough)
    )
    return Explanation(anyway, shown, roughly, agreement.colours.flatten(0, 1))
