"""Masks and depth maps that stand beside captured pictures: what they mean, and in which unit.

nerfstudio's ``mask_path`` marks the pixels to train on; people put silhouettes and instance masks there as
well. Depth maps are images of integers in some unit, or arrays of floats. Both are decided a scene at a
time, and what cannot be used is left out and said.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tokenize import TokenError
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Integer, Shaped, UInt8
from PIL import Image

from objnerf.dataset import names
from objnerf.dataset.cameras import Intrinsics, ray_lengths
from objnerf.dataset.convert.masks import (
    MOST_FOREIGN_COLOURS,
    Colour,
    by_grey,
    colours_of,
    first_in_every_view,
)
from objnerf.dataset.convert.posed import Blob, Companion, Computed, PosedView, image_size
from objnerf.dataset.convert.transforms_lens import number
from objnerf.dataset.files import BACKGROUND_COLOUR, OBJECT_COLOURS, grey_levels, read_depth, read_mask
from objnerf.dataset.untrusted import Unreadable, open_regular, opened_picture
from objnerf.errors import InputError

#: nerfstudio's default: integers are millimetres (``depth_unit_scale_factor`` of its nerfstudio-data parser).
_MILLIMETRE = 1e-3
#: Of the pixels of a silhouette with smoothed edges, so many are (nearly) black or white.
_SILHOUETTE_SHARE = 0.97
_NEARLY = 32
#: Blender writes 1e10 for a ray that meets nothing.
_NOTHING = 1e9


@dataclass
class Extras:
    """What the frames of one scene name beside their images, by the frame's place (``PosedView.where``).

    Attributes:
        masks: files under ``mask_path``.
        depths: depth maps, with the factor to world units.
        missing: what is named and is not there, in words.
    """

    masks: dict[str, Path] = field(default_factory=dict)
    depths: dict[str, tuple[Path, "Unit"]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def settled(self, views: Sequence[PosedView], notes: list[str], source: str) -> list[PosedView]:
        """The views with what can be carried; adds to the notes how it was read, and what was left out.

        Raises:
            InputError: a depth map that is none, or of another shape than its picture.
        """
        if self.missing:
            notes.append(
                f"{len(self.missing)} files that frames refer to are missing; the first: {self.missing[0]}"
            )
        recolour = _mask_rule(self.masks, notes, source)
        depths = {where: _depth(path, unit.factor) for where, (path, unit) in self.depths.items()}
        for unit in sorted({unit for _, unit in self.depths.values() if unit.assumed}):
            words = "floats were taken as world units"
            if unit.factor != 1:
                words = (
                    "whole numbers were taken as thousandths of a world unit (millimetres, as in nerfstudio)"
                )
            notes.append(
                f"{source}: the unit of its depth maps is not stated: {words}; the key "
                "'depth_unit_scale_factor' says otherwise"
            )
        return [self._view(view, recolour, depths.get(view.where)) for view in views]

    def _view(
        self, view: PosedView, recolour: Callable[[Path], np.ndarray] | None, depth: "_DepthFile | None"
    ) -> PosedView:
        companions: dict[str, Companion] = dict(view.companions)
        mask = self.masks.get(view.where)
        if mask is not None and recolour is not None:
            with _opened(mask) as picture:
                target = size_for(picture.size, view, mask)
            companions[names.MASK_SUFFIX] = Computed(mask, lambda: nearest(recolour(mask), target))
        if depth is not None:
            size = size_for(depth.size, view, depth.path)
            own = depth.is_ours and depth.size == size
            companions[names.DEPTH_SUFFIX] = (
                Blob(depth.path) if own else Computed(depth.path, lambda: depth.read(size))
            )
        return replace(view, companions=companions)


class Unit(NamedTuple):
    """World units in a step of a depth map's numbers, and whether nothing says so."""

    factor: float
    assumed: bool


def depth_unit(content: dict[str, Any], path: Path, where: str) -> Unit:
    """The unit of a depth map.

    ``integer_depth_scale`` (instant-ngp, SplaTAM) for integers, then ``depth_unit_scale_factor``; without
    either floats are world units and integers millimetres, as nerfstudio takes them.

    Raises:
        InputError: a factor that is no positive number.
    """
    whole = _is_integer(path)
    keys = ("integer_depth_scale", "depth_unit_scale_factor") if whole else ("depth_unit_scale_factor",)
    for key in keys:
        if key in content:
            factor = number(content, key, 0.0, where)
            if not factor > 0:
                raise InputError(f"{where}: expected a positive number under {key!r}, found {factor:g}")
            return Unit(factor, assumed=False)
    return Unit(_MILLIMETRE if whole else 1.0, assumed=True)


def _is_integer(path: Path) -> bool:
    """Whether a depth map holds integers."""
    if path.suffix.lower() == ".npy":
        return _npy_header(path)[1].kind in "iu"
    with _opened(path) as picture:
        return not picture.mode.startswith("F")


@dataclass(frozen=True)
class _DepthFile:
    """A depth map of any size and unit."""

    path: Path
    factor: float
    size: tuple[int, int]
    is_ours: bool = False
    """Whether it is as our format has it, in world units."""

    def read(self, size: tuple[int, int]) -> Float32[np.ndarray, "height width"]:
        """Depth in world units at the image's size; inf where nothing was measured.

        The nearest value is taken, since the mean of two depths lies on neither surface.
        """
        depth = read_depth(self.path) if self.path.suffix.lower() == ".npy" else depth_picture(self.path)
        depth = np.where(
            np.isfinite(depth) & (depth > 0), depth * np.float32(self.factor), np.float32(np.inf)
        )
        return nearest(depth, size)


def size_for(found: tuple[int, int], view: PosedView, path: Path) -> tuple[int, int]:
    """The size that a mask or depth map should have: its image's, as stored or as its camera has it.

    Raises:
        InputError: it is no smaller or larger image of the same view.
    """
    stored = image_size(view.image)
    said = stored if view.lens is None else (view.lens.width, view.lens.height)
    # An image that lies on its side is turned later (``matching.py``); its depth may stand already.
    allowed = (stored, said) if said == stored[::-1] else (stored,)
    for size in allowed:
        if abs(found[0] * size[1] - found[1] * size[0]) <= max(*size, *found):
            return size
    raise InputError(
        f"{path}: expected the shape of its image of {stored[0]} x {stored[1]} pixels, found {found[0]} x "
        f"{found[1]}; crop or turn it like the image"
    )


def nearest(array: Shaped[np.ndarray, "*shape"], size: tuple[int, int]) -> Shaped[np.ndarray, "*resized"]:
    """An array of (height, width, …) at another size: for each pixel, the old one that holds its middle."""
    height, width = array.shape[:2]
    if (width, height) == size:
        return array
    rows = (2 * np.arange(size[1]) + 1) * height // (2 * size[1])
    columns = (2 * np.arange(size[0]) + 1) * width // (2 * size[0])
    return array[rows[:, None], columns]


def _depth(path: Path, factor: float) -> _DepthFile:
    if path.suffix.lower() != ".npy":
        with _opened(path) as picture:
            return _DepthFile(path, factor, picture.size)
    shape, kind = _npy_header(path)
    if not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 1)):
        raise InputError(f"{path}: expected one depth a pixel (height x width), found the shape {shape}")
    ours = kind == np.float32 and len(shape) == 3 and factor == 1
    return _DepthFile(path, factor, (shape[1], shape[0]), ours)


def _npy_header(path: Path) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of a .npy file, without reading its numbers."""
    try:
        open_regular(path).close()
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Unreadable as problem:
        raise InputError(
            f"{path}: expected a depth map in NumPy's .npy format, which cannot be read ({problem})"
        ) from problem
    except (OSError, ValueError, EOFError, SyntaxError, TokenError) as error:
        raise InputError(f"{path}: expected a depth map in NumPy's .npy format, {error}") from error
    if array.dtype.kind not in "fiu":
        raise InputError(f"{path}: expected an array of numbers, found {array.dtype}")
    return array.shape, array.dtype


def depth_picture(path: Path) -> Float32[np.ndarray, "height width"]:
    """The numbers of a depth map that is an image, in the image's own unit.

    Raises:
        InputError: the file is no image, or one of several channels.
    """
    with _opened(path) as picture:
        depth = np.asarray(picture)
    if depth.ndim != 2:
        raise InputError(f"{path}: expected one channel, found {depth.shape[2]}")
    return depth.astype(np.float32)


def rendered_depth(
    values: Shaped[np.ndarray, "*shape"], camera: Intrinsics, path: Path, *, along_rays: bool
) -> Float32[np.ndarray, "height width"]:
    """Planar depth from what a renderer wrote, world units; inf where a ray meets nothing.

    Args:
        values: depth of each pixel, world units.
        camera: the camera of the picture.
        path: the file, for messages.
        along_rays: whether they are distances from the camera's centre instead of planar depths.
    Raises:
        InputError: the shape is not the image's.
    """
    expected = (camera.height, camera.width)
    if values.shape != expected:
        raise InputError(f"{path}: expected depth of the shape {expected}, found {values.shape}")
    depth = values / ray_lengths(camera) if along_rays else values
    return np.where((values > 0) & (values < _NOTHING), depth, np.inf).astype(np.float32)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image, for as long as the context lasts; what cannot be decoded there is an InputError."""
    try:
        with opened_picture(path) as picture:
            yield picture
    except InputError as error:
        raise InputError(f"{error}; it should be a depth map or a mask") from error


@dataclass(frozen=True)
class _MaskColours:
    """The colours of a mask: all with their counts of pixels, and those of the image's rim."""

    colours: dict[Colour, int]
    rim: dict[Colour, int]


def _mask_rule(
    masks: dict[str, Path], notes: list[str], source: str
) -> Callable[[Path], UInt8[np.ndarray, "height width 3"]] | None:
    """How the masks of a scene become ours; None where they are no masks of objects, which the notes say."""
    if not masks:
        return None
    with ThreadPoolExecutor() as pool:
        measured = list(pool.map(_mask_colours, masks.values()))
    seen = [set(mask.colours) for mask in measured]
    colours = set().union(*seen)
    said = f"{source}: {len(masks)} masks"
    black = (0, 0, 0)
    if colours <= {BACKGROUND_COLOUR, *OBJECT_COLOURS}:
        notes.append(f"{said} in the colours of our own format")
        return read_mask
    if len(colours) <= 1 + MOST_FOREIGN_COLOURS:
        if black not in colours or len(colours) == 1:
            notes.append(f"{said} left out: no black background, or nothing else")
            return None
        order = first_in_every_view(sorted(colours - {black}, key=by_grey), seen)
        if len(order) == 1 and not _black_rim(measured):
            notes.append(f"{said} left out: they mark pixels to train on, which our format cannot hold")
            return None
        notes.append(f"{said}: black became the background, every other colour an object")
        return lambda path: _by_colour(read_mask(path), order, path)
    total = sum(sum(mask.colours.values()) for mask in measured)
    extreme = sum(n for mask in measured for colour, n in mask.colours.items() if _is_extreme(colour))
    if extreme < _SILHOUETTE_SHARE * total:
        notes.append(
            f"{said} left out: {len(colours)} colours are neither a silhouette in black and white nor at "
            f"most {MOST_FOREIGN_COLOURS} objects in flat colours on black"
        )
        return None
    if not _black_rim(measured):
        notes.append(f"{said} left out: they mark pixels to train on, which our format cannot hold")
        return None
    notes.append(f"{said}: silhouettes; darker than middle grey became the background, the rest one object")
    return lambda path: colours_of((grey_levels(read_mask(path)) >= 128).astype(np.int64), str(path))


def _mask_colours(path: Path) -> _MaskColours:
    mask = read_mask(path)
    codes = mask.astype(np.int64) @ np.array([65536, 256, 1])
    rim = np.concatenate([codes[0], codes[-1], codes[:, 0], codes[:, -1]])
    return _MaskColours(_counts(codes), _counts(rim))


def _counts(codes: Integer[np.ndarray, "*pixels"]) -> dict[Colour, int]:
    found, counts = np.unique(codes, return_counts=True)
    return {
        (code >> 16, (code >> 8) & 255, code & 255): count
        for code, count in zip(found.tolist(), counts.tolist(), strict=True)
    }


def _is_extreme(colour: Colour) -> bool:
    return max(colour) <= _NEARLY or min(colour) >= 255 - _NEARLY


def _black_rim(measured: Sequence[_MaskColours]) -> bool:
    """Whether the rims are mostly dark: an object stands within an image, ignored pixels do not."""
    dark = sum(count for mask in measured for colour, count in mask.rim.items() if by_grey(colour)[0] < 128)
    return dark >= 0.5 * sum(sum(mask.rim.values()) for mask in measured)


def _by_colour(
    mask: UInt8[np.ndarray, "height width 3"], order: Sequence[Colour], path: Path
) -> UInt8[np.ndarray, "height width 3"]:
    """A mask in our colours; the background is every colour that is not in ``order``."""
    numbers = np.zeros(mask.shape[:2], dtype=np.int64)
    for place, colour in enumerate(order, start=1):
        inside: Bool[np.ndarray, "height width"] = (mask == np.array(colour, np.uint8)).all(axis=-1)
        numbers[inside] = place
    return colours_of(numbers, str(path))
