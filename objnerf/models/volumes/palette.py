"""Palettes: in which colours a scene's background is seen, and in which what stands on it.

Photo-consistency cannot tell the lowest part of an object from the ground: both lie where the ground lies, in
all views. But they differ in colour, as a rule: what stands low has the colours of what stands higher on
the same object, which no other view explains by the background. So two histograms are made of a scene's
pixels, those that other views explain and those that they do not, and each colour is asked which of them it
is more frequent in. An object in the colours of the floor stays undecided.

Light must not matter: the seat of a chair is lit, and its foot is not. So colours are told apart by hue and
saturation, and only coarsely by brightness.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from objnerf.models.volumes.maps import gaussian

BINS = 32
"""Of each of two opponent colours and brightness."""

SATURATED = 1.2
"""Opponent colour at the histograms' edges."""

DARK = 0.2
"""Brightness that is added before colours are divided by it, so that what is nearly black has no hue."""

BRIGHTNESS_SHARE = 0.3
"""Share of the bins along brightness that are used: what faces away from the light is the same paint."""

BLUR_REACH = 2
"""Bins on each side over which histograms are blurred, by a Gaussian with a standard deviation of one bin."""

DOUBT = 6.0
"""How much a pixel that no view explains weighs, beside one that a view does."""

RARE = 5e-5
"""Frequency of a colour, as a share of all pixels, below which little is known about it."""

ROUNDS = 3
"""Times that the palettes are made, each time with what the ones before say of the pixels."""


@dataclass(frozen=True)
class Palette:
    """How frequent colours are in some scenes' backgrounds, and in what the background does not explain."""

    frequencies: Float[Tensor, "scenes 2 bins bins bins"]
    """Shares of all pixels that the background explains, and that it does not."""

    def likeness(self, colours: Float[Tensor, "scenes pixels 3"]) -> Float[Tensor, "scenes pixels"]:
        """How likely colours in [0, 1] are the background's, from 0 to 1; where neither is known, .5."""
        # grid_sample takes the last axis first.
        where = (paint(colours).flip(-1) * 2 - 1)[:, None, None]
        found = F.grid_sample(self.frequencies, where, align_corners=True, padding_mode="border")
        background, other = found[:, :, 0, 0].unbind(1)
        return (background + RARE) / (background + DOUBT * other + 2 * RARE)


def foreignness(likeness: Float[Tensor, "*pixels"]) -> Float[Tensor, "*pixels"]:
    """How surely colours are not the background's: 0 where they are as likely as not, 1 from a quarter on.

    Args:
        likeness: see ``Palette.likeness``.
    """
    return (2 - 4 * likeness).clamp(0, 1)


def paint(colours: Float[Tensor, "*pixels 3"]) -> Float[Tensor, "*pixels 3"]:
    """What is left of colours in [0, 1] when light and shadow hardly count: in [0, 1] too.

    Red against green and both against blue, relative to brightness; and brightness, squeezed.
    """
    brightness = colours.mean(-1)
    red, green, blue = (colours / (brightness + DARK)[..., None]).unbind(-1)
    first, second = (red - green) / math.sqrt(2), (red + green - 2 * blue) / math.sqrt(6)
    hues = (torch.stack([first, second], dim=-1) / SATURATED + 1) / 2
    return torch.cat([hues, brightness[..., None] * BRIGHTNESS_SHARE], dim=-1).clamp(0, 1)


@torch.no_grad()
def make_palette(
    colours: Float[Tensor, "scenes pixels 3"],
    explained: Float[Tensor, "scenes pixels"],
    near: Float[Tensor, "scenes pixels"],
) -> Palette:
    """Palettes of some scenes.

    Pixels that are counted on the wrong side are outvoted by others of their colour: they count less and
    less in ``ROUNDS`` rounds.

    Args:
        colours: of pixels of all views, in [0, 1].
        explained: how surely other views explain each pixel by the background.
        near: 1 where the pixel's ray meets the ground where objects may stand, 0 elsewhere: a wall that no
            other view shows is no object.
    """
    seen = torch.stack([explained, (1 - explained) * near], dim=1)
    place = (paint(colours) * (BINS - 1)).round().long()
    place = (place[..., 0] * BINS + place[..., 1]) * BINS + place[..., 2]
    palette = Palette(_histograms(place, seen))
    for _ in range(ROUNDS - 1):
        likeness = palette.likeness(colours)
        palette = Palette(_histograms(place, seen * torch.stack([likeness, 1 - likeness], dim=1)))
    return palette


def _histograms(
    place: Int[Tensor, "scenes pixels"], weights: Float[Tensor, "scenes sides pixels"]
) -> Float[Tensor, "scenes sides bins bins bins"]:
    """Weighted shares of colours, blurred; ``place`` is the bin of each pixel."""
    scenes, sides, pixels = weights.shape
    counts = weights.new_zeros(scenes, sides, BINS**3)
    counts.scatter_add_(2, place[:, None].expand(weights.shape), weights)
    counts = counts.view(scenes * sides, 1, BINS, BINS, BINS)
    kernel = gaussian(1.0, BLUR_REACH, counts.device)
    for axis in range(3):
        shape, padding = [1, 1, 1, 1, 1], [0, 0, 0]
        shape[2 + axis], padding[axis] = -1, BLUR_REACH
        counts = F.conv3d(counts, kernel.view(shape), padding=padding)
    return counts.view(scenes, sides, BINS, BINS, BINS) / pixels
