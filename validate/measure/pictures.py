"""Figures on images, masks and depth maps: what the checks on pictures are computed from.

Every file is opened once, by worker processes, a few scenes at a time; what comes back is a row of numbers a
view, so that memory does not grow with the pictures. Nothing here judges. What the numbers are is in
``figures``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from pydantic import ValidationError

from objnerf.console import Progress, no_progress
from objnerf.dataset import names
from objnerf.dataset.card import SCENE_FOLDER, SceneCard, describe_validation_error
from objnerf.dataset.index import View
from objnerf.dataset.untrusted import Unreadable, read_bytes
from validate.measure.figures import (
    MAX_COLOURS,
    DepthValues,
    ImageFigures,
    MaskRuns,
    find_runs,
    keep_values,
    measure_depths,
    measure_image,
    measure_masks,
)
from validate.read import decode_depth, decode_image
from validate.settings import Limits, Settings
from validate.workers import Workers

#: Views of a scene that are compared with each other, at most: scenes may have hundreds.
_GROUP = 32

#: Views in one piece of work, and views that are measured at once; scenes are not divided.
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

    rows: Shaped[np.ndarray, " views"]
    opened: Bool[np.ndarray, " views"]
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
    lenses: Float[np.ndarray, "views 4"]
    settings: Settings
    limits: Limits


@dataclass
class _Result:
    indices: tuple[int, ...]
    rows: Shaped[np.ndarray, " views"]
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
        lenses: as ``Lenses.numbers``.
    """

    root: Path
    views: Sequence[View]
    scene_index: Int[np.ndarray, " views"]
    cards: dict[int, str]
    stored: Float[np.ndarray, "views 4 4"]
    poses: Float[np.ndarray, "views 4 4"]
    lenses: Float[np.ndarray, "views 4"]


def gather(
    source: Source,
    opened: Bool[np.ndarray, " views"],
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
    for result in workers.map(_measure_chunk, tasks):
        rows[list(result.indices)] = result.rows
        gathered.modes.update(result.modes)
        gathered.problems.update(result.problems)
        gathered.scene_notes.update(result.scene_notes)
        done += len(result.indices)
        progress(done, total, "")
    return gathered


def _tasks(
    source: Source, opened: Bool[np.ndarray, " views"], settings: Settings, limits: Limits
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
        lenses=source.lenses[batch],
        settings=settings,
        limits=limits,
    )


def _measure_chunk(task: _Task) -> _Result:
    """Open the files of a few scenes and measure them."""
    result = _Result(task.indices, np.zeros(len(task.indices), dtype=ROW))
    block = _Block()
    start = 0
    while start < len(task.indices):
        stop = start
        while stop < len(task.indices) and task.scenes[stop] == task.scenes[start]:
            stop += 1
        depths = 0
        for position in range(start, stop):
            _read_view(task, position, block, result)
            depths += task.has_depth[position]
            if task.has_depth[position] and depths % _GROUP == 0:
                block = _measure_if_full(task, block, result)
        block = _measure_if_full(task, block, result)
        scene = task.scene_ids[start]
        if scene in task.cards:
            result.scene_notes[scene] = read_scene_note(task, start, stop)
        start = stop
    _measure(task, block, result)
    return result


@dataclass
class _Block:
    """What was read of some views and is not measured yet.

    Attributes:
        views: how many have a depth map.
        group: number of the group of views that are compared with each other.
        images, masks: figures of each, or what is needed for them, and their rows.
        depths: depth maps by their size.
    """

    views: int = 0
    group: int = 0
    images: list[ImageFigures] = field(default_factory=list)
    image_rows: list[int] = field(default_factory=list)
    masks: list[MaskRuns] = field(default_factory=list)
    mask_rows: list[int] = field(default_factory=list)
    depths: dict[tuple[int, ...], list[DepthValues]] = field(default_factory=dict)


def _read_view(task: _Task, position: int, block: _Block, result: _Result) -> None:
    """Open the files of one view, and keep of them what is to be measured."""
    view = task.indices[position]
    base = f"{task.root}/{task.stems[position]}"
    try:
        mode, figures = measure_image(decode_image(read_bytes(base + ".png")))
        block.images.append(figures)
        block.image_rows.append(position)
        if mode != "RGB PNG":
            result.modes[view] = mode
    except Unreadable as problem:
        result.rows["image"][position] = BROKEN
        result.problems[view, "image"] = str(problem)
    mask = None
    if task.has_mask[position]:
        try:
            mask = find_runs(decode_image(read_bytes(base + names.MASK_SUFFIX)))
            block.masks.append(mask)
            block.mask_rows.append(position)
        except Unreadable as problem:
            result.rows["mask"][position] = BROKEN
            result.problems[view, "mask"] = str(problem)
    if task.has_depth[position]:
        block.views += 1
        try:
            depth = decode_depth(read_bytes(base + names.DEPTH_SUFFIX))
        except Unreadable as problem:
            result.rows["depth"][position] = BROKEN
            result.problems[view, "depth"] = str(problem)
            return
        row = result.rows[position]
        row["depth"] = READ
        row["depth_float32"] = depth.is_float32
        row["depth_dims"] = depth.dims
        if depth.values is not None:
            values = keep_values(position, block.group, depth.values, mask, row)
            block.depths.setdefault(depth.values.shape, []).append(values)


def _measure_if_full(task: _Task, block: _Block, result: _Result) -> _Block:
    """End a group of views; measure the block when it holds enough of them."""
    block.group += 1
    if block.views < _CHUNK_VIEWS:
        return block
    _measure(task, block, result)
    return _Block()


def _measure(task: _Task, block: _Block, result: _Result) -> None:
    """Fill in the rows of a block's views."""
    rows = result.rows
    if block.images:
        rows["image"][block.image_rows] = READ
        for name, values in zip(ImageFigures._fields, zip(*block.images, strict=True), strict=True):
            rows[name][block.image_rows] = values
    if block.masks:
        rows["mask"][block.mask_rows] = READ
        measure_masks(block.masks, np.array(block.mask_rows), rows)
    for alike in block.depths.values():
        numbers = [values.number for values in alike]
        measure_depths(alike, task.poses[numbers], task.lenses[numbers], rows, task.settings, task.limits)


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
        # Poses in a wrong convention are named as such; what counts then is whether the fixed one fits.
        difference = np.abs(described - task.stored[position]).max()
        if np.isfinite(task.poses[position]).all():
            difference = min(difference, np.abs(described - task.poses[position]).max())
        errors[task.indices[position]] = float(difference)
    return SceneNote(None, absent[0] if absent else None, errors, len(card.objects))
