"""Pictures and the cameras that a source says they were taken with: the same size, or why not.

A camera's numbers are in pixels of a certain size of picture. Pictures may have been scaled since (their
focal lengths then scale with them), or be stored lying down with a note, EXIF's orientation, that says how to
turn them, while the camera is that of the turned picture.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from objnerf.dataset.convert.posed import (
    Blob,
    Computed,
    PosedScenes,
    PosedView,
    image_size,
    opened,
    pixels,
)
from objnerf.errors import InputError

#: EXIF's tag for how a picture is stored; the values from 5 on swap width and height.
_ORIENTATION = 0x0112
_SWAPS = range(5, 9)


def matched_pictures(posed: PosedScenes) -> PosedScenes:
    """The same scenes with lenses that fit the pictures as they are, and turned pictures upright.

    Raises:
        InputError: a picture of a size that its camera's size does not explain.
    """
    turned: list[PosedView] = []
    scaled: list[PosedView] = []

    def match(view: PosedView) -> PosedView:
        if view.lens is None:
            return view
        size, said = image_size(view.image), (view.lens.width, view.lens.height)
        if size == said:
            return view
        orientation = _orientation(view)
        if size[::-1] == said and orientation in _SWAPS:
            turned.append(view)
            return replace(view, image=Computed(view.image.path, upright(view), said))
        # Another size of the same shape, to within rounding of the shorter side.
        if abs(size[0] * said[1] - size[1] * said[0]) <= max(*size, *said) / 2:
            scaled.append(view)
            return replace(view, lens=view.lens.scaled(*size))
        raise InputError(_mismatch(view, size, said, orientation))

    matched = posed.with_views(match)
    notes = list(posed.notes)
    if turned:
        notes.append(
            f"{len(turned)} pictures were turned as their EXIF orientation says, since that is how their "
            f"cameras have them; the first: {turned[0].image.path}"
        )
    if scaled:
        size = image_size(scaled[0].image)
        lens = scaled[0].lens
        assert lens is not None
        notes.append(
            f"{len(scaled)} pictures have another size than their cameras say, so the focal lengths were "
            f"scaled with them; the first: {scaled[0].image.path}, {size[0]} x {size[1]} instead of "
            f"{lens.width} x {lens.height}"
        )
    return replace(matched, notes=tuple(notes))


def upright(view: PosedView) -> Callable[[], UInt8[np.ndarray, "height width 3"]]:
    """A function that reads a picture, turned as its EXIF orientation says."""

    def read() -> UInt8[np.ndarray, "height width 3"]:
        stored = Image.fromarray(pixels(view.image))
        stored.getexif()[_ORIENTATION] = _orientation(view)
        return np.asarray(ImageOps.exif_transpose(stored))

    return read


def _orientation(view: PosedView) -> int:
    """EXIF's orientation of a picture; 1, as it is, where it says none."""
    if not isinstance(view.image, Blob):
        return 1
    with opened(view.image) as picture:
        return int(picture.getexif().get(_ORIENTATION, 1))


def _mismatch(view: PosedView, size: tuple[int, int], said: tuple[int, int], orientation: int) -> str:
    """What to say about a picture that no scale makes its camera's."""
    head = (
        f"{view.image.path}: the picture of {view.stem} is {size[0]} x {size[1]} pixels, expected "
        f"{said[0]} x {said[1]}, as its camera says"
    )
    if size[::-1] == said:
        exif = "has no EXIF orientation" if orientation == 1 else f"its EXIF orientation is {orientation}"
        return (
            f"{head}: it lies on its side, and {exif} that would say which way to turn it; turn the pictures"
        )
    return f"{head}: it was cropped, or belongs to another camera; take the pictures that the cameras are of"
