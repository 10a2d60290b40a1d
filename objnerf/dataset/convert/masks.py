"""Instance masks between colours and numbers, the same colour for the same object in all views of a scene."""

from collections.abc import Callable, Hashable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image

from objnerf.dataset.convert.posed import Companion, Computed, PosedView, pixels
from objnerf.dataset.files import BACKGROUND_COLOUR, OBJECT_COLOURS, grey_levels, labels_from_mask
from objnerf.dataset.names import MASK_SUFFIX
from objnerf.errors import InputError

Colour = tuple[int, int, int]
_Key = TypeVar("_Key", bound=Hashable)

#: More colours than this that are not our palette's are no objects but the blended ones of smoothed edges.
MOST_FOREIGN_COLOURS = 13


def mask_of(view: PosedView) -> UInt8[np.ndarray, "height width 3"] | None:
    """A view's mask in colours; None when it has none."""
    companion = view.companions.get(MASK_SUFFIX)
    return None if companion is None else pixels(companion)


def first_in_every_view(objects: Sequence[_Key], seen: Sequence[Set[_Key]]) -> list[_Key]:
    """The objects of a scene in the order of their numbers.

    uORF's code takes the second lowest grey level of an image for its background, so that the first object,
    the blue one, must be visible in every view: one that is goes first, if there is one.

    Args:
        objects: their colours or ids, in an order that is kept otherwise.
        seen: what each view shows.
    """
    return sorted(objects, key=lambda key: not all(key in view for view in seen))


def object_numbers(
    masks: Sequence[UInt8[np.ndarray, "height width 3"]], where: str
) -> list[Integer[np.ndarray, "height width"]]:
    """Numbers of the objects in the masks of one scene: 0 is the background, the same number the same colour.

    The colours of our palette have the number of their place in it, where the palette's background is seen
    or nothing but its colours; others beside them take the lowest numbers that are free, by their grey
    levels, then by red, green and blue. Masks without that background are numbered by their grey levels
    alone.

    Raises:
        InputError: more colours than a mask can hold, or so many that are not our palette's that they must be
            the blended ones of smoothed edges.
    """
    colours: set[Colour] = set()
    for mask in masks:
        colours |= {(int(r), int(g), int(b)) for r, g, b in np.unique(mask.reshape(-1, 3), axis=0)}
    ours = BACKGROUND_COLOUR in colours or colours <= set(OBJECT_COLOURS)
    backgrounds = [
        (mask == np.array(BACKGROUND_COLOUR, np.uint8)).all(axis=-1) if ours else labels_from_mask(mask) == 0
        for mask in masks
    ]
    objects: set[Colour] = set()
    for mask, background in zip(masks, backgrounds, strict=True):
        objects |= {(int(r), int(g), int(b)) for r, g, b in np.unique(mask[~background], axis=0)}
    places = {c: OBJECT_COLOURS.index(c) + 1 for c in objects & set(OBJECT_COLOURS)} if ours else {}
    others = sorted(objects - set(places), key=by_grey)
    free = [n for n in range(1, len(OBJECT_COLOURS) + 1) if n not in places.values()]
    most = min(len(free), MOST_FOREIGN_COLOURS)
    if len(others) > most:
        raise InputError(
            f"{where}: expected masks of at most {most} flat colours that are not our format's, found "
            f"{len(others)}; are their edges anti-aliased?"
        )
    places |= dict(zip(others, free, strict=False))
    numbered = []
    for mask, background in zip(masks, backgrounds, strict=True):
        numbers = np.zeros(mask.shape[:2], dtype=np.int64)
        for colour, number in places.items():
            numbers[(mask == np.array(colour, np.uint8)).all(axis=-1) & ~background] = number
        numbered.append(numbers)
    return numbered


def by_grey(colour: Colour) -> tuple[int, Colour]:
    """A key that sorts colours by their grey levels, then by red, green and blue."""
    return int(grey_levels(np.array(colour, np.uint8))), colour


@dataclass(frozen=True)
class InstanceMap:
    """Which object each pixel of a view shows, in the ids of a source.

    Attributes:
        path: the file, for messages.
        read: the ids; 0 is the background.
    """

    path: Path
    read: Callable[[], Integer[np.ndarray, "height width"]]

    def masked(self, number_of: Mapping[int, int]) -> UInt8[np.ndarray, "height width 3"]:
        """The mask in our colours."""
        id_map = self.read()
        ids, inverse = np.unique(id_map, return_inverse=True)
        numbers = np.array([number_of.get(id_, 0) for id_ in ids.tolist()])
        return colours_of(numbers[inverse].reshape(id_map.shape), str(self.path))


def instance_masks(maps: Sequence[InstanceMap | None], where: str, notes: list[str]) -> list[Computed | None]:
    """Masks of the views of one scene: an instance has the same colour in all of them.

    The objects are numbered by their ids, an object that is seen in every view first.

    Args:
        maps: of each view; None where it has none.
        where: the scene, for messages.
        notes: called where a scene has more objects than a mask can hold: then its masks are left out.
    Raises:
        InputError: a file that cannot be read.
    """
    present = [map_ for map_ in maps if map_ is not None]
    with ThreadPoolExecutor() as pool:
        seen = list(pool.map(lambda map_: set(np.unique(map_.read()).tolist()) - {0}, present))
    order = first_in_every_view(sorted(set().union(*seen)), seen)
    if len(order) > len(OBJECT_COLOURS):
        notes.append(
            f"{where}: its masks were left out: they show {len(order)} objects, and a mask of our format "
            f"holds at most {len(OBJECT_COLOURS)}"
        )
        return [None] * len(maps)
    number_of = {id_: number for number, id_ in enumerate(order, start=1)}
    return [None if map_ is None else Computed(map_.path, partial(map_.masked, number_of)) for map_ in maps]


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
