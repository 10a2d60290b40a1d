"""The HDF5 files of BlenderProc's ``write_hdf5``: a folder a scene, a file an image (``0.hdf5``, …).

``colors`` (height, width, 3) is the image; ``depth`` is planar, ``distance`` along the ray, both in world
units; ``instance_segmaps`` has instance numbers, 0 where a ray meets nothing, and
``instance_attribute_maps`` a JSON list that says what each is. As in BlenderProc's own COCO writer, instances
of category 0 are background. Version 1 has ``segmap``, of several channels, and ``segcolormap``, which says
what each channel is.

The camera stands where its writers put it, as JSON:

- ``campose`` (``writer.CameraStateWriter``): ``cam2world_matrix`` with Blender's axes (y up, looking along
  -z), or ``location`` and ``rotation_euler`` (XYZ, radians), and the lens as ``cam_K`` (pixels; centres of
  pixels at whole numbers) or ``fov_x`` and ``fov_y`` (radians);
- ``camera_pose`` (``write_hdf5(…, save_world2cam=True)``): ``cam_K``, ``cam_R_w2c`` and ``cam_t_w2c`` (world
  to camera, OpenCV axes, world units).

The world is Blender's: z up.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Integer, UInt8

from objnerf.dataset import names
from objnerf.dataset.cameras import Intrinsics, invert, opencv_from_blender
from objnerf.dataset.convert.captures import lens_from_matrix, read_captures
from objnerf.dataset.convert.extras import rendered_depth
from objnerf.dataset.convert.lenses import Lens
from objnerf.dataset.convert.masks import InstanceMap, instance_masks
from objnerf.dataset.convert.posed import (
    Companion,
    Computed,
    PosedScene,
    PosedScenes,
    PosedView,
    checked_pose,
    rigid,
)
from objnerf.dataset.convert.transforms_lens import number
from objnerf.dataset.untrusted import MAX_PIXELS, Unreadable, open_regular, parse_json
from objnerf.errors import InputError

_WORLD = "right-handed, z up, as BlenderProc has it; the origin as in the source"
#: The keys under which a camera may stand.
_CAMERAS = ("campose", "camera_pose")


def recognise(folder: Path) -> bool:
    """Whether numbered HDF5 files lie in the folder."""
    return bool(_files(folder))


def read(folder: Path) -> PosedScenes:
    """Read one scene, or a folder of scenes (for which see ``scene_folders``).

    Raises:
        InputError: h5py is not installed, or what is there is no such scene.
    """
    _h5py()
    captured = read_captures(folder, recognise, _read_scene, "BlenderProc's 0.hdf5, 1.hdf5, …")
    return replace(captured, world="stated", world_words=_WORLD)


def _files(folder: Path) -> list[Path]:
    numbered = [path for path in folder.glob("*.hdf5") if path.stem.isdecimal()]
    return sorted(numbered, key=lambda path: int(path.stem))


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            "BlenderProc's HDF5 files need h5py: install the extra with pip install 'objnerf[hdf5]'"
        ) from error
    return h5py


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An HDF5 file; every failure to read it names it."""
    try:
        with open_regular(path) as stream, _h5py().File(stream, "r") as file:
            yield file
    except Unreadable as problem:
        raise InputError(f"{path}: expected an HDF5 file, found {problem}") from problem
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        # h5py raises all of these for damaged files, at whatever is read first.
        raise InputError(f"{path}: expected an HDF5 file, found a damaged one ({error})") from error


def _read_scene(folder: Path, notes: list[str]) -> PosedScene:
    files = _files(folder)
    described = [_described(path) for path in files]
    maps = [
        None if found is None else InstanceMap(path, partial(_ids, path, found))
        for path, found in ((path, _segmentation(path, notes)) for path in files)
    ]
    masks = instance_masks(maps, str(folder), notes)
    views = []
    for (path, view, depth), mask in zip(described, masks, strict=True):
        companions: dict[str, Companion] = {} if mask is None else {names.MASK_SUFFIX: mask}
        if depth is not None:
            assert view.lens is not None
            read_depth = partial(_depth, path, depth, view.lens.intrinsics())
            companions[names.DEPTH_SUFFIX] = Computed(path, read_depth)
        views.append(replace(view, companions=companions))
    return PosedScene(folder.name, tuple(views))


def _described(path: Path) -> tuple[Path, PosedView, str | None]:
    """A file's view, without companions, and the key of its depth."""
    with _opened(path) as file:
        if "colors" not in file:
            stereo = " (a stereo pair: write the left images alone)" if "colors_0" in file else ""
            raise InputError(
                f"{path}: expected the image under the key 'colors', found {', '.join(file)}{stereo}"
            )
        shape, kind = file["colors"].shape, file["colors"].dtype
        camera = next((_json(file, key, path) for key in _CAMERAS if key in file), None)
        depth = next((key for key in ("depth", "distance") if key in file), None)
    if len(shape) != 3 or shape[2] not in (3, 4) or kind != np.uint8:
        raise InputError(
            f"{path}: expected an image of height x width x 3 bytes under 'colors', found the shape "
            f"{shape} of {kind}"
        )
    if shape[0] * shape[1] > MAX_PIXELS:
        raise InputError(f"{path}: expected at most {MAX_PIXELS} pixels, found {shape[1]} x {shape[0]}")
    if isinstance(camera, list) and camera:
        camera = camera[0]
    if not isinstance(camera, dict):
        raise InputError(
            f"{path}: expected the camera as JSON under one of the keys {', '.join(_CAMERAS)}, found none: "
            "render again with write_hdf5(…, save_world2cam=True), or with write_bop"
        )
    size = shape[1], shape[0]
    pose, lens = _pose(camera, str(path)), _lens(camera, size, str(path))
    image = Computed(path, partial(_picture, path), size)
    return path, PosedView(path.stem, image, pose, {}, lens, str(path)), depth


def _json(file: Any, key: str, path: Path) -> Any:
    """JSON that a key of a file holds as bytes."""
    try:
        return parse_json(file[key][()])
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected JSON under the key {key!r} ({error})") from error


def _pose(camera: dict[str, Any], where: str) -> Float[np.ndarray, "4 4"]:
    """``world_from_camera``, OpenCV axes."""
    if "cam_R_w2c" in camera:
        there = np.eye(4)
        there[:3, :3] = _numbers(camera, "cam_R_w2c", (3, 3), where)
        there[:3, 3] = _numbers(camera, "cam_t_w2c", (3,), where)
        return invert(rigid(there, where, "BlenderProc"))
    if "cam2world_matrix" in camera:
        return opencv_from_blender(checked_pose(camera["cam2world_matrix"], where))
    pose = np.eye(4)
    pose[:3, :3] = _rotation_from_euler(_numbers(camera, "rotation_euler", (3,), where))
    pose[:3, 3] = _numbers(camera, "location", (3,), where)
    return opencv_from_blender(pose)


def _rotation_from_euler(angles: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """Rotation of Blender's Euler angles XYZ, radians: Rz Ry Rx, about the world's x first."""
    (a, b, c), (x, y, z) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, a, -x], [0, x, a]])
    about_y = np.array([[b, 0, y], [0, 1, 0], [-y, 0, b]])
    about_z = np.array([[c, -z, 0], [z, c, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _lens(camera: dict[str, Any], size: tuple[int, int], where: str) -> Lens:
    if "cam_K" in camera:
        return lens_from_matrix(_numbers(camera, "cam_K", (3, 3), where), size, where)
    across, down = (number(camera, key, 0.0, where) for key in ("fov_x", "fov_y"))
    if not (0 < across < math.pi and 0 < down < math.pi):
        raise InputError(
            f"{where}: expected the lens as 'cam_K', or as the angles of view 'fov_x' and 'fov_y' in "
            f"radians, found {across:g} and {down:g}"
        )
    focal = size[0] / (2 * math.tan(across / 2)), size[1] / (2 * math.tan(down / 2))
    return Lens.pinhole(Intrinsics(*size, *focal))


def _numbers(
    content: dict[str, Any], key: str, shape: tuple[int, ...], where: str
) -> Float[np.ndarray, "*shape"]:
    try:
        found = np.array(content.get(key), dtype=np.float64).reshape(shape)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{where}: expected {math.prod(shape)} numbers under {key!r}, found {content.get(key)!r}"
        ) from error
    if not np.isfinite(found).all():
        raise InputError(f"{where}: expected finite numbers under {key!r}, found nan or inf")
    return found


def _picture(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    with _opened(path) as file:
        picture = np.array(file["colors"])
    if picture.shape[2] == 3:
        return picture
    # As everywhere, transparency is flattened on white.
    alpha = picture[..., 3:].astype(np.uint16)
    return ((picture[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _depth(path: Path, key: str, camera: Intrinsics) -> Float32[np.ndarray, "height width"]:
    with _opened(path) as file:
        values = np.array(file[key])
    return rendered_depth(values, camera, path, along_rays=key == "distance")


class _Segmentation(NamedTuple):
    """Where a file has its instances: the key, the channel if there are several, and what is background."""

    key: str
    channel: int | None
    background: frozenset[int]


def _segmentation(path: Path, notes: list[str]) -> _Segmentation | None:
    with _opened(path) as file:
        key = next((key for key in ("instance_segmaps", "segmap") if key in file), None)
        if key is None:
            return None
        described = "instance_attribute_maps" if key == "instance_segmaps" else "segcolormap"
        rows = _json(file, described, path) if described in file else []
    try:
        # Numbers are words in version 1, which read them from a CSV file.
        categories = {int(row["idx"]): int(row["category_id"]) for row in rows if "category_id" in row}
        channels = {int(row["channel_instance"]) for row in rows if "channel_instance" in row}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: expected a list of instances with 'idx' and 'category_id' under the key {described!r} "
            f"({error!r})"
        ) from error
    if key == "segmap" and len(channels) != 1:
        notes.append(
            f"{path}: its segmentation was left out: no 'channel_instance' under 'segcolormap' says which "
            "channel holds instances"
        )
        return None
    if not categories:
        notes.append(
            f"{path}: no 'category_id' says which instances are background (0): every mesh became an object, "
            "floors and walls as well"
        )
    background = frozenset(idx for idx, category in categories.items() if category == 0)
    return _Segmentation(key, channels.pop() if key == "segmap" else None, background)


def _ids(path: Path, segmentation: _Segmentation) -> Integer[np.ndarray, "height width"]:
    """Instance numbers; 0 is the background."""
    with _opened(path) as file:
        ids = np.array(file[segmentation.key])
    if ids.ndim == 3 and segmentation.channel is not None and segmentation.channel < ids.shape[2]:
        ids = ids[..., segmentation.channel]
    if ids.ndim != 2:
        raise InputError(
            f"{path}: expected instances of height x width under {segmentation.key!r}, found the shape "
            f"{ids.shape}"
        )
    ids = ids.astype(np.int64)
    return np.where(np.isin(ids, list(segmentation.background)), 0, ids)
