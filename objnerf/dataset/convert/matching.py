"""Images and the cameras that a source says they were taken with: the same size, or why not.

A camera's numbers are in pixels of a certain size of image. Images may have been scaled since (their
focal lengths then scale with them). Phones store images as the sensor lies, with a note, EXIF's
orientation, that says how to turn them upright: the camera may be that of the turned image, or that of the
image as it is stored, and then it was rolled by a quarter turn.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from objnerf.dataset import names
from objnerf.dataset.convert.posed import (
    Blob,
    Companion,
    Computed,
    PosedScenes,
    PosedView,
    depth_map,
    image_size,
    opened,
    pixels,
)
from objnerf.dataset.rigid import estimate_up
from objnerf.errors import InputError

#: EXIF's tag for how an image is stored; the values from 5 on swap width and height.
_ORIENTATION = 0x0112
_SWAPS = range(5, 9)
#: How many quarter turns clockwise bring a stored image upright, for the two that a camera held upright
#: makes.
_QUARTERS = {6: 1, 8: 3}
#: The camera's axes of an image that was turned clockwise by a quarter, in those of the image before.
_QUARTER = np.array([[0.0, 1.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])


def matched_pictures(posed: PosedScenes) -> PosedScenes:
    """The same scenes with lenses that fit the images as they are, and turned images upright.

    Raises:
        InputError: an image of a size that its camera's size does not explain.
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
            companions: dict[str, Companion] = {
                suffix: Computed(view.image.path, partial(_fitting, suffix, companion, said, orientation))
                for suffix, companion in view.companions.items()
            }
            image = Computed(view.image.path, upright(view), said)
            return replace(view, image=image, companions=companions)
        # Another size of the same shape, to within rounding of the shorter side.
        if abs(size[0] * said[1] - size[1] * said[0]) <= max(*size, *said) / 2:
            scaled.append(view)
            return replace(view, lens=view.lens.scaled(*size))
        raise InputError(_mismatch(view, size, said, orientation))

    matched = posed.with_views(match)
    notes = list(posed.notes)
    if turned:
        notes.append(
            f"{len(turned)} images were turned as their EXIF orientation says, since that is how their "
            f"cameras have them; the first: {turned[0].image.path}"
        )
    if scaled:
        size = image_size(scaled[0].image)
        lens = scaled[0].lens
        assert lens is not None
        notes.append(
            f"{len(scaled)} images have another size than their cameras say, so the focal lengths were "
            f"scaled with them; the first: {scaled[0].image.path}, {size[0]} x {size[1]} instead of "
            f"{lens.width} x {lens.height}"
        )
    return _stood_up(replace(matched, notes=tuple(notes)))


def _stood_up(posed: PosedScenes) -> PosedScenes:
    """The same scenes with images and cameras turned upright, where all were taken on their side.

    What an image shows and where it was taken from stay the same; only the camera's axes turn.
    """
    views = posed.views
    if posed.world != "free" or any(view.lens is None or not isinstance(view.image, Blob) for view in views):
        return posed
    orientations = [_orientation(view) for view in views]
    if not all(orientation in _QUARTERS for orientation in orientations):
        return posed
    turns = [_QUARTERS[orientation] for orientation in orientations]
    poses = np.stack([view.world_from_camera for view in views])
    upright_poses = np.stack([_quarter_turned(p, n) for p, n in zip(poses, turns, strict=True)])
    # Some programs turn images and leave the note as it was: cameras that stand say it more clearly.
    before, after = (estimate_up(stack).uncertainty_degrees for stack in (poses, upright_poses))
    if len(posed.scenes) == 1 and before < after:
        return posed
    quarters = iter(turns)
    note = (
        f"all {len(views)} images were taken with the camera on its side, as their EXIF orientation "
        "says: they and their cameras were turned upright"
    )
    stood = posed.with_views(lambda view: _turned(view, next(quarters)))
    return replace(stood, notes=(*posed.notes, note))


def _turned(view: PosedView, quarters: int) -> PosedView:
    """A view with its image, companions, lens and camera turned clockwise by so many quarters."""
    lens, pose = view.lens, _quarter_turned(view.world_from_camera, quarters)
    assert lens is not None
    for _ in range(quarters):
        lens = lens.turned()
    companions: dict[str, Companion] = {}
    for suffix, companion in view.companions.items():
        read = depth_map if suffix == names.DEPTH_SUFFIX else pixels
        path = companion.path if isinstance(companion, Blob | Computed) else view.image.path
        companions[suffix] = Computed(path, partial(_rotated, read, companion, quarters))
    image = Computed(view.image.path, upright(view), (lens.width, lens.height))
    return replace(view, image=image, world_from_camera=pose, companions=companions, lens=lens)


def _quarter_turned(pose: Float[np.ndarray, "4 4"], quarters: int) -> Float[np.ndarray, "4 4"]:
    """The pose of a camera whose image was turned clockwise by so many quarters."""
    return pose @ np.linalg.matrix_power(_QUARTER, quarters)


def _rotated(read: Callable[[Companion], np.ndarray], companion: Companion, quarters: int) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(read(companion), -quarters))


def upright(view: PosedView) -> Callable[[], UInt8[np.ndarray, "height width 3"]]:
    """A function that reads an image, turned as its EXIF orientation says."""

    return lambda: _upright(pixels(view.image), _orientation(view))


def _upright(array: Shaped[np.ndarray, "*stored"], orientation: int) -> Shaped[np.ndarray, "*upright"]:
    """An array of (height, width, …) turned and mirrored as an EXIF orientation says.

    The values (Exif 2.32, 4.6.4): 2 mirrored, 3 half a turn, 4 both, 5 mirrored along the diagonal, 6 to be
    turned clockwise, 7 mirrored along the other diagonal, 8 to be turned anticlockwise.
    """
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return np.ascontiguousarray(array)


def _fitting(suffix: str, companion: Companion, said: tuple[int, int], orientation: int) -> np.ndarray:
    """A mask or depth map of an image that is turned, turned along unless it stands already."""
    array = depth_map(companion) if suffix == names.DEPTH_SUFFIX else pixels(companion)
    return array if array.shape[1::-1] == said else _upright(array, orientation)


def _orientation(view: PosedView) -> int:
    """EXIF's orientation of an image; 1, as it is, where it says none."""
    if not isinstance(view.image, Blob):
        return 1
    with opened(view.image) as picture:
        return int(picture.getexif().get(_ORIENTATION, 1))


def _mismatch(view: PosedView, size: tuple[int, int], said: tuple[int, int], orientation: int) -> str:
    """What to say about an image that no scale makes its camera's."""
    head = (
        f"{view.image.path}: the image of {view.stem} is {size[0]} x {size[1]} pixels, expected "
        f"{said[0]} x {said[1]}, as its camera says"
    )
    if size[::-1] == said:
        exif = "has no EXIF orientation" if orientation == 1 else f"its EXIF orientation is {orientation}"
        return f"{head}: it lies on its side, and {exif} that would say which way to turn it; turn the images"
    return f"{head}: it was cropped, or belongs to another camera; take the images that the cameras are of"
