"""Figures on decoded images, masks and depth maps. Nothing here opens files, and nothing judges.

Masks and depth maps are measured for many views at once: at usual sizes a call costs more than what it
computes.
"""

import itertools
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Shaped, UInt8, UInt32
from PIL import Image

from objnerf.dataset.files import BACKGROUND_COLOUR, OBJECT_COLOURS, grey_levels
from validate.measure.crossview import DepthStack, compare_depths, stack_depths, thinning
from validate.read import Decoded
from validate.settings import Limits, Settings

#: Mask colours that are kept a view, as many as the format has; a mask with more is no instance mask.
MAX_COLOURS = 1 + len(OBJECT_COLOURS)

#: So many specks of colours that are not the format's are no objects but the blended colours of anti-aliased
#: edges.
SPECKS = 4

#: Values of a depth map, evenly spread, from which statistics are taken.
_SAMPLE = 400

#: A mask with more runs of one colour is summed up by colour at once, so that noise takes no memory.
_MANY_RUNS = 4096

_PALETTE = np.array([r << 16 | g << 8 | b for r, g, b in (BACKGROUND_COLOUR, *OBJECT_COLOURS)], np.uint32)
_STANDARD_BACKGROUND = int(_PALETTE[0])


class ImageFigures(NamedTuple):
    """Figures on one image, called like the columns of ``ROW`` that they go to."""

    width: int
    height: int
    bits: int
    alpha: int
    range: int
    dark: float
    bright: float
    print: int


def measure_image(decoded: Decoded) -> tuple[str, ImageFigures]:
    """Mode and format of an image, as ``RGB PNG``, and its figures."""
    image = decoded.image
    width, height = image.size
    mode = f"{image.mode} {decoded.format}"
    bits = min(decoded.bits, 255) if decoded.bits != 8 or not image.mode.startswith("I;16") else 16
    alpha = 255
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        extrema: Any = rgba.getchannel("A").getextrema()
        alpha = extrema[0]
        image = rgba.convert("RGB")
    elif image.mode.startswith(("I", "F")):
        values = np.asarray(image).astype(np.float64)
        low, high = float(values.min()), float(values.max())
        span = 0 if high <= low else 255
        return mode, ImageFigures(width, height, bits, alpha, span, 0.0, 0.0, zlib.crc32(values.tobytes()))
    elif image.mode != "RGB":
        image = image.convert("RGB")
    # Every second pixel of every second row tells as much about a picture as all of them.
    small = image.resize((max(1, width // 2), max(1, height // 2)), Image.Resampling.NEAREST)
    histogram = small.histogram()
    n = small.size[0] * small.size[1]
    # A channel that spans at most three levels has over a fourth of its pixels on one of them.
    narrow = all(max(histogram[start : start + 256]) * 5 > n for start in (0, 256, 512))
    return mode, ImageFigures(
        width,
        height,
        bits,
        alpha,
        max(_span(histogram[start : start + 256]) for start in (0, 256, 512)) if narrow else 255,
        min(sum(histogram[:9]), sum(histogram[256:265]), sum(histogram[512:521])) / n,
        min(sum(histogram[250:256]), sum(histogram[506:512]), sum(histogram[762:])) / n,
        # Equal pictures have equal histograms: this finds suspects, which are then compared as a whole.
        hash(tuple(histogram)) & 0xFFFFFFFF,
    )


def _span(counts: list[int]) -> int:
    """Levels between the lowest and the highest that occur."""
    occurring = [level for level, count in enumerate(counts) if count]
    return occurring[-1] - occurring[0]


class MaskRuns(NamedTuple):
    """A mask as runs of one colour, line after line.

    Attributes:
        size: width and height.
        ends: running index of each run's last pixel.
        colours: each run's colour, as four bytes of R, G, B and padding.
        border: the commonest colour of the first line, as four bytes.
        sample: the pixels where ``sampling`` looks, as four bytes.
    """

    size: tuple[int, int]
    ends: Int[np.ndarray, " runs"]
    colours: UInt32[np.ndarray, " runs"]
    border: np.uint32
    sample: UInt32[np.ndarray, "rows columns"]


def find_runs(decoded: Decoded) -> MaskRuns:
    """Take from a mask what ``measure_masks`` needs."""
    image = decoded.image
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image).astype(np.int64)
        image = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    if image.mode != "RGB":
        image = image.convert("RGB")
    width, height = image.size
    # Pillow holds RGB in four bytes: nothing is repacked.
    flat = np.frombuffer(image.tobytes("raw", "RGBX"), dtype=np.uint32)
    is_end = np.empty(len(flat), dtype=bool)
    is_end[-1] = True
    np.not_equal(flat[1:], flat[:-1], out=is_end[:-1])
    ends = is_end.nonzero()[0]
    colours = flat[ends]
    if ends[0] >= width - 1:
        border = colours[0]
    else:
        # What surrounds the picture is background, whatever its colour.
        found, pixels = np.unique(flat[:width], return_counts=True)
        border = found[pixels.argmax()]
    if len(ends) > _MANY_RUNS:
        colours, pixels = np.unique(flat, return_counts=True)
        ends = np.cumsum(pixels) - 1
    step = sampling(height, width)
    sample = flat.reshape(height, width)[::step, ::step].copy()
    return MaskRuns((width, height), ends, colours, border, sample)


def _packed(colours: UInt32[np.ndarray, "*n"]) -> UInt32[np.ndarray, "*n"]:
    """0xRRGGBB of colours as four bytes of R, G, B and padding."""
    return colours.view(">u4").astype(np.uint32) >> np.uint32(8)


def measure_masks(
    masks: Sequence[MaskRuns], numbers: Int[np.ndarray, " masks"], rows: Shaped[np.ndarray, "all"]
) -> None:
    """Fill in the figures on masks: which colours they have, and on how many pixels.

    Args:
        numbers: the row of each mask.
    """
    counts = np.array([len(mask.ends) for mask in masks])
    sizes = np.array([mask.size for mask in masks])
    # One mask after the other, as if they were one long line.
    before = np.cumsum(sizes[:, 0] * sizes[:, 1]) - sizes[:, 0] * sizes[:, 1]
    ends = np.concatenate([mask.ends for mask in masks]) + np.repeat(before, counts)
    lengths = np.empty_like(ends)
    lengths[0] = ends[0] + 1
    np.subtract(ends[1:], ends[:-1], out=lengths[1:])
    colours = _packed(np.concatenate([mask.colours for mask in masks]))
    mask_of = np.repeat(np.arange(len(masks)), counts)
    keys, inverse = np.unique(mask_of << 24 | colours, return_inverse=True)
    pixels = np.bincount(inverse, weights=lengths).astype(np.int64)
    mask_of, colours = keys >> 24, keys & 0xFFFFFF
    # Most frequent first.
    order = np.lexsort((-colours, -pixels, mask_of))
    n_colours = np.bincount(mask_of, minlength=len(masks))
    slots = np.arange(len(keys)) - np.repeat(np.cumsum(n_colours) - n_colours, n_colours)
    order, slots = order[slots < MAX_COLOURS], slots[slots < MAX_COLOURS]
    rows["mask_width"][numbers], rows["mask_height"][numbers] = sizes.T
    rows["border"][numbers] = _packed(np.array([mask.border for mask in masks]))
    rows["n_colours"][numbers] = n_colours
    rows["colours"][numbers[mask_of[order]], slots] = colours[order]
    rows["pixels"][numbers[mask_of[order]], slots] = pixels[order]


@lru_cache(maxsize=64)
def sampling(height: int, width: int) -> int:
    """Pixels between the neighbours of a sample of some hundred, across and down."""
    thin = thinning(height, width)
    n = len(range(0, height, thin)) * len(range(0, width, thin))
    return thin * max(1, int(np.sqrt(n / _SAMPLE)))


class DepthValues(NamedTuple):
    """What is kept of a depth map.

    Attributes:
        number: the view's row.
        group: views of one group are compared with each other.
        size: width and height of the whole map.
        thinned: every so many values of it (see ``thinning``).
        is_sound: finite and positive everywhere; None where ``thinned`` is the whole map, which will tell.
        mask: the view's mask, if it is as large.
    """

    number: int
    group: int
    size: tuple[int, int]
    thinned: Float32[np.ndarray, "rows columns"]
    is_sound: bool | None
    mask: MaskRuns | None


def keep_values(
    number: int,
    group: int,
    depth: Float32[np.ndarray, "height width"],
    mask: MaskRuns | None,
    row: np.void,
) -> DepthValues:
    """Take from a depth map what ``measure_depths`` needs.

    What must hold for a whole map is looked at here when only a part of it is kept.
    """
    height, width = depth.shape
    if mask is not None and mask.size != (width, height):
        mask = None
    step = thinning(height, width)
    if step == 1:
        return DepthValues(number, group, (width, height), depth, None, mask)
    is_sound = bool(0 < depth.min() <= depth.max() < np.inf)
    if not is_sound:
        _measure_faults(depth, row)
    # A copy, so that the whole map can go.
    return DepthValues(number, group, (width, height), depth[::step, ::step].copy(), is_sound, mask)


def _measure_faults(depth: Float32[np.ndarray, "height width"], row: np.void) -> None:
    """Fill in how much of a depth map is finite, and positive."""
    finite = np.isfinite(depth)
    row["depth_nan"] = np.isnan(depth).any()
    row["depth_finite"] = finite.mean()
    row["depth_positive"] = (depth[finite] > 0).mean() if finite.any() else 0.0


def measure_depths(
    alike: Sequence[DepthValues],
    poses: Float[np.ndarray, "views 4 4"],
    lenses: Float[np.ndarray, "views 4"],
    rows: Shaped[np.ndarray, "all"],
    settings: Settings,
    limits: Limits,
) -> None:
    """Fill in the statistics of depth maps, and compare those of a scene with each other.

    Args:
        alike: depth maps of one size, group by group; their masks must have been measured.
        poses: ``world_from_camera`` of each; nan where there is none.
        lenses: of each, as ``Lenses.numbers``.
    """
    numbers = np.array([depth.number for depth in alike])
    thinned = np.stack([depth.thinned for depth in alike])
    stack = stack_depths(thinned, alike[0].size, lenses, poses)
    step = sampling(alike[0].size[1], alike[0].size[0]) // thinning(alike[0].size[1], alike[0].size[0])
    sample = thinned[:, ::step, ::step].reshape(len(alike), -1)
    good = (sample > 0) & (sample < np.inf)
    if alike[0].is_sound is None:
        whole = thinned.reshape(len(alike), -1)
        sound = (whole.min(axis=1) > 0) & (whole.max(axis=1) < np.inf)
        for place in (~sound).nonzero()[0]:
            _measure_faults(thinned[place], rows[numbers[place]])
    else:
        sound = np.array([depth.is_sound for depth in alike])
    rows["depth_finite"][numbers[sound]] = rows["depth_positive"][numbers[sound]] = 1.0
    n = np.count_nonzero(good, axis=1)
    # What is no depth sorts behind it.
    sample = np.where(good, sample, np.float32(np.inf))
    ordered = np.sort(sample, axis=1)
    some = n.nonzero()[0]
    last = n[some] - 1
    chosen = numbers[some]
    rows["depth_low"][chosen] = ordered[some, last // 200]
    rows["depth_middle"][chosen] = ordered[some, last // 2]
    rows["depth_high"][chosen] = ordered[some, last - last // 200]
    before = np.count_nonzero(sample < np.array([[settings.near]]), axis=1)
    within = np.count_nonzero(sample <= np.array([[settings.far]]), axis=1)
    rows["before_near"][chosen] = before[some] / n[some]
    rows["beyond_far"][chosen] = 1.0 - within[some] / n[some]
    posed = np.isfinite(poses[:, 0, 0])
    _measure_objects(alike, stack, step, posed, good, numbers, rows, settings)
    comparable = (posed & (n > 0)).nonzero()[0]
    if len(comparable) < 2:
        return
    groups = [len(list(group)) for _, group in itertools.groupby(alike[place].group for place in comparable)]
    if len(comparable) < len(alike):
        numbers = numbers[comparable]
        stack = stack_depths(thinned[comparable], alike[0].size, lenses[comparable], poses[comparable])
    compare_depths(stack, tuple(groups), numbers, rows, limits.depth_tolerance)


def _measure_objects(
    alike: Sequence[DepthValues],
    stack: DepthStack,
    step: int,
    posed: Bool[np.ndarray, " views"],
    good: Bool[np.ndarray, "views samples"],
    numbers: Int[np.ndarray, " views"],
    rows: Shaped[np.ndarray, "all"],
    settings: Settings,
) -> None:
    """Where the foreground's points lie, in the world, against the locality box.

    Args:
        step: of the sample in the stack's depth maps.
        good: sampled values that are depths.
    """
    masked = [place for place, depth in enumerate(alike) if depth.mask is not None]
    if not masked:
        return
    places = np.array(masked)
    backgrounds, known, ambiguous = find_backgrounds(rows[numbers[places]])
    known &= posed[places]
    places, backgrounds, ambiguous = places[known], backgrounds[known], ambiguous[known]
    if not len(places):
        return
    samples = _packed(
        np.stack([mask.sample for place in places if (mask := alike[place].mask) is not None])
    ).reshape(len(places), -1)
    foreground = samples != backgrounds[:, None]
    for place in ambiguous.nonzero()[0]:
        foreground[place] = _greys(samples[place]) != _greys(backgrounds[place : place + 1])
    foreground &= good[places]
    depth = stack.depth[:, ::step, ::step]
    across = depth.shape[2]
    # Points of the foreground alone, which is a small part of most pictures.
    place, point = foreground.nonzero()
    row, column = np.divmod(point, across)
    z = depth[places[place], row, column]
    x, y = stack.offsets
    x, y = x[places[place], column * step], y[places[place], row * step]
    reach = np.zeros(len(z))
    for axis in range(3):
        right, down, forward, position = stack.poses[places, axis].T[:, place]
        np.maximum(reach, np.abs((right * x + down * y + forward) * z + position), out=reach)
    seen = np.bincount(place, minlength=len(places))
    inside = np.bincount(place[reach <= settings.obj_scale], minlength=len(places))
    some = seen.nonzero()[0]
    first, last = (np.cumsum(seen) - seen)[some], seen[some] - 1
    reach, z = reach[np.lexsort((reach, place))], z[np.lexsort((z, place))]
    chosen = numbers[places[some]]
    rows["objects_seen"][chosen] = seen[some]
    rows["objects_inside"][chosen] = inside[some]
    # A few pixels at outlines have the background's depth: leave out the last 2 %.
    rows["objects_extent"][chosen] = reach[first + (0.98 * last).astype(np.intp)]
    rows["objects_near"][chosen] = z[first + (0.01 * last).astype(np.intp)]
    rows["objects_far"][chosen] = z[first + (0.98 * last).astype(np.intp)]


def find_backgrounds(
    rows: Shaped[np.ndarray, " masks"],
) -> tuple[UInt32[np.ndarray, " masks"], Bool[np.ndarray, " masks"], Bool[np.ndarray, " masks"]]:
    """What is background in each mask.

    Returns:
        Its colour (0xRRGGBB), whether the mask shows beyond doubt what is an object, and whether another
        colour has the background's grey level (labels are grey levels: that is background as well).
    """
    colours, pixels = rows["colours"], rows["pixels"]
    present = pixels > 0
    standard = ((colours == _STANDARD_BACKGROUND) & present).any(axis=1)
    background = np.where(standard, np.uint32(_STANDARD_BACKGROUND), rows["border"])
    greys, level = _greys(colours), _greys(background)[:, None]
    small = present & (pixels < 0.001 * pixels.sum(axis=1)[:, None]) & ~in_palette(colours)
    specks = np.count_nonzero(small, axis=1)
    known = (rows["n_colours"] <= MAX_COLOURS) & (specks < SPECKS)
    known &= np.count_nonzero(present & (greys < level), axis=1) == 1
    return background, known, np.count_nonzero(present & (greys == level), axis=1) > 1


def in_palette(colours: UInt32[np.ndarray, "*n"]) -> Bool[np.ndarray, "*n"]:
    """Which of the colours (0xRRGGBB) are the format's."""
    return np.isin(colours, _PALETTE)


def _greys(colours: UInt32[np.ndarray, "*n"]) -> UInt8[np.ndarray, "*n"]:
    """Grey levels of 0xRRGGBB."""
    # The four bytes of a big-endian number are 0, R, G and B.
    return grey_levels(colours.astype(">u4")[..., None].view(np.uint8)[..., 1:])
