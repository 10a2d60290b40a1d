"""BOP's scenes, as the benchmark for object pose estimation and BlenderProc's ``write_bop`` have them.

A folder a scene: ``rgb/000000.png`` (or ``gray/``); ``scene_camera.json`` has for each image ``cam_K``
(nine numbers, row by row, pixels; a pixel's centre is at whole numbers), ``cam_R_w2c`` and ``cam_t_w2c``
(world to camera, OpenCV axes, millimetres) and ``depth_scale``; ``depth/000000.png`` times ``depth_scale`` is
planar depth in millimetres, 0 where there is none; ``mask_visib/000000_000001.png`` shows the visible pixels
of the object that ``scene_gt.json`` lists at place 1 for this image. Millimetres become metres.

BlenderProc puts all images of a run into chunks of a thousand, whatever they show: where the objects of
``scene_gt.json`` stand elsewhere in the world from one image to the next, another scene begins.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Integer

from objnerf.dataset import names
from objnerf.dataset.cameras import invert
from objnerf.dataset.convert.captures import lens_from_matrix, read_captures
from objnerf.dataset.convert.extras import depth_picture
from objnerf.dataset.convert.masks import InstanceMap, instance_masks
from objnerf.dataset.convert.posed import (
    PICTURE_SUFFIXES,
    Blob,
    Companion,
    Computed,
    PosedScene,
    PosedScenes,
    PosedView,
    image_size,
    opened,
    read_json,
    rgb_picture,
    rigid,
    scene_folders,
)
from objnerf.dataset.convert.transforms_lens import number
from objnerf.errors import InputError

_CAMERAS = "scene_camera.json"
_OBJECTS = "scene_gt.json"
_METRES = 1e-3
#: An object stands still whose place in the world differs by less than this share of its distance from the
#: camera: annotations of real images are that good.
_STILL = 0.02
#: The folder that BlenderProc's writer makes; its world is Blender's.
_BLENDERPROC = "train_pbr"
_BLENDER_WORLD = "right-handed, z up, the unit a metre, as BlenderProc has it; the origin as in the source"


def recognise(folder: Path) -> bool:
    """Whether a scene of BOP lies in the folder."""
    return (folder / _CAMERAS).is_file()


def recognise_nested(folder: Path) -> bool:
    """Whether scenes lie in sub-folders, or in those of a split (``train_pbr``)."""
    return bool(scene_folders(folder, recognise) or _splits(folder))


def read(folder: Path) -> PosedScenes:
    """Read one scene, the scenes of a split, or of a dataset with one split.

    Raises:
        InputError: what is there is no such dataset, or has several splits.
    """
    if not recognise(folder) and not scene_folders(folder, recognise):
        splits = _splits(folder)
        if len(splits) > 1:
            raise InputError(
                f"{folder}: expected one split of BOP's, found {', '.join(path.name for path in splits)}; "
                "give the one to convert"
            )
        if splits:
            folder = splits[0]
    scenes: list[PosedScene] = []

    def read_chunk(path: Path, notes: list[str]) -> PosedScene:
        found = _read_chunk(path, notes)
        scenes.extend(found)
        return found[0]

    captured = read_captures(folder, recognise, read_chunk, f"BOP's {_CAMERAS} with images in rgb/")
    captured = replace(captured, scenes=tuple(scenes))
    if _BLENDERPROC in (folder.name, folder.parent.name):
        return replace(captured, world="stated", world_words=_BLENDER_WORLD)
    return captured


def _splits(folder: Path) -> list[Path]:
    """The sub-folders that hold folders with scenes."""
    return scene_folders(folder, lambda split: bool(scene_folders(split, recognise)))


@dataclass(frozen=True)
class _Object:
    """An object: the id of its model, its place in the world and its distance from the camera, metres."""

    model: int
    place: Float[np.ndarray, "3"]
    distance: float


@dataclass(frozen=True)
class _Frame:
    """One picture: its number, ``world_from_camera`` in metres, and the objects that are listed for it."""

    id: int
    image: Path
    pose: Float[np.ndarray, "4 4"]
    objects: tuple[_Object, ...]
    entry: dict[str, Any]
    where: str


def _read_chunk(folder: Path, notes: list[str]) -> list[PosedScene]:
    """The scenes of a folder with one ``scene_camera.json``: mostly one."""
    runs = _static_runs(_frames(folder, notes))
    if len(runs) > 1:
        notes.append(
            f"{folder}: its {sum(map(len, runs))} images became {len(runs)} scenes: from one to the next "
            f"the objects of {_OBJECTS} stand elsewhere"
        )
    return [
        _scene(folder, run, folder.name if len(runs) == 1 else f"{folder.name}, part {part}", notes)
        for part, run in enumerate(runs)
    ]


def _frames(folder: Path, notes: list[str]) -> list[_Frame]:
    """The images of a folder with their cameras, in the order of their numbers."""
    path = folder / _CAMERAS
    cameras = read_json(path)
    listed = read_json(folder / _OBJECTS) if (folder / _OBJECTS).is_file() else {}
    frames: list[_Frame] = []
    missing: list[str] = []
    for key in sorted(cameras, key=lambda key: (len(key), key)):
        where, entry = f"{path}, image {key}", cameras[key]
        if not key.isdecimal() or not isinstance(entry, dict):
            raise InputError(f"{where}: expected the number of an image with the keys of its camera")
        image = _picture(folder, int(key))
        if image is None:
            missing.append(where)
            continue
        if "cam_R_w2c" not in entry or "cam_t_w2c" not in entry:
            raise InputError(
                f"{where}: expected the pose of the camera, 'cam_R_w2c' and 'cam_t_w2c', found none: without "
                "it the images have no common world frame (BlenderProc: write_bop(…, save_world2cam=True))"
            )
        there = np.eye(4)
        there[:3, :3] = _numbers(entry, "cam_R_w2c", 9, where).reshape(3, 3)
        there[:3, 3] = _numbers(entry, "cam_t_w2c", 3, where) * _METRES
        pose = invert(rigid(there, where, "BOP"))
        objects = _objects(listed.get(key, []), pose, f"{folder / _OBJECTS}, image {key}")
        frames.append(_Frame(int(key), image, pose, objects, entry, where))
    if not frames:
        raise InputError(f"{folder}: expected images named rgb/000000.png, found none of {path}")
    if missing:
        notes.append(f"{path}: {len(missing)} cameras have no image and were left out")
    if not listed:
        notes.append(f"{folder}: no {_OBJECTS}, so that all its images were read as views of one scene")
    return frames


def _picture(folder: Path, id_: int) -> Path | None:
    candidates = (
        folder / kind / f"{id_:06d}{suffix}" for kind in ("rgb", "gray") for suffix in PICTURE_SUFFIXES
    )
    return next((path for path in candidates if path.is_file()), None)


def _numbers(entry: dict[str, Any], key: str, count: int, where: str) -> Float[np.ndarray, " count"]:
    try:
        found = np.array(entry.get(key), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: expected {count} numbers under {key!r} ({error})") from error
    if found.size != count or not np.isfinite(found).all():
        raise InputError(f"{where}: expected {count} finite numbers under {key!r}, found {entry.get(key)!r}")
    return found.reshape(-1)


def _objects(listed: object, pose: Float[np.ndarray, "4 4"], where: str) -> tuple[_Object, ...]:
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise InputError(f"{where}: expected a list of objects, found {listed!r}")
    found = []
    for number_, item in enumerate(listed):
        inside = _numbers(item, "cam_t_m2c", 3, f"{where}, object {number_}") * _METRES
        model = int(number(item, "obj_id", 0.0, f"{where}, object {number_}"))
        place = pose[:3, :3] @ inside + pose[:3, 3]
        found.append(_Object(model, place, float(np.linalg.norm(inside))))
    return tuple(found)


@dataclass
class _Run:
    """Images of one static scene.

    Attributes:
        frames: the pictures.
        numbers: for each image the numbers of the instances that its objects are, from 1.
        instances: the objects where they were first seen.
    """

    frames: list[_Frame] = field(default_factory=list)
    numbers: list[list[int]] = field(default_factory=list)
    instances: list[_Object] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.frames)

    def find(self, objects: Sequence[_Object]) -> list[int | None]:
        """The instance that each object is: the nearest of the same model, if it stands where that stood."""
        found: list[int | None] = []
        for item in objects:
            offsets = {
                number_: float(np.linalg.norm(known.place - item.place))
                for number_, known in enumerate(self.instances, start=1)
                if known.model == item.model and number_ not in found
            }
            nearest = min(offsets, key=lambda number_: offsets[number_], default=None)
            still = nearest is not None and offsets[nearest] <= _STILL * item.distance
            found.append(nearest if still else None)
        return found

    def add(self, frame: _Frame) -> None:
        numbers = []
        for item, known in zip(frame.objects, self.find(frame.objects), strict=True):
            if known is None:
                self.instances.append(item)
                known = len(self.instances)
            numbers.append(known)
        self.frames.append(frame)
        self.numbers.append(numbers)


def _static_runs(frames: Sequence[_Frame]) -> list[_Run]:
    """Runs of images in which most objects stand where they stood."""
    runs = [_Run()]
    for frame in frames:
        known = runs[-1].find(frame.objects)
        if runs[-1].instances and 2 * known.count(None) > len(known):
            runs.append(_Run())
        runs[-1].add(frame)
    return runs


def _scene(folder: Path, run: _Run, name: str, notes: list[str]) -> PosedScene:
    maps = [_instance_map(folder, *pair) for pair in zip(run.frames, run.numbers, strict=True)]
    masks = instance_masks(maps, f"{folder}: scene {name}", notes)
    views = [_view(folder, frame, mask) for frame, mask in zip(run.frames, masks, strict=True)]
    return PosedScene(name, tuple(views))


def _instance_map(folder: Path, frame: _Frame, numbers: Sequence[int]) -> InstanceMap | None:
    files = {}
    for place, number_ in enumerate(numbers):
        path = folder / "mask_visib" / f"{frame.id:06d}_{place:06d}.png"
        if path.is_file():
            files[path] = number_
    if not files:
        return None
    return InstanceMap(next(iter(files)), partial(_ids, files, image_size(Blob(frame.image))))


def _ids(files: dict[Path, int], size: tuple[int, int]) -> Integer[np.ndarray, "height width"]:
    ids = np.zeros(size[::-1], dtype=np.int64)
    for path, number_ in files.items():
        with opened(Blob(path)) as picture:
            seen = np.asarray(picture)
        if seen.shape != ids.shape:
            raise InputError(
                f"{path}: expected a mask of one channel, {size[0]} x {size[1]} pixels, found the shape "
                f"{seen.shape}"
            )
        ids[seen > 0] = number_
    return ids


def _view(folder: Path, frame: _Frame, mask: Computed | None) -> PosedView:
    matrix = _numbers(frame.entry, "cam_K", 9, frame.where).reshape(3, 3)
    lens = lens_from_matrix(matrix, image_size(Blob(frame.image)), frame.where)
    companions: dict[str, Companion] = {} if mask is None else {names.MASK_SUFFIX: mask}
    depth = folder / "depth" / f"{frame.id:06d}.png"
    if depth.is_file():
        unit = number(frame.entry, "depth_scale", 1.0, frame.where) * _METRES
        companions[names.DEPTH_SUFFIX] = Computed(depth, partial(_depth, depth, unit))
    image = rgb_picture(frame.image)
    return PosedView(f"{frame.id:06d}", image, frame.pose, companions, lens, frame.where)


def _depth(path: Path, unit: float) -> Float32[np.ndarray, "height width"]:
    steps = depth_picture(path)
    return np.where(steps > 0, steps * np.float32(unit), np.float32(np.inf))
