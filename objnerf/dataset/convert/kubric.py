"""The folders of Kubric's workers, as those of MOVi and MultiShapeNet have them.

A folder a scene, or a folder of such folders. ``metadata.json`` has the camera: ``positions`` and
``quaternions`` (w, x, y, z) of camera-to-world poses a frame, with Blender's camera axes (y up, looking along
-z), and its lens, as ``focal_length`` over ``sensor_width`` (millimetres; the sensor's width always belongs
to the image's) and as ``K`` in shares of the image with those axes' signs. Files are numbered from 0:
``rgba_00000.png``, ``segmentation_00000.png`` (instance numbers as grey levels or as indices of a palette, 0
the background), ``depth_00000.tiff`` (floats) or ``depth_00000.png`` (16 bits over a range that
``data_ranges.json`` has). Depth is the distance from the camera's centre along the ray, world units. The
world is z up, with the ground at z = 0.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Integer

from objnerf.dataset import names
from objnerf.dataset.cameras import Intrinsics, opencv_from_blender
from objnerf.dataset.convert.captures import read_captures
from objnerf.dataset.convert.colmap import rotation_from_quaternion
from objnerf.dataset.convert.extras import depth_picture, rendered_depth
from objnerf.dataset.convert.lenses import Lens
from objnerf.dataset.convert.masks import InstanceMap, instance_masks
from objnerf.dataset.convert.posed import (
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
)
from objnerf.dataset.convert.transforms_lens import number
from objnerf.errors import InputError

_FILE = "metadata.json"
#: Kubric's names of the image, the richer first.
_PICTURES = ("rgba", "rgb")
#: Focal lengths over the width that ``K`` and the millimetres say may differ by this, relatively: Kubric
#: computes in 32 bits.
_SAME_FOCAL = 1e-3
#: Movements below this, world units, are those of a simulation at rest.
_AT_REST = 0.01
_WORLD = "right-handed, z up, the ground at z = 0, as Kubric has it"


def recognise(folder: Path) -> bool:
    """Whether a scene of Kubric lies in the folder."""
    if not _holds_scene(folder):
        return False
    try:
        camera = read_json(folder / _FILE).get("camera")
    except InputError:
        return False
    return isinstance(camera, dict) and {"positions", "quaternions"} <= camera.keys()


def _holds_scene(folder: Path) -> bool:
    return (folder / _FILE).is_file() and bool(_pictures(folder))


def read(folder: Path) -> PosedScenes:
    """Read one scene, or a folder of scenes (for which see ``scene_folders``).

    Raises:
        InputError: what is there is no such scene.
    """
    expected = f"Kubric's {_FILE} with images named rgba_00000.png"
    captured = read_captures(folder, _holds_scene, _read_scene, expected)
    return replace(captured, world="stated", world_words=_WORLD)


def _pictures(folder: Path) -> dict[int, Path]:
    """The images, by the number of the frame."""
    return next((found for name in _PICTURES if (found := _frames(folder, name))), {})


def _frames(folder: Path, layer: str) -> dict[int, Path]:
    """The files of one layer, by the number of the frame."""
    found = {}
    for path in folder.glob(f"{layer}_*"):
        digits = path.stem.removeprefix(f"{layer}_")
        if digits.isdecimal() and path.suffix.lower() in (".png", ".tif", ".tiff", ".jpg", ".jpeg"):
            found[int(digits)] = path
    return dict(sorted(found.items()))


def _read_scene(folder: Path, notes: list[str]) -> PosedScene:
    path = folder / _FILE
    metadata = read_json(path)
    pictures = _pictures(folder)
    poses = _poses(metadata, path)
    if max(pictures) >= len(poses):
        raise InputError(
            f"{pictures[max(pictures)]}: expected a camera for each image, found {len(poses)} in {path}"
        )
    if len(poses) > len(pictures):
        notes.append(f"{path}: {len(poses) - len(pictures)} cameras have no image and were left out")
    maps = _frames(folder, "segmentation")
    depths = _frames(folder, "depth")
    depth_range = _depth_range(folder) if any(p.suffix == ".png" for p in depths.values()) else None
    instance_maps = [InstanceMap(maps[n], partial(_ids, maps[n])) if n in maps else None for n in pictures]
    masks = instance_masks(instance_maps, str(folder), notes)
    views = []
    for (frame, picture), mask in zip(pictures.items(), masks, strict=True):
        size = image_size(Blob(picture))
        camera = _intrinsics(metadata, size, path)
        companions: dict[str, Companion] = {} if mask is None else {names.MASK_SUFFIX: mask}
        if frame in depths:
            read_depth = partial(_depth, depths[frame], camera, depth_range)
            companions[names.DEPTH_SUFFIX] = Computed(depths[frame], read_depth)
        views.append(
            PosedView(
                picture.stem,
                rgb_picture(picture),
                poses[frame],
                companions,
                Lens.pinhole(camera),
                f"{path}, frame {frame}",
            )
        )
    _note_movement(metadata, [poses[frame] for frame in pictures], path, notes)
    return PosedScene(folder.name, tuple(views))


def _camera(metadata: dict[str, Any], path: Path) -> dict[str, Any]:
    camera = metadata.get("camera")
    if not isinstance(camera, dict):
        raise InputError(f"{path}: expected Kubric's camera under the key 'camera', found {camera!r}")
    return camera


def _poses(metadata: dict[str, Any], path: Path) -> list[Float[np.ndarray, "4 4"]]:
    """``world_from_camera`` of all frames, OpenCV axes."""
    camera = _camera(metadata, path)
    positions = _numbers(camera, "positions", 3, path)
    quaternions = _numbers(camera, "quaternions", 4, path)
    if len(positions) != len(quaternions):
        raise InputError(
            f"{path}: expected as many camera positions as quaternions, found {len(positions)} and "
            f"{len(quaternions)}"
        )
    lengths = np.linalg.norm(quaternions, axis=1)
    if np.abs(lengths - 1).max(initial=0) > 1e-2:
        raise InputError(
            f"{path}: expected unit quaternions (w, x, y, z) of the camera, found one of length "
            f"{lengths[np.abs(lengths - 1).argmax()]:g}"
        )
    poses = []
    for position, quaternion in zip(positions, quaternions, strict=True):
        pose = np.eye(4)
        pose[:3, :3] = rotation_from_quaternion(quaternion)
        pose[:3, 3] = position
        poses.append(opencv_from_blender(pose))
    return poses


def _numbers(
    content: dict[str, Any], key: str, columns: int, path: Path
) -> Float[np.ndarray, "rows columns"]:
    try:
        found = np.array(content.get(key), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: expected rows of {columns} numbers under {key!r} ({error})") from error
    if found.ndim != 2 or found.shape[1] != columns or not np.isfinite(found).all():
        raise InputError(
            f"{path}: expected rows of {columns} finite numbers under {key!r}, found the shape {found.shape}"
        )
    return found


def _intrinsics(metadata: dict[str, Any], size: tuple[int, int], path: Path) -> Intrinsics:
    """The camera of an image of a size in pixels.

    Raises:
        InputError: neither ``focal_length`` nor ``K``, or two lenses that contradict each other.
    """
    camera, where = _camera(metadata, path), f"{path}, camera"
    width, height = size
    focal: float | None = None
    if "focal_length" in camera:
        length, sensor = (number(camera, key, 0.0, where) for key in ("focal_length", "sensor_width"))
        if not (length > 0 and sensor > 0):
            raise InputError(
                f"{where}: expected a positive 'focal_length' and 'sensor_width', found {length:g} and "
                f"{sensor:g}"
            )
        focal = length / sensor
    if "K" not in camera:
        if focal is None:
            raise InputError(f"{where}: expected 'focal_length' and 'sensor_width', or 'K', found neither")
        return Intrinsics(width, height, focal * width, focal * width)
    matrix = _numbers(camera, "K", 3, path)
    if matrix.shape != (3, 3) or not (matrix[0, 0] > 0 and matrix[1, 1] < 0):
        raise InputError(
            f"{where}: expected 'K' as fx 0 -cx, 0 -fy -cy, 0 0 -1 in shares of the image, found "
            f"{matrix.tolist()}"
        )
    fx, fy = float(matrix[0, 0]), -float(matrix[1, 1])
    if focal is not None and abs(fx - focal) > _SAME_FOCAL * focal:
        raise InputError(
            f"{where}: its focal length over its sensor's width is {focal:g}, and 'K' says {fx:g}"
        )
    # The middle of the image is 0.5, from border to border.
    offset = -float(matrix[0, 2]) - 0.5, -float(matrix[1, 2]) - 0.5
    return Intrinsics.from_focal_ratio((fx, fy), width, height, offset)


def _ids(path: Path) -> Integer[np.ndarray, "height width"]:
    """Instance numbers of a segmentation: grey levels, or the indices of a palette."""
    with opened(Blob(path)) as picture:
        ids = np.asarray(picture)
    if ids.ndim != 2 or ids.dtype.kind not in "ui":
        raise InputError(
            f"{path}: expected instance numbers, as grey levels or with a palette, found an image of mode "
            f"{picture.mode}"
        )
    return ids.astype(np.int64)


def _depth_range(folder: Path) -> tuple[float, float]:
    """The distances that the least and the greatest number of 16-bit depth stand for."""
    path = folder / "data_ranges.json"
    if not path.is_file():
        raise InputError(f"{path}: expected the range of depth_….png, which is 16 bit, found no such file")
    found = read_json(path).get("depth")
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected 'min' and 'max' under the key 'depth', found {found!r}")
    return number(found, "min", np.nan, f"{path}, depth"), number(found, "max", np.nan, f"{path}, depth")


def _depth(
    path: Path, camera: Intrinsics, depth_range: tuple[float, float] | None
) -> Float32[np.ndarray, "height width"]:
    distance = depth_picture(path).astype(np.float64)
    if path.suffix == ".png":
        assert depth_range is not None
        low, high = depth_range
        distance = low + distance / 65535 * (high - low)
    return rendered_depth(distance, camera, path, along_rays=True)


def _note_movement(
    metadata: dict[str, Any], poses: list[Float[np.ndarray, "4 4"]], path: Path, notes: list[str]
) -> None:
    """Say where the frames are no views of one static scene."""
    instances = metadata.get("instances")
    for instance in instances if isinstance(instances, list) else []:
        if isinstance(instance, dict) and isinstance(instance.get("positions"), list):
            positions = _numbers(instance, "positions", 3, path)
            if len(positions) and np.abs(positions - positions[0]).max() > _AT_REST:
                notes.append(
                    f"{path}: objects move from frame to frame, as in MOVi's videos: it is read as "
                    "a static scene, whose views contradict each other"
                )
                break
    if len(poses) > 1 and np.abs(np.array(poses) - poses[0]).max() < 1e-6:
        notes.append(f"{path}: the camera is static, so all frames show one view of the scene")
