"""Instance masks between colours and numbers, the same colour for the same object in all views of a scene."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image

from objnerf.dataset.convert.posed import Companion, PosedView, pixels
from objnerf.dataset.files import BACKGROUND_COLOUR, OBJECT_COLOURS, grey_levels, labels_from_mask
from objnerf.dataset.names import MASK_SUFFIX
from objnerf.errors import InputError

Colour = tuple[int, int, int]


def mask_of(view: PosedView) -> UInt8[np.ndarray, "height width 3"] | None:
    """A view's mask in colours; None when it has none."""
    companion = view.companions.get(MASK_SUFFIX)
    return None if companion is None else pixels(companion)


def first_in_every_view(colours: Sequence[Colour], seen: Sequence[set[Colour]]) -> list[Colour]:
    """The objects' colours of a scene in the order of their numbers.

    uORF's code takes the second lowest grey level of a picture for its background, so that the first object,
    the blue one, must be visible in every view: one that is goes first, if there is one.

    Args:
        colours: of the objects, in an order that is kept otherwise.
        seen: the colours of each view.
    """
    return sorted(colours, key=lambda colour: not all(colour in view for view in seen))


def object_numbers(
    masks: Sequence[UInt8[np.ndarray, "height width 3"]], where: str
) -> list[Integer[np.ndarray, "height width"]]:
    """Numbers of the objects in the masks of one scene: 0 is the background, the same number the same colour.

    The colours of our palette have the number of their place in it; a scene with other colours is numbered
    by their grey levels.

    Raises:
        InputError: more colours than the palette has.
    """
    backgrounds = [labels_from_mask(mask) == 0 for mask in masks]
    colours: set[Colour] = set()
    for mask, background in zip(masks, backgrounds, strict=True):
        colours |= {(int(r), int(g), int(b)) for r, g, b in np.unique(mask[~background], axis=0)}
    if len(colours) > len(OBJECT_COLOURS):
        raise InputError(
            f"{where}: expected masks of at most {len(OBJECT_COLOURS)} flat colours, found {len(colours)}; "
            "are their edges smoothed?"
        )
    if colours <= set(OBJECT_COLOURS):
        order = list(OBJECT_COLOURS)
    else:
        order = sorted(colours, key=lambda colour: int(grey_levels(np.array(colour, np.uint8))))
    numbered = []
    for mask, background in zip(masks, backgrounds, strict=True):
        numbers = np.zeros(mask.shape[:2], dtype=np.int64)
        for number, colour in enumerate(order, start=1):
            numbers[(mask == np.array(colour, np.uint8)).all(axis=-1) & ~background] = number
        numbered.append(numbers)
    return numbered


def colours_of(
    numbers: Integer[np.ndarray, "height width"], where: str
) -> UInt8[np.ndarray, "height width 3"]:
    """Our palette's colours of object numbers; 0 is the background.

    Raises:
        InputError: a number beyond the palette.
    """
    if numbers.size and numbers.max() > len(OBJECT_COLOURS):
        raise InputError(
            f"{where}: expected at most {len(OBJECT_COLOURS)} objects in a mask, found the number "
            f"{int(numbers.max())}"
        )
    palette = np.array([BACKGROUND_COLOUR, *OBJECT_COLOURS], dtype=np.uint8)
    return palette[numbers]


def png_writer(pixels: np.ndarray) -> Companion:
    """A companion that writes uint8 or uint16 pixels as PNG."""

    def write(path: Path) -> None:
        Image.fromarray(pixels).save(path, format="PNG")

    return write
