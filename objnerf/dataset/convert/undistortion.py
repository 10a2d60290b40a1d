"""Resample captured images to one centred pinhole camera, or to a smaller size.

The pose of a view does not change: the new camera stands where the old one stood and looks along the same
axis, so that planar depth keeps its values as well. Every pixel of a new image is looked up where the
lens's own equation puts it (``lenses.py``); nothing is fitted or inverted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from PIL import Image

from objnerf.dataset import names
from objnerf.dataset.cameras import Intrinsics
from objnerf.dataset.convert.lenses import Lens
from objnerf.dataset.convert.posed import (
    Blob,
    Companion,
    Computed,
    PosedScenes,
    PosedView,
    depth_map,
    opened,
    pixels,
)
from objnerf.errors import InputError

#: What lies farther off the axis of a bent lens is left out, degrees: a pinhole image stretches there by
#: over 1 / cos² = 4, and would consist of little else.
_WIDEST_ANGLE = 60.0
#: The same for lenses that are pinholes themselves.
_WIDEST_PINHOLE = 85.0
_DIRECTIONS, _RADII = 360, 64
#: The sources' own shape of image is kept where another would hold no more than this factor of its area.
_WORTH_ANOTHER_SHAPE = 1.02
#: OpenCV's remap counts pixels in 16 bits.
_LARGEST_SIDE = 32767
#: Pixels (or parts of pixels) that are looked up at once.
_STRIP = 2**21
#: Beyond this factor of shrinking, four places a pixel are looked up and averaged.
_SHRINKS = 1.1
#: No image becomes longer than this times the longest side of a source.
_LARGEST_GROWTH = 2
#: A smaller image shows nothing.
_LEAST_SIDE = 8


def undistorted(posed: PosedScenes, max_size: int | None = None) -> PosedScenes:
    """The same scenes with every image as one centred pinhole with square pixels would have seen it.

    The camera is the one that sees most among those that show no empty border in any image
    (``common_camera``). Images that are like that already are left as they are.

    Args:
        max_size: the longer side that images may have at most, pixels.
    Raises:
        InputError: cameras with nothing in common, or OpenCV is not installed.
    """
    lenses = [_lens(posed, view) for view in posed.views]
    camera, notes = common_camera(lenses, max_size)
    target = Lens.pinhole(camera)
    if all(_same(lens, target) for lens in lenses):
        notes = ["the images were taken with one centred pinhole already: nothing was resampled"]
    resampled = _resampled(posed, lambda lens: target)
    cleared = resampled.with_views(lambda view: replace(view, lens=None))
    return replace(cleared, intrinsics=camera, notes=(*posed.notes, *notes))


def resized(posed: PosedScenes, max_size: int) -> PosedScenes:
    """The same scenes with images whose longer side is at most ``max_size`` pixels; cameras scale along.

    Raises:
        InputError: OpenCV is not installed.
    """

    def smaller(lens: Lens) -> Lens:
        scale = max_size / max(lens.width, lens.height)
        if scale >= 1:
            return lens
        return lens.scaled(max(1, round(lens.width * scale)), max(1, round(lens.height * scale)))

    before = posed.camera
    after = smaller(Lens.pinhole(before)).intrinsics()
    if after == before:
        return posed
    note = (
        f"images were shrunk from {before.width} x {before.height} to {after.width} x {after.height} pixels"
    )
    own = posed.with_views(lambda view: view if view.lens is None else replace(view, lens=smaller(view.lens)))
    pictures = _resampled(posed, smaller)
    views = iter(pictures.views)
    merged = own.with_views(lambda view: replace(next(views), lens=view.lens))
    return replace(merged, intrinsics=after, notes=(*posed.notes, note))


def common_camera(lenses: Sequence[Lens], max_size: int | None = None) -> tuple[Intrinsics, list[str]]:
    """The centred pinhole with square pixels that sees most of what all lenses see.

    Its image is the largest rectangle about the optical axis that lies within every lens's image, in the
    sources' own shape unless another one holds over 2 % more. Its focal length is the median of the lenses'
    at their centres, so that most images keep their sharpness.

    Args:
        lenses: of all views, each as often as it occurs.
        max_size: the longer side that images may have at most, pixels.
    Returns:
        The camera, and what the user should know about it.
    Raises:
        InputError: there is no such rectangle of a useful size.
    """
    distinct = list(dict.fromkeys(lenses))
    turn = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    directions = np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    reaches = np.array([_reach(lens, directions) for lens in distinct])
    half = _largest_rectangle(reaches.min(axis=0), directions, _usual_shape(lenses))
    focal = float(np.median([lens.central_focal() for lens in lenses]))
    if not (np.isfinite(focal) and half.all()):
        raise InputError(_nothing_in_common(Intrinsics(0, 0, 1.0, 1.0), distinct, reaches))
    largest = _LARGEST_GROWTH * max(max(lens.width, lens.height) for lens in distinct)
    focal = min(focal, min(largest, max_size or largest) / (2 * float(half.max())))
    for _ in range(200):
        camera = _camera(half, focal)
        if min(camera.width, camera.height) < _LEAST_SIDE:
            raise InputError(_nothing_in_common(camera, distinct, reaches))
        if all(_is_inside(lens, camera) for lens in distinct):
            return camera, _notes(camera, lenses)
        half = half * 0.998
    raise InputError(_nothing_in_common(camera, distinct, reaches))


def _lens(posed: PosedScenes, view: PosedView) -> Lens:
    return Lens.pinhole(posed.camera) if view.lens is None else view.lens


def _usual_shape(lenses: Sequence[Lens]) -> float:
    """Height over width of the lenses' images, in angles rather than in pixels (median)."""
    return float(np.median([(lens.height / lens.fy) / (lens.width / lens.fx) for lens in lenses]))


def _reach(lens: Lens, directions: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
    """How far from the axis, in normalised coordinates, a lens's image reaches in each direction.

    It ends at the image's edge, or before the model folds back or has no value any more.
    """
    widest = _WIDEST_PINHOLE if lens.straight else _WIDEST_ANGLE
    radii = np.tan(np.radians(widest) * np.arange(_RADII + 1) / _RADII)
    places = lens.project(radii[:, None, None] * directions)
    outward = directions * [lens.fx, lens.fy]
    with np.errstate(invalid="ignore"):
        rising = np.einsum("rni,ni->rn", places[1:] - places[:-1], outward) > 0
    fits = np.concatenate([_inside(lens, places[:1]), _inside(lens, places[1:]) & rising])
    if not fits[0].all():
        return np.zeros(len(directions))
    good = np.where(fits.all(axis=0), _RADII, fits.argmin(axis=0) - 1)
    low, high = radii[good], radii[np.minimum(good + 1, _RADII)]
    # Where the model folds, the image's edge is not what ends it, and the fold is within the step before.
    folds = ~rising[np.minimum(good, _RADII - 1), np.arange(len(directions))]
    low = np.where(folds, radii[np.maximum(good - 1, 0)], low)
    high = np.where(folds, low, high)
    for _ in range(30):
        middle = (low + high) / 2
        fit = _inside(lens, lens.project(middle[:, None] * directions))
        low, high = np.where(fit, middle, low), np.where(fit, high, middle)
    return low


def _inside(lens: Lens, places: Float[np.ndarray, "*batch 2"]) -> Shaped[np.ndarray, "*batch"]:
    """Whether places lie within a lens's image, up to the edges of its outermost pixels."""
    with np.errstate(invalid="ignore"):
        low = (places >= -0.5).all(axis=-1)
        return low & (places <= [lens.width - 0.5, lens.height - 0.5]).all(axis=-1)


def _largest_rectangle(
    reach: Float[np.ndarray, " n"], directions: Float[np.ndarray, "n 2"], shape: float
) -> Float[np.ndarray, "2"]:
    """Half sides of the largest rectangle about the axis that ends nowhere beyond ``reach``.

    Args:
        reach: how far each direction may go.
        shape: height over width, which is kept unless another one is worth it.
    """
    corners = np.concatenate([[np.arctan(shape)], np.radians(np.linspace(5, 85, 161))])
    sides = np.stack([np.cos(corners), np.sin(corners)], axis=-1)
    with np.errstate(divide="ignore"):
        # Where a rectangle with these half sides ends in each direction.
        ends = (sides[:, None] / np.abs(directions)).min(axis=-1)
    scales = (reach / ends).min(axis=-1)
    areas = scales**2 * sides.prod(axis=-1)
    best = 0 if areas.max() <= _WORTH_ANOTHER_SHAPE * areas[0] else int(areas.argmax())
    half = scales[best] * sides[best]
    if best == 0 or not half.all():
        return half
    # Between the shapes that were tried: as far as each side can go alone.
    for side in (0, 1):
        other = half[1 - side] * (1 - 1e-9)
        with np.errstate(divide="ignore"):
            beyond = other / np.abs(directions[:, 1 - side]) > reach
        half[side] = (reach * np.abs(directions[:, side]))[beyond].min()
    return half


def _camera(half: Float[np.ndarray, "2"], focal: float) -> Intrinsics:
    """The pinhole whose image holds as many whole pixels as fit."""
    width, height = (int(np.floor(2 * side * focal + 1e-3)) for side in half)
    return Intrinsics(width, height, focal, focal)


def _edge(camera: Intrinsics, outwards: float = 0.0) -> Float[np.ndarray, "n 2"]:
    """Normalised coordinates around an image: its outermost pixels' middles, or ``outwards`` of them."""
    x = (np.linspace(-outwards, camera.width - 1 + outwards, 200) - camera.cx) / camera.fx
    y = (np.linspace(-outwards, camera.height - 1 + outwards, 200) - camera.cy) / camera.fy
    top, right = np.stack([x, np.full(200, y[0])], -1), np.stack([np.full(200, x[-1]), y], -1)
    return np.concatenate([top, right, -top, -right])


def _is_inside(lens: Lens, camera: Intrinsics) -> bool:
    """Whether an image of the camera shows only what the lens has seen."""
    return bool(_inside(lens, lens.project(_edge(camera))).all())


def _kept(lens: Lens, camera: Intrinsics) -> float:
    """The share of a lens's image that an image of the camera shows."""
    x, y = lens.project(_edge(camera, 0.5)).T
    # The area within the edge by the trapezium rule (the shoelace formula).
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2 / (lens.width * lens.height))


def _notes(camera: Intrinsics, lenses: Sequence[Lens]) -> list[str]:
    """What was done to the images, in words."""
    shares = {lens: _kept(lens, camera) for lens in dict.fromkeys(lenses)}
    least, most = min(shares.values()), max(shares.values())
    angles = [2 * np.degrees(np.arctan(side / (2 * camera.fx))) for side in (camera.width, camera.height)]
    models = ", ".join(sorted({lens.model for lens in lenses}))
    kept = f"{100 * least:.0f} %"
    if round(100 * least) != round(100 * most):
        kept = f"between {100 * least:.0f} and {100 * most:.0f} %"
    count = "one camera" if len(shares) == 1 else f"{len(shares)} cameras"
    notes = [
        f"all images ({count}: {models}) were resampled to one centred pinhole of {camera.width} x "
        f"{camera.height} pixels, focal length {camera.fx:.5g} ({angles[0]:.0f} x {angles[1]:.0f} "
        f"degrees); it shows {kept} of what each showed"
    ]
    if least < 0.5:
        worst = min(shares, key=lambda lens: shares[lens])
        notes.append(
            f"the cameras have little in common: of the images of {worst.width} x {worst.height} pixels "
            f"with the focal length {worst.fx:.5g} only {100 * least:.0f} % are left; convert groups of "
            "similar cameras separately"
        )
    return notes


def _nothing_in_common(
    camera: Intrinsics, lenses: Sequence[Lens], reaches: Float[np.ndarray, "lenses n"]
) -> str:
    narrow = lenses[int(reaches.min(axis=1).argmin())]
    x, y = narrow.off_centre
    return (
        f"the cameras have no image in common about their optical axes: {camera.width} x {camera.height} "
        f"pixels would be left. The narrowest has {narrow.width} x {narrow.height} pixels, focal lengths "
        f"{narrow.fx:.5g}, {narrow.fy:.5g} and its principal point {x:+.5g}, {y:+.5g} pixels off the middle"
    )


def _same(lens: Lens, target: Lens) -> bool:
    """Whether a lens is the target up to rounding: less than a hundredth of a pixel at the corners."""
    if not lens.straight or (lens.width, lens.height) != (target.width, target.height):
        return False
    corners = np.array([[-1.0, -1.0], [1.0, 1.0]]) * [target.width / target.fx, target.height / target.fy] / 2
    return bool(np.abs(lens.project(corners) - target.project(corners)).max() < 0.01)


def _resampled(posed: PosedScenes, target_of: Callable[[Lens], Lens]) -> PosedScenes:
    """The same scenes with images, masks and depth maps looked up in another pinhole."""

    def resample(view: PosedView) -> PosedView:
        lens = _lens(posed, view)
        target = target_of(lens)
        if _same(lens, target):
            return view
        if max(lens.width, lens.height, target.width, target.height) > _LARGEST_SIDE:
            raise InputError(
                f"{view.image.path}: expected an image of at most {_LARGEST_SIDE} pixels a side, found "
                f"{lens.width} x {lens.height}; scale it down first"
            )
        size = (target.width, target.height)
        warp = Warp(lens, target, _opencv())
        image = Computed(view.image.path, partial(_picture, warp, view.image), size)
        companions: dict[str, Companion] = {}
        for suffix, companion in view.companions.items():
            path = companion.path if isinstance(companion, Blob | Computed) else view.image.path
            if suffix == names.DEPTH_SUFFIX:
                companions[suffix] = Computed(path, partial(_depth, warp, companion), size)
            elif "_mask" in suffix:
                companions[suffix] = Computed(path, partial(_mask, warp, companion), size)
            elif suffix.endswith(".png") and isinstance(companion, Blob | Computed):
                companions[suffix] = Computed(path, partial(_picture, warp, companion), size)
            else:
                companions[suffix] = companion
        amodal: dict[int, Companion] = {
            label: Computed(view.image.path, partial(_mask, warp, mask), size)
            for label, mask in view.amodal.items()
        }
        return replace(view, image=image, companions=companions, amodal=amodal)

    return posed.with_views(resample)


def _opencv() -> ModuleType:
    """OpenCV, which looks images up.

    Raises:
        InputError: it is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise InputError(
            "--undistort and --max-size need OpenCV: install the extra with pip install 'objnerf[photo]'"
        ) from error
    return cv2


@dataclass(frozen=True)
class Warp:
    """Looks up the images of a lens as a pinhole in the same place would have seen them.

    Attributes:
        source: the lens.
        target: the pinhole.
        cv2: OpenCV.
    """

    source: Lens
    target: Lens
    cv2: ModuleType

    @property
    def shrink(self) -> float:
        """Pixels of the source a pixel of the target, at the optical axis."""
        return self.source.central_focal() / self.target.central_focal()

    def smooth(
        self, picture: UInt8[np.ndarray, "height width 3"], reduced: int = 1
    ) -> UInt8[np.ndarray, "rows columns 3"]:
        """An image, by cubic interpolation; where it shrinks, by the mean of four places a pixel.

        Args:
            picture: of the source.
            reduced: by which whole factor it was shrunk already, each pixel the mean of so many.
        """
        parts = 1 if self.shrink / reduced <= _SHRINKS else 2
        return self._looked_up(picture, parts, reduced, self.cv2.INTER_CUBIC)

    def nearest(self, array: Shaped[np.ndarray, "*shape"]) -> Shaped[np.ndarray, "*looked_up"]:
        """A mask or depth map of the source's size: the nearest value, never a mean of two."""
        expected = (self.source.height, self.source.width)
        if array.shape[:2] != expected:
            raise InputError(
                f"expected a mask or depth map of its image's {expected[1]} x {expected[0]} pixels, found "
                f"{array.shape[1]} x {array.shape[0]}"
            )
        return self._looked_up(array, 1, 1, self.cv2.INTER_NEAREST)

    def places(
        self, first: int, last: int, parts: int = 1, reduced: int = 1
    ) -> Float[np.ndarray, "rows columns 2"]:
        """Where pixels of the target lie in an image of the source: column and row.

        Args:
            first, last: rows of the target, the last one not included.
            parts: places a pixel and side.
            reduced: by which whole factor the image was shrunk.
        """
        columns = (np.arange(self.target.width * parts) + 0.5) / parts - 0.5
        rows = (np.arange(first * parts, last * parts) + 0.5) / parts - 0.5
        x = (columns - self.target.cx) / self.target.fx
        y = (rows - self.target.cy) / self.target.fy
        points = np.stack(np.meshgrid(x, y), axis=-1)
        # A shrunk pixel covers whole pixels, counted from the corner of the first.
        return (self.source.project(points) + 0.5) / reduced - 0.5

    def _looked_up(
        self, array: Shaped[np.ndarray, "*shape"], parts: int, reduced: int, interpolation: int
    ) -> Shaped[np.ndarray, "*looked_up"]:
        width, height = self.target.width, self.target.height
        step = max(1, _STRIP // (width * parts * parts))
        strips = []
        for first in range(0, height, step):
            last = min(first + step, height)
            places = self.places(first, last, parts, reduced).astype(np.float32)
            strip = self.cv2.remap(
                array, places[..., 0], places[..., 1], interpolation, borderMode=self.cv2.BORDER_REPLICATE
            )
            if parts > 1:
                strip = self.cv2.resize(strip, (width, last - first), interpolation=self.cv2.INTER_AREA)
            strips.append(strip)
        return np.concatenate(strips)


def _picture(warp: Warp, image: Blob | Computed) -> UInt8[np.ndarray, "height width 3"]:
    picture, reduced = _shrunk(image, warp.shrink)
    return warp.smooth(picture, reduced)


def _mask(warp: Warp, companion: Companion) -> UInt8[np.ndarray, "height width 3"]:
    return warp.nearest(pixels(companion))


def _depth(warp: Warp, companion: Companion) -> Float[np.ndarray, "height width"]:
    return warp.nearest(depth_map(companion))


def _shrunk(image: Blob | Computed, shrink: float) -> tuple[UInt8[np.ndarray, "height width 3"], int]:
    """An image, decoded at a smaller size where that is enough, and the whole factor by which it is smaller.

    JPEG is decoded at a half, a quarter or an eighth directly (libjpeg's scaled transform), which is several
    times faster; what is left is averaged over whole blocks of pixels.
    """
    factor = int(shrink)
    if factor < 2:
        return pixels(image), 1
    if isinstance(image, Blob):
        drafted = 2 ** min(3, factor.bit_length() - 1)
        with opened(image) as picture:
            width, height = picture.size
            if picture.format == "JPEG" and picture.mode in ("RGB", "L"):
                size = (-(-width // drafted), -(-height // drafted))
                picture.draft("RGB", size)
                if picture.size == size:
                    rest = factor // drafted
                    return np.asarray(picture.convert("RGB").reduce(rest)), drafted * rest
    whole = pixels(image)
    if isinstance(image, Computed):
        # An image that was turned: its last pixels may be the first ones of the file, and blocks must not
        # part.
        factor = next(f for f in range(factor, 0, -1) if whole.shape[0] % f == 0 == whole.shape[1] % f)
    return np.asarray(Image.fromarray(whole).reduce(factor)), factor
