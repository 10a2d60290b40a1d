"""``transforms.json``, as nerfstudio and instant-ngp read it.

One folder a scene: ``sc0000/transforms.json`` with the pictures in ``sc0000/images/``. Poses are
camera-to-world with OpenGL camera axes (y up, looking along -z), so ``transform_matrix = world_from_camera @
diag(1, -1, -1, 1)``; the world stays as it is. A pixel's centre lies half a pixel from its corner there, and
the principal point of a centred camera is (width / 2, height / 2).
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from objnerf.dataset import names
from objnerf.dataset.cameras import OPENCV_FROM_OPENGL, Intrinsics
from objnerf.dataset.convert.posed import (
    Blob,
    Companion,
    PosedScene,
    PosedScenes,
    PosedView,
    Progress,
    check_centre,
    checked_pose,
    counted,
    grouped_by_name,
    image_size,
    one_intrinsics,
    one_size,
    put,
    put_png,
    scene_folder_name,
    scene_folders,
    stems_fit,
)
from objnerf.dataset.convert.sidecars import left_out, read_sidecars, write_sidecars
from objnerf.dataset.files import write_text
from objnerf.errors import InputError

_FILE = "transforms.json"
#: The splits of datasets in the manner of NeRF's own synthetic scenes, which make up one scene.
_SPLITS = ("transforms_train.json", "transforms_val.json", "transforms_test.json")
_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
_PINHOLE_MODELS = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "PERSPECTIVE")
#: Keys of a frame that hold the path of a companion of ours. nerfstudio's own ``mask_path`` means something
#: else (which pixels to train on), so that instance masks need a name of their own.
_COMPANION_KEYS = {names.MASK_SUFFIX: "instance_mask_path", names.DEPTH_SUFFIX: "depth_file_path"}
_COMPANION_FOLDERS = {names.MASK_SUFFIX: "instance_masks", names.DEPTH_SUFFIX: "depths"}


def recognise(folder: Path) -> bool:
    """Whether the folder itself holds a scene's ``transforms.json``."""
    return bool(_files(folder))


def recognise_nested(folder: Path) -> bool:
    """Whether sub-folders hold a scene each."""
    return bool(scene_folders(folder, recognise))


def read(folder: Path) -> PosedScenes:
    """Read one scene, or a folder of scenes (for which see ``scene_folders``).

    Raises:
        InputError: what is there is no such dataset, or our format cannot hold it: several cameras, lens
            distortion, a principal point off the centre.
    """
    found: list[tuple[str, Intrinsics]] = []
    notes: list[str] = []
    if recognise(folder):
        views = _read_scene(folder, found)
        scenes, keep = grouped_by_name(views, folder.name)
        keep = keep and stems_fit(scenes)
    else:
        folders = scene_folders(folder, recognise)
        if not folders:
            raise InputError(f"{folder}: expected {_FILE} in it or in its sub-folders, found none")
        scenes = tuple(PosedScene(path.name, tuple(_read_scene(path, found))) for path in folders)
        keep = stems_fit(scenes)
    intrinsics = one_intrinsics(found)
    one_size([view for scene in scenes for view in scene.views], (intrinsics.width, intrinsics.height))
    card, scene_cards = read_sidecars(folder)
    return PosedScenes(
        scenes, intrinsics, card=card, scene_cards=scene_cards, keep_stems=keep, notes=tuple(notes)
    )


def write_nerfstudio(posed: PosedScenes, folder: Path, progress: Progress) -> list[str]:
    """Write a folder a scene, with the keys that nerfstudio reads; returns what had to be left out."""
    return _write(posed, folder, progress, {"camera_model": "OPENCV"})


def write_instant_ngp(posed: PosedScenes, folder: Path, progress: Progress) -> list[str]:
    """Write a folder a scene, with the keys that instant-ngp reads; returns what had to be left out."""
    camera = posed.intrinsics
    header = {
        "camera_angle_x": 2 * math.atan(camera.width / (2 * camera.fx)),
        "camera_angle_y": 2 * math.atan(camera.height / (2 * camera.fy)),
        "aabb_scale": _aabb_scale(posed),
    }
    return _write(posed, folder, progress, header)


def _aabb_scale(posed: PosedScenes) -> int:
    """instant-ngp's box: a power of two of unit cubes that holds all cameras.

    It scales the world by 0.33 about the middle of a unit cube by default.
    """
    reach = max(
        float(np.abs(view.world_from_camera[:3, 3]).max()) for scene in posed.scenes for view in scene.views
    )
    return int(min(128, 2 ** math.ceil(math.log2(max(1.0, 2 * 0.33 * reach)))))


def _write(posed: PosedScenes, folder: Path, progress: Progress, header: dict[str, Any]) -> list[str]:
    camera = posed.intrinsics
    n_scenes = len(posed.scenes)
    header = header | {
        "fl_x": camera.fx,
        "fl_y": camera.fy,
        "cx": camera.width / 2,
        "cy": camera.height / 2,
        "w": camera.width,
        "h": camera.height,
        **dict.fromkeys(("k1", "k2", "p1", "p2"), 0.0),
    }
    frames: list[list[dict[str, Any]]] = [[] for _ in posed.scenes]
    for index, scene, number, view in counted(posed, progress):
        stem = view.stem if posed.keep_stems else names.make_view_stem(index, scene, number, n_scenes)
        scene_folder = folder / scene_folder_name(scene, n_scenes)
        (scene_folder / "images").mkdir(parents=True, exist_ok=True)
        put_png(view.image, scene_folder / "images" / f"{stem}.png")
        frame: dict[str, Any] = {
            "file_path": f"images/{stem}.png",
            "transform_matrix": (view.world_from_camera @ OPENCV_FROM_OPENGL).tolist(),
        }
        for suffix, key in _COMPANION_KEYS.items():
            if suffix in view.companions:
                frame[key] = f"{_COMPANION_FOLDERS[suffix]}/{stem}{Path(suffix).suffix}"
                target = scene_folder / frame[key]
                target.parent.mkdir(exist_ok=True)
                put(view.companions[suffix], target)
        frames[scene].append(frame)
    for scene, of_scene in enumerate(frames):
        path = folder / scene_folder_name(scene, n_scenes) / _FILE
        write_text(path, json.dumps(header | {"frames": of_scene}, indent=2) + "\n")
    write_sidecars(posed, folder)
    return left_out(posed, set(_COMPANION_KEYS))


def _files(folder: Path) -> list[Path]:
    """The JSON files that describe the scene in a folder: one, or its splits."""
    if (folder / _FILE).is_file():
        return [folder / _FILE]
    return [folder / name for name in _SPLITS if (folder / name).is_file()]


def _read_scene(folder: Path, found: list[tuple[str, Intrinsics]]) -> list[PosedView]:
    """The views of one scene; appends each one's camera to ``found``."""
    views = []
    for path in _files(folder):
        content = _parsed(path)
        frames = content.get("frames")
        if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
            raise InputError(f"{path}: expected a list of frames under the key 'frames'")
        size: tuple[int, int] | None = None
        for number, frame in enumerate(frames):
            where = f"{path}, frame {number}"
            image = _image_path(folder, frame, where)
            # One header is enough here; that all pictures have this size is checked once they are known.
            size = size or image_size(Blob(image))
            found.append((where, _intrinsics(content | frame, size, where)))
            pose = checked_pose(frame.get("transform_matrix"), where) @ OPENCV_FROM_OPENGL
            views.append(PosedView(image.stem, Blob(image), pose, _companions(folder, frame)))
    if not views:
        raise InputError(f"{_files(folder)[0]}: expected at least one frame, found none")
    return views


def _parsed(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected JSON, found something else ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected keys and values, found {type(content).__name__}")
    return content


def _image_path(folder: Path, frame: dict[str, Any], where: str) -> Path:
    """Where a frame's picture lies; NeRF's own scenes leave the suffix out."""
    name = frame.get("file_path")
    if not isinstance(name, str) or not name:
        raise InputError(f"{where}: expected the picture's path under the key 'file_path', found {name!r}")
    path = folder / name
    for candidate in (path, *(path.with_name(path.name + suffix) for suffix in (".png", ".jpg", ".jpeg"))):
        if candidate.is_file():
            return candidate
    raise InputError(f"{where}: its picture {path} is not there")


def _companions(folder: Path, frame: dict[str, Any]) -> dict[str, Companion]:
    companions: dict[str, Companion] = {}
    for suffix, key in _COMPANION_KEYS.items():
        name = frame.get(key)
        # Depth in another file format is in units that the JSON does not tell.
        if isinstance(name, str) and name.endswith(Path(suffix).suffix) and (folder / name).is_file():
            companions[suffix] = Blob(folder / name)
    return companions


def _intrinsics(content: dict[str, Any], size: tuple[int, int], where: str) -> Intrinsics:
    """The camera of a frame, from its own keys or the file's."""
    width, height = _integer(content, "w", size[0], where), _integer(content, "h", size[1], where)
    model = content.get("camera_model", "PINHOLE")
    if model not in _PINHOLE_MODELS or content.get("is_fisheye"):
        raise InputError(
            f"{where}: expected a pinhole camera, found camera_model {model!r}; undistort it first"
        )
    for key in _DISTORTION:
        if abs(_number(content, key, 0.0, where)) > 1e-12:
            raise InputError(
                f"{where}: the lens distortion {key} = {content[key]} has no place in our format; undistort "
                "the pictures first (COLMAP's image_undistorter does it)"
            )
    fx = _focal(content, "fl_x", "camera_angle_x", width, where)
    if fx is None:
        raise InputError(f"{where}: expected a focal length under 'fl_x' or 'camera_angle_x', found neither")
    # Square pixels where nothing is said about the vertical.
    fy = _focal(content, "fl_y", "camera_angle_y", height, where) or fx
    centre_x = _number(content, "cx", width / 2, where)
    centre_y = _number(content, "cy", height / 2, where)
    check_centre(centre_x - width / 2, centre_y - height / 2, where)
    return Intrinsics(width, height, fx, fy)


def _focal(content: dict[str, Any], key: str, angle_key: str, side: int, where: str) -> float | None:
    """A focal length in pixels, said directly or as the field of view in radians."""
    if key in content:
        focal = _number(content, key, 0.0, where)
    elif angle_key in content:
        angle = _number(content, angle_key, 0.0, where)
        focal = side / (2 * math.tan(angle / 2)) if 0 < angle < math.pi else 0.0
    else:
        return None
    if not focal > 0:
        raise InputError(f"{where}: expected a positive focal length, found {focal}")
    return focal


def _number(content: dict[str, Any], key: str, default: float, where: str) -> float:
    value = content.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{where}: expected a number under {key!r}, found {value!r}")
    return float(value)


def _integer(content: dict[str, Any], key: str, default: int, where: str) -> int:
    value = _number(content, key, float(default), where)
    if value < 1 or value != int(value):
        raise InputError(f"{where}: expected a whole number of pixels under {key!r}, found {value!r}")
    return int(value)
