"""Figures on images, masks and depth maps: what the checks on pictures are computed from.

Every file is opened once, by worker processes, a few scenes at a time; what comes back is a row of numbers a
view, so that memory does not grow with the pictures. Nothing here judges.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Shaped, UInt8
from PIL import Image
from pydantic import ValidationError

from objnerf.console import Progress, no_progress
from objnerf.dataset import names
from objnerf.dataset.card import SCENE_FOLDER, SceneCard, describe_validation_error
from objnerf.dataset.files import BACKGROUND_COLOUR, grey_levels
from objnerf.dataset.index import View
from validate.crossview import DepthStack, compare_depths, stack_depths
from validate.reading import Unreadable, read_bytes
from validate.settings import Limits, Settings
from validate.workers import Workers

#: Larger pictures are refused unopened: a few bytes of PNG can unfold to gigabytes.
MAX_PIXELS = 1 << 26

#: Mask colours that are kept a view; a mask with more is no instance mask.
MAX_COLOURS = 24

#: So many specks of colour in a mask are no objects but the blended colours of anti-aliased edges.
SPECKS = 4

#: Depth maps that are held at once: scenes may have hundreds of views.
_STACK = 32

#: Views in one piece of work; scenes are not divided.
_CHUNK_VIEWS = 64

ABSENT, READ, BROKEN = 0, 1, 2

#: One row a view.
ROW = np.dtype(
    [
        ("image", "u1"),
        ("width", "i4"),
        ("height", "i4"),
        ("bits", "u1"),
        ("alpha", "u1"),
        ("range", "i2"),
        ("dark", "f4"),
        ("bright", "f4"),
        ("print", "u4"),
        ("mask", "u1"),
        ("mask_width", "i4"),
        ("mask_height", "i4"),
        ("n_colours", "i4"),
        ("colours", "u4", (MAX_COLOURS,)),
        ("pixels", "i4", (MAX_COLOURS,)),
        ("border", "u4"),
        ("depth", "u1"),
        ("depth_float32", "?"),
        ("depth_dims", "i4", (4,)),
        ("depth_nan", "?"),
        ("depth_finite", "f4"),
        ("depth_positive", "f4"),
        ("depth_low", "f4"),
        ("depth_middle", "f4"),
        ("depth_high", "f4"),
        ("before_near", "f4"),
        ("beyond_far", "f4"),
        ("objects_seen", "i4"),
        ("objects_inside", "i4"),
        ("objects_extent", "f4"),
        ("objects_near", "f4"),
        ("objects_far", "f4"),
        ("landed", "i4"),
        ("agree", "i4"),
        ("contradict", "i4"),
        ("pair_agree", "f4"),
        ("pair_contradict", "f4"),
    ]
)


@dataclass(frozen=True)
class SceneNote:
    """What a scene's description says against what is on disk.

    Attributes:
        problem: why it cannot be used.
        names_differ: a view that it names and that is not there.
        pose_errors: view index to the largest difference between described and stored pose.
        objects: how many objects it describes.
    """

    problem: str | None = None
    names_differ: str | None = None
    pose_errors: dict[int, float] = field(default_factory=dict)
    objects: int | None = None


@dataclass(frozen=True)
class Pictures:
    """What was read from pictures.

    Attributes:
        rows: one ``ROW`` a view; views that were not opened have 0 in ``image``, ``mask`` and ``depth``.
        opened: views whose files were opened (all but for ``--sample``).
        modes: Pillow's mode and format of images, as ``"RGB PNG"``.
        problems: ``(view, kind)`` with kind ``image``, ``mask`` or ``depth`` to what is wrong, in words.
        scene_notes: what ``scenes/*.json`` says, by scene id.
    """

    rows: Shaped[np.ndarray, "views"]
    opened: Bool[np.ndarray, "views"]
    modes: dict[int, str]
    problems: dict[tuple[int, str], str]
    scene_notes: dict[int, SceneNote] = field(default_factory=dict)


@dataclass(frozen=True)
class _Task:
    """A few scenes' worth of files to open."""

    root: Path
    indices: tuple[int, ...]
    scenes: tuple[int, ...]
    scene_ids: tuple[int, ...]
    cards: dict[int, str]
    stems: tuple[str, ...]
    has_mask: tuple[bool, ...]
    has_depth: tuple[bool, ...]
    stored: Float[np.ndarray, "views 4 4"]
    poses: Float[np.ndarray, "views 4 4"]
    settings: Settings
    limits: Limits


@dataclass
class _Result:
    indices: tuple[int, ...]
    rows: Shaped[np.ndarray, "views"]
    modes: dict[int, str] = field(default_factory=dict)
    problems: dict[tuple[int, str], str] = field(default_factory=dict)
    scene_notes: dict[int, SceneNote] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """What is to be opened, and what is known of it already.

    Attributes:
        views: all views, scene by scene.
        scene_index: scene of each view, 0 … n_scenes - 1.
        cards: file names in ``scenes/`` by scene id.
        stored: the matrices in the pose files; nan where there is none.
        poses: ``world_from_camera`` to compute with (OpenCV axes); nan where there is none.
    """

    root: Path
    views: Sequence[View]
    scene_index: Int[np.ndarray, "views"]
    cards: dict[int, str]
    stored: Float[np.ndarray, "views 4 4"]
    poses: Float[np.ndarray, "views 4 4"]


def gather(
    source: Source,
    opened: Bool[np.ndarray, "views"],
    settings: Settings,
    limits: Limits,
    workers: Workers,
    progress: Progress = no_progress,
) -> Pictures:
    """Open the images, masks and depth maps of the chosen views.

    Args:
        opened: which views to open.
    Raises:
        WorkError: a worker process died.
    """
    rows = np.zeros(len(source.views), dtype=ROW)
    gathered = Pictures(rows, opened, {}, {})
    total = int(opened.sum())
    done = 0
    tasks = _tasks(source, opened, settings, limits)
    for result in workers.map(_survey_chunk, tasks):
        rows[list(result.indices)] = result.rows
        gathered.modes.update(result.modes)
        gathered.problems.update(result.problems)
        gathered.scene_notes.update(result.scene_notes)
        done += len(result.indices)
        progress(done, total, "")
    return gathered


def _tasks(
    source: Source, opened: Bool[np.ndarray, "views"], settings: Settings, limits: Limits
) -> Iterator[_Task]:
    batch: list[int] = []
    for position in np.flatnonzero(opened):
        view = int(position)
        if len(batch) >= _CHUNK_VIEWS and source.scene_index[view] != source.scene_index[batch[-1]]:
            yield _task(source, batch, settings, limits)
            batch = []
        batch.append(view)
    if batch:
        yield _task(source, batch, settings, limits)


def _task(source: Source, batch: list[int], settings: Settings, limits: Limits) -> _Task:
    views = [source.views[view] for view in batch]
    return _Task(
        root=source.root,
        indices=tuple(batch),
        scenes=tuple(int(source.scene_index[view]) for view in batch),
        scene_ids=tuple(view.scene for view in views),
        cards={view.scene: source.cards[view.scene] for view in views if view.scene in source.cards},
        stems=tuple(view.stem for view in views),
        has_mask=tuple(names.MASK_SUFFIX in view.companions for view in views),
        has_depth=tuple(names.DEPTH_SUFFIX in view.companions for view in views),
        stored=source.stored[batch],
        poses=source.poses[batch],
        settings=settings,
        limits=limits,
    )


def _survey_chunk(task: _Task) -> _Result:
    """Open the files of a few scenes and measure them."""
    rows = np.zeros(len(task.indices), dtype=ROW)
    result = _Result(task.indices, rows)
    start = 0
    while start < len(task.indices):
        stop = start
        while stop < len(task.indices) and task.scenes[stop] == task.scenes[start]:
            stop += 1
        _survey_scene(task, start, stop, result)
        scene = task.scene_ids[start]
        if scene in task.cards:
            result.scene_notes[scene] = read_scene_note(task, start, stop)
        start = stop
    return result


def _survey_scene(task: _Task, start: int, stop: int, result: _Result) -> None:
    """Open the files of one scene and fill in the rows of its views."""
    depths: dict[tuple[int, ...], list[tuple[int, np.ndarray, np.ndarray | None]]] = {}
    for position in range(start, stop):
        row = result.rows[position]
        view = task.indices[position]
        base = f"{task.root}/{task.stems[position]}"
        try:
            mode = measure_image(decode_image(read_bytes(base + ".png")), row)
            row["image"] = READ
            if mode != "RGB PNG":
                result.modes[view] = mode
        except Unreadable as problem:
            row["image"] = BROKEN
            result.problems[view, "image"] = str(problem)
        mask = None
        if task.has_mask[position]:
            try:
                mask = measure_mask(decode_image(read_bytes(base + names.MASK_SUFFIX)), row)
                row["mask"] = READ
            except Unreadable as problem:
                row["mask"] = BROKEN
                result.problems[view, "mask"] = str(problem)
        if task.has_depth[position]:
            try:
                depth = decode_depth(read_bytes(base + names.DEPTH_SUFFIX), row)
                row["depth"] = READ
            except Unreadable as problem:
                row["depth"] = BROKEN
                result.problems[view, "depth"] = str(problem)
                continue
            if depth is not None:
                depths.setdefault(depth.shape, []).append((position, depth, mask))
    # Views of one size are measured together: at these sizes a call costs more than what it computes.
    for alike in depths.values():
        for first in range(0, len(alike), _STACK):
            _measure_depths(task, alike[first : first + _STACK], result.rows)


def read_scene_note(task: _Task, start: int, stop: int) -> SceneNote:
    """Compare a scene's description with the names and poses on disk."""
    scene = task.scene_ids[start]
    path = task.root / SCENE_FOLDER / task.cards[scene]
    try:
        card = SceneCard.model_validate_json(read_bytes(path))
    except Unreadable as problem:
        return SceneNote(problem=str(problem))
    except ValidationError as error:
        return SceneNote(problem=describe_validation_error(error))
    if card.scene != scene:
        return SceneNote(problem=f"it is about scene {card.scene}")
    stems = {task.stems[position]: position for position in range(start, stop)}
    absent = sorted({view.stem for view in card.views} - set(stems))
    errors = {}
    for view in card.views:
        position = stems.get(view.stem)
        if position is None:
            continue
        try:
            described = view.matrix()
        except ValueError:
            described = np.zeros(0)
        if described.shape != (4, 4) or not np.isfinite(described).all():
            return SceneNote(problem=f"the pose of {view.stem} in it is no 4×4 matrix of finite numbers")
        if not np.isfinite(task.stored[position]).all():
            continue
        # Poses in a wrong convention are named as such; what counts then is whether the mended one fits.
        difference = np.abs(described - task.stored[position]).max()
        if np.isfinite(task.poses[position]).all():
            difference = min(difference, np.abs(described - task.poses[position]).max())
        errors[task.indices[position]] = float(difference)
    return SceneNote(None, absent[0] if absent else None, errors, len(card.objects))


@dataclass(frozen=True)
class Decoded:
    """A decoded picture, and what its file says that the pixels don't."""

    image: Image.Image
    format: str
    bits: int


def decode_image(content: bytes) -> Decoded:
    """Decode a picture from the bytes of its file.

    Raises:
        Unreadable: empty, truncated, corrupted, too large, or no image.
    """
    if not content:
        raise Unreadable("an empty file")
    bits = 8
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        bits = _check_png(content)
    try:
        if content.startswith(b"\x89PNG"):
            image: Image.Image = Image.open(io.BytesIO(content), formats=("PNG",))
            image.load()
        else:
            image = _decode_other(content)
    except Unreadable:
        raise
    except MemoryError as error:
        raise Unreadable("it needs more memory than there is") from error
    except Exception as error:
        # Pillow's plug-ins raise whatever they stumble over on hostile bytes; all of it means the same.
        reason = " ".join(str(error).split()) or type(error).__name__
        if "cannot identify" in reason:
            reason = "its bytes are in no image format"
        raise Unreadable(f"it cannot be decoded ({reason[:120]})") from error
    return Decoded(image, image.format or "unknown", bits)


def _decode_other(content: bytes) -> Image.Image:
    """Decode what is no PNG though it is called so."""
    with warnings.catch_warnings():
        # Pillow only warns of pictures that are very large.
        warnings.simplefilter("error")
        image = Image.open(io.BytesIO(content))
        if image.size[0] * image.size[1] > MAX_PIXELS:
            raise Unreadable(f"{image.size[0]}×{image.size[1]} pixels, more than any loader takes")
        image.load()
    return image


def _check_png(content: bytes) -> int:
    """Walk a PNG's chunks: bit depth a channel, after checking size, checksums and the end.

    Pillow does not verify the checksums of pixel data, so a flipped bit can pass as a strange picture.
    """
    if len(content) < 33 or content[12:16] != b"IHDR":
        raise Unreadable("a truncated PNG: its header is cut off")
    width, height, bits = struct.unpack(">IIB", content[16:25])
    if width == 0 or height == 0 or width * height > MAX_PIXELS:
        raise Unreadable(f"a PNG of {width}×{height} pixels")
    position = 8
    while position + 12 <= len(content):
        (length,) = struct.unpack(">I", content[position : position + 4])
        kind = content[position + 4 : position + 8]
        end = position + 8 + length
        if end + 4 > len(content):
            break
        (stored,) = struct.unpack(">I", content[end : end + 4])
        if zlib.crc32(memoryview(content)[position + 4 : end]) != stored:
            raise Unreadable(f"a damaged PNG: the checksum of its {kind.decode('latin-1')} chunk is wrong")
        if kind == b"IEND":
            return int(bits)
        position = end + 4
    raise Unreadable("a truncated PNG: it ends before its last chunk")


def measure_image(decoded: Decoded, row: np.void) -> str:
    """Fill in a row's figures on an image; its mode and format, as ``RGB PNG``."""
    image = decoded.image
    mode = f"{image.mode} {decoded.format}"
    row["width"], row["height"] = image.size
    row["bits"] = min(decoded.bits, 255) if decoded.bits != 8 or not image.mode.startswith("I;16") else 16
    row["alpha"] = 255
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        row["alpha"] = rgba.getchannel("A").getextrema()[0]
        if mode == "RGBA PNG" and row["alpha"] == 255:
            mode = "RGB PNG"
        image = rgba.convert("RGB")
    elif image.mode.startswith(("I", "F")):
        values = np.asarray(image).astype(np.float64)
        low, high = float(values.min()), float(values.max())
        row["range"] = 0 if high <= low else 255
        row["print"] = zlib.crc32(values.tobytes())
        return mode
    elif image.mode != "RGB":
        image = image.convert("RGB")
    # Every second pixel of every second row tells as much about a picture as all of them.
    small = image.resize((max(1, image.size[0] // 2), max(1, image.size[1] // 2)), Image.Resampling.NEAREST)
    histogram = small.histogram()
    n = small.size[0] * small.size[1]
    channels = histogram[:256], histogram[256:512], histogram[512:]
    # A channel that spans at most three levels has over a fourth of its pixels on one of them.
    if min(max(channel) for channel in channels) * 5 > n:
        row["range"] = max(_span(channel) for channel in channels)
    else:
        row["range"] = 255
    row["dark"] = min(sum(channel[:9]) for channel in channels) / n
    row["bright"] = min(sum(channel[250:]) for channel in channels) / n
    # Equal pictures have equal histograms: this finds suspects, which are then compared as a whole.
    row["print"] = hash(tuple(histogram)) & 0xFFFFFFFF
    return mode


def _span(counts: list[int]) -> int:
    """Levels between the lowest and the highest that occur."""
    occurring = [level for level, count in enumerate(counts) if count]
    return occurring[-1] - occurring[0]


def measure_mask(decoded: Decoded, row: np.void) -> UInt8[np.ndarray, "height width"]:
    """Fill in a row's figures on a mask; its grey levels."""
    image = decoded.image
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image).astype(np.int64)
        image = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    if image.mode != "RGB":
        image = image.convert("RGB")
    width, height = image.size
    row["mask_width"], row["mask_height"] = width, height
    grey = image.convert("L")
    raw = grey.tobytes()
    colours = _colours_by_grey(image, grey, raw) or _colours_by_pixel(image)
    row["n_colours"] = len(colours)
    for slot, (pixels, packed) in enumerate(sorted(colours, reverse=True)[:MAX_COLOURS]):
        row["colours"][slot] = packed
        row["pixels"][slot] = pixels
    # What surrounds the picture is background, whatever its colour: the commonest level of the first line.
    line = raw[:width]
    commonest = max(set(line), key=line.count)
    row["border"] = _packed(image, line.index(commonest))
    return np.frombuffer(raw, dtype=np.uint8).reshape(height, width)


def _colours_by_grey(image: Image.Image, grey: Image.Image, raw: bytes) -> list[tuple[int, int]] | None:
    """``(pixels, 0xRRGGBB)`` of a picture with one colour a grey level; None when it is not so.

    Much faster than looking at every pixel's colour: one pixel of each grey level gives the colour, and the
    histograms of red, green and blue, of every third pixel of every third row, tell whether the others have
    it too.
    """
    counts = grey.histogram()
    levels = [level for level, count in enumerate(counts) if count]
    if len(levels) > 2 * MAX_COLOURS:
        return None
    colours = {level: _packed(image, raw.index(level)) for level in levels}
    size = (max(1, image.size[0] // 3), max(1, image.size[1] // 3))
    rest = image.resize(size, Image.Resampling.NEAREST).histogram()
    of_grey = grey.resize(size, Image.Resampling.NEAREST).histogram()
    for level, packed in colours.items():
        rest[packed >> 16] -= of_grey[level]
        rest[256 + (packed >> 8 & 255)] -= of_grey[level]
        rest[512 + (packed & 255)] -= of_grey[level]
    return None if any(rest) else [(counts[level], packed) for level, packed in colours.items()]


def _colours_by_pixel(image: Image.Image) -> list[tuple[int, int]]:
    """``(pixels, 0xRRGGBB)`` of all colours of a picture."""
    found: Any = image.getcolors(image.size[0] * image.size[1])
    return [(pixels, red << 16 | green << 8 | blue) for pixels, (red, green, blue) in found]


def _packed(image: Image.Image, index: int) -> int:
    """0xRRGGBB of the pixel with a running index."""
    row, column = divmod(index, image.size[0])
    value: Any = image.getpixel((column, row))
    return value[0] << 16 | value[1] << 8 | value[2]


@lru_cache(maxsize=64)
def _npy_header(header: bytes, version: tuple[int, int]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, Fortran order and type from the header of a .npy file; all files of a dataset share one."""
    stream = io.BytesIO(header)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    return np.lib.format.read_array_header_2_0(stream)


def decode_depth(content: bytes, row: np.void) -> Float32[np.ndarray, "height width"] | None:
    """Read a depth map; None when its shape is none of a depth map's (the row holds it).

    Raises:
        Unreadable: no array of numbers, or truncated.
    """
    if not content:
        raise Unreadable("an empty file")
    try:
        version = np.lib.format.read_magic(io.BytesIO(content[:8]))
        width = 2 if version == (1, 0) else 4
        start = 8 + width + int.from_bytes(content[8 : 8 + width], "little")
        if start > min(len(content), 1 << 16):
            raise Unreadable("truncated: its header is cut off")
        shape, fortran, dtype = _npy_header(content[8:start], version)
    except Unreadable:
        raise
    except Exception as error:
        # The header is evaluated as Python literals; hostile ones fail in many ways.
        raise Unreadable(f"it is no .npy file ({' '.join(str(error).split())[:80]})") from error
    if dtype.kind not in "fiu" or dtype.itemsize > 16:
        raise Unreadable(f"an array of {dtype}, expected float32")
    count = 1
    for size in shape:
        count *= int(size)
    if count * dtype.itemsize > len(content) - start:
        raise Unreadable(
            f"truncated: {len(content) - start} bytes of values, the header promises {count * dtype.itemsize}"
        )
    row["depth_float32"] = dtype == np.float32
    dims = tuple(int(size) for size in shape[:3])
    row["depth_dims"][0] = len(shape)
    for slot, size in enumerate(dims):
        row["depth_dims"][1 + slot] = min(size, 2**31 - 1)
    if len(shape) == 3 and shape[2] == 1:
        shape = shape[:2]
    if len(shape) != 2 or count == 0:
        return None
    array = np.frombuffer(content, dtype=dtype, count=count, offset=start)
    array = array.reshape(shape, order="F" if fortran else "C")
    with np.errstate(over="ignore"):
        return array.astype(np.float32, copy=False)


def _measure_depths(
    task: _Task, alike: list[tuple[int, np.ndarray, np.ndarray | None]], rows: Shaped[np.ndarray, "views"]
) -> None:
    """Fill in the figures on the depth maps of some views of a scene.

    Args:
        alike: row number, depth and mask of each view; the depth maps have one shape.
    """
    settings = task.settings
    numbers = [number for number, _, _ in alike]
    poses = task.poses[numbers]
    stack = stack_depths([depth for _, depth, _ in alike], settings.focal_ratio, poses)
    # A few hundred values of each view, evenly spread.
    step = max(1, int(np.sqrt(stack.depth[0].size / 400)))
    sample = stack.depth[:, ::step, ::step]
    flat = sample.reshape(len(alike), -1).astype(np.float64)
    good = (flat > 0) & (flat < np.inf)
    n = np.count_nonzero(good, axis=1)
    ordered = np.sort(np.where(good, flat, np.inf), axis=1)
    before, within = (ordered < settings.near).sum(axis=1), (ordered <= settings.far).sum(axis=1)
    posed = np.isfinite(poses[:, 0, 0])
    for place, (number, depth, _) in enumerate(alike):
        row = rows[number]
        # Whole depth maps for what must hold everywhere, the sample for statistics.
        low, high = float(depth.min()), float(depth.max())
        row["depth_nan"] = np.isnan(low)
        row["depth_finite"] = row["depth_positive"] = 1.0
        if not 0 < low <= high < np.inf:
            finite = np.isfinite(depth)
            row["depth_finite"] = finite.mean()
            row["depth_positive"] = (depth[finite] > 0).mean() if finite.any() else 0.0
        last = int(n[place]) - 1
        if last < 0:
            continue
        own = ordered[place]
        row["depth_low"], row["depth_middle"] = own[last // 200], own[last // 2]
        row["depth_high"] = own[last - last // 200]
        row["before_near"] = before[place] / (last + 1)
        row["beyond_far"] = 1.0 - within[place] / (last + 1)
    masked = [
        (place, mask, background)
        for place, (number, depth, mask) in enumerate(alike)
        if mask is not None
        and mask.shape == depth.shape
        and posed[place]
        and (background := _background(rows[number])) is not None
    ]
    if masked:
        _measure_objects(stack, step, masked, good, [rows[number] for number in numbers], settings)
    comparable = np.flatnonzero(posed & (n > 0))
    if len(comparable) > 1:
        if len(comparable) < len(alike):
            stack = replace(stack, depth=stack.depth[comparable], poses=poses[comparable])
        compare_depths(stack, [rows[numbers[place]] for place in comparable], task.limits.depth_tolerance)


def _measure_objects(
    stack: DepthStack,
    step: int,
    masked: list[tuple[int, np.ndarray, int]],
    good: Bool[np.ndarray, "views samples"],
    rows: Sequence[np.void],
    settings: Settings,
) -> None:
    """Where the foreground's points lie, in the world, against the locality box.

    Args:
        step: of the sample in the stack's depth maps.
        masked: place in the stack, mask and background colour of the views whose objects can be told.
        good: sampled values that are depths.
    """
    places = [place for place, _, _ in masked]
    # Pixels between neighbouring values of the sample.
    across = int(stack.columns[step]) if len(stack.columns) > step else stack.size[0]
    down = int(stack.rows[step]) if len(stack.rows) > step else stack.size[1]
    foreground = np.stack([mask[::down, ::across] != _grey(colour) for _, mask, colour in masked])
    z = stack.depth[places, ::step, ::step].astype(np.float64)
    foreground = foreground.reshape(len(places), -1) & good[places]
    x, y = stack.offsets
    points = np.empty((*z.shape, 3))
    points[..., 0] = z * x[::step]
    points[..., 1] = z * y[::step, None]
    points[..., 2] = z
    poses = stack.poses[places]
    points = points.reshape(len(places), -1, 3)
    with np.errstate(invalid="ignore"):
        world = points @ poses[:, :3, :3].swapaxes(1, 2) + poses[:, None, :3, 3]
        reach = np.abs(world).max(axis=2)
    # What is no foreground sorts behind it.
    reach = np.sort(np.where(foreground, reach, np.inf), axis=1)
    depth = np.sort(np.where(foreground, points[..., 2], np.inf), axis=1)
    inside = (reach <= settings.obj_scale).sum(axis=1)
    seen = foreground.sum(axis=1)
    for number, place in enumerate(places):
        last = int(seen[number]) - 1
        if last < 0:
            continue
        row = rows[place]
        row["objects_seen"], row["objects_inside"] = last + 1, inside[number]
        # A few pixels at outlines have the background's depth: leave out the last 2 %.
        row["objects_extent"] = reach[number, int(0.98 * last)]
        row["objects_near"], row["objects_far"] = (
            depth[number, int(0.01 * last)],
            depth[number, int(0.98 * last)],
        )


def _background(row: np.void) -> int | None:
    """The background's colour; None when the mask does not show beyond doubt what is an object."""
    n = int(row["n_colours"])
    if n > MAX_COLOURS or (row["pixels"][:n] < 0.001 * row["pixels"].sum()).sum() >= SPECKS:
        return None
    present = row["colours"][:n].tolist()
    background = _STANDARD_BACKGROUND if _STANDARD_BACKGROUND in present else int(row["border"])
    level = _grey(background)
    return background if sum(_grey(colour) < level for colour in present) == 1 else None


@lru_cache(maxsize=4096)
def _grey(packed: int) -> int:
    """Grey level of 0xRRGGBB."""
    parts = [packed >> 16 & 255, packed >> 8 & 255, packed & 255]
    return int(grey_levels(np.array([parts], dtype=np.uint8))[0])


_STANDARD_BACKGROUND = BACKGROUND_COLOUR[0] << 16 | BACKGROUND_COLOUR[1] << 8 | BACKGROUND_COLOUR[2]
