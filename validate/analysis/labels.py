"""Which labels the masks hold, and which they should hold: labels are the distinct grey levels of a mask."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, UInt

from objnerf.dataset.files import BACKGROUND_COLOUR, OBJECT_COLOURS, grey_levels
from validate.analysis.model import Analysis
from validate.measure.figures import MAX_COLOURS, SPECKS, in_palette
from validate.measure.pictures import READ

_STANDARD_BACKGROUND = BACKGROUND_COLOUR[0] << 16 | BACKGROUND_COLOUR[1] << 8 | BACKGROUND_COLOUR[2]


@dataclass(frozen=True)
class MaskFacts:
    """What the masks hold, a row a mask.

    Attributes:
        views: index of each mask's view.
        colours: 0xRRGGBB, most frequent first; ``present`` says how many are real.
        greys: their grey levels.
        tiny: colours with too few pixels.
        blended: masks with so many specks that their edges must be anti-aliased.
        background: the dataset's background colour.
    """

    views: Int[np.ndarray, " masks"]
    colours: UInt[np.ndarray, "masks slots"]
    present: Bool[np.ndarray, "masks slots"]
    greys: Int[np.ndarray, "masks slots"]
    tiny: Bool[np.ndarray, "masks slots"]
    blended: Bool[np.ndarray, " masks"]
    background: int


def mask_facts(analysis: Analysis) -> MaskFacts:
    """Gather the colours of all readable masks."""
    if analysis.pictures is None:
        raise RuntimeError("masks are measured with the images, and the analysis opened none")
    rows = analysis.pictures.rows
    views = np.flatnonzero(rows["mask"] == READ)
    n_colours = rows["n_colours"][views]
    # Room for the most colours that any mask has, not for all that one may have: there are many masks.
    widest = min(int(n_colours.max(initial=1)), MAX_COLOURS)
    colours, pixels = (rows[name][views, :widest] for name in ("colours", "pixels"))
    present = pixels > 0
    channels = np.stack([colours >> 16 & 255, colours >> 8 & 255, colours & 255], axis=-1).astype(np.uint8)
    greys = grey_levels(channels).astype(np.int64)
    area = np.maximum(rows["mask_width"][views].astype(np.int64) * rows["mask_height"][views], 1)
    tiny = present & (pixels < analysis.limits.mask_tiny * area[:, None])
    specks = (tiny & ~in_palette(colours)).sum(axis=1)
    blended = (n_colours > MAX_COLOURS) | (specks >= SPECKS)
    standard = ((colours == _STANDARD_BACKGROUND) & present).any(axis=1)
    if not len(views) or standard.mean() >= 0.5:
        background = _STANDARD_BACKGROUND
    else:
        found, count = np.unique(rows["border"][views], return_counts=True)
        background = int(found[np.argmax(count)])
    return MaskFacts(views, colours, present, greys, tiny, blended, background)


def relabelling(analysis: Analysis) -> dict[int, dict[int, int]]:
    """New colours for the masks of scenes in which the second lowest grey level is not the background.

    The background gets the format's colour, and the objects of a scene the format's colours in the order of
    the grey levels that they have now; first comes one that is seen in every view, since the second lowest
    grey level is the background only where the first object is there. A scene without such an object, with
    anti-aliased masks or with more objects than colours is left.

    Returns:
        For each view of such scenes: colour as it is (0xRRGGBB) to what it should be.
    """
    facts = mask_facts(analysis)
    scenes = analysis.scan.scene_index[facts.views]
    backgrounds = _own_backgrounds(analysis, facts)
    plans: dict[int, dict[int, int]] = {}
    # Sorted once: a search for each scene would look at all masks each time.
    order = np.argsort(scenes, kind="stable")
    broken = np.unique(scenes[breaks_rule(facts)])
    begins, ends = (np.searchsorted(scenes[order], broken, side) for side in ("left", "right"))
    for begin, end in zip(begins, ends, strict=True):
        masks = order[begin:end]
        if facts.blended[masks].any():
            continue
        colours = [set(facts.colours[mask][facts.present[mask]].tolist()) for mask in masks]
        objects = [own - {int(backgrounds[mask])} for own, mask in zip(colours, masks, strict=True)]
        everywhere = set.intersection(*objects)
        ordered = sorted(set.union(*objects), key=lambda colour: (_grey(colour), colour))
        if not everywhere or len(ordered) > len(OBJECT_COLOURS):
            continue
        first = min(everywhere, key=lambda colour: (_grey(colour), colour))
        ordered.remove(first)
        numbers = {
            colour: _packed(new) for colour, new in zip([first, *ordered], OBJECT_COLOURS, strict=False)
        }
        for mask in masks:
            plans[int(facts.views[mask])] = {**numbers, int(backgrounds[mask]): _packed(BACKGROUND_COLOUR)}
    return plans


def _own_backgrounds(analysis: Analysis, facts: MaskFacts) -> Int[np.ndarray, " masks"]:
    """The background of each mask: the dataset's, or what surrounds a mask that lacks it."""
    assert analysis.pictures is not None
    there = ((facts.colours == facts.background) & facts.present).any(axis=1)
    border = analysis.pictures.rows["border"][facts.views].astype(np.int64)
    return np.where(there, facts.background, border)


def breaks_rule(facts: MaskFacts) -> Bool[np.ndarray, " masks"]:
    """Masks in which the background is not the second lowest grey level."""
    is_background = (facts.colours == facts.background) & facts.present
    grey = (facts.greys * is_background).max(axis=1, initial=0)
    below = (facts.present & (facts.greys < grey[:, None])).sum(axis=1)
    return ~is_background.any(axis=1) | (below != 1)


def _packed(colour: tuple[int, int, int]) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def _grey(colour: int) -> int:
    channels = np.array([colour >> 16 & 255, colour >> 8 & 255, colour & 255], dtype=np.uint8)
    return int(grey_levels(channels))
