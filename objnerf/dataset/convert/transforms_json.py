"""``transforms.json``, as nerfstudio and instant-ngp read it.

One folder a scene: ``sc0000/transforms.json`` with the images in ``sc0000/images/``. Poses are
camera-to-world with OpenGL camera axes (y up, looking along -z), so ``transform_matrix = world_from_camera @
diag(1, -1, -1, 1)``; the world stays as it is. A pixel's centre lies half a pixel from its corner there, and
the principal point of a centred camera is (width / 2, height / 2).
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from objnerf.dataset import names
from objnerf.dataset.cameras import OPENCV_FROM_OPENGL, Intrinsics
from objnerf.dataset.convert import extras
from objnerf.dataset.convert.clouds import scene_cloud, write_ply
from objnerf.dataset.convert.lenses import Lens
from objnerf.dataset.convert.posed import (
    PICTURE_SUFFIXES,
    Blob,
    Companion,
    PosedScene,
    PosedScenes,
    PosedView,
    Progress,
    checked_pose,
    counted,
    grouped_by_name,
    image_size,
    put,
    put_png,
    read_json,
    scene_folder_name,
    scene_folders,
    stems_fit,
)
from objnerf.dataset.convert.sidecars import left_out, read_sidecars, world_of, write_sidecars
from objnerf.dataset.convert.transforms_lens import lens_of
from objnerf.dataset.files import write_text
from objnerf.dataset.untrusted import is_file
from objnerf.errors import InputError

_FILE = "transforms.json"
#: The splits of datasets in the manner of NeRF's own synthetic scenes, which make up one scene.
_SPLITS = ("transforms_train.json", "transforms_val.json", "transforms_test.json")
#: Keys of a frame that hold the path of a companion of ours. nerfstudio's own ``mask_path`` means something
#: else (which pixels to train on), so that instance masks need a name of their own.
_COMPANION_KEYS = {names.MASK_SUFFIX: "instance_mask_path", names.DEPTH_SUFFIX: "depth_file_path"}
_COMPANION_FOLDERS = {names.MASK_SUFFIX: "instance_masks", names.DEPTH_SUFFIX: "depths"}
#: What nerfstudio calls the points that it begins splatting with.
_POINTS = "sparse_pc.ply"
_DEPTH_KEYS = ("depth_file_path", "depth_path")


def recognise(source: Path) -> bool:
    """Whether a folder itself holds a scene's ``transforms.json``, or the path is such a file."""
    return bool(_files(source))


def recognise_nested(folder: Path) -> bool:
    """Whether sub-folders hold a scene each."""
    return bool(scene_folders(folder, recognise))


def read(source: Path) -> PosedScenes:
    """Read one scene, or a folder of scenes (for which see ``scene_folders``).

    Args:
        source: the folder, or the JSON file itself.
    Raises:
        InputError: what is there is no such dataset.
    """
    folder = source if source.is_dir() else source.parent
    notes: list[str] = []
    if recognise(source):
        views = _read_scene(source, notes)
        scenes, keep = grouped_by_name(views, folder.name)
        scenes = tuple(replace(scene, points=_points(source)) for scene in scenes)
        keep = keep and stems_fit(scenes)
    else:
        folders = scene_folders(folder, recognise)
        if not folders:
            raise InputError(f"{source}: expected {_FILE} in it or in its sub-folders, found none")
        scenes = tuple(
            PosedScene(path.name, tuple(_read_scene(path, notes)), _points(path)) for path in folders
        )
        keep = stems_fit(scenes)
    card, scene_cards = read_sidecars(folder)
    return PosedScenes(
        scenes,
        card=card,
        scene_cards=scene_cards,
        keep_stems=keep,
        notes=tuple(notes),
        # What we wrote stands in our world; anybody else's file does not say.
        world=world_of(card),
    )


def write_nerfstudio(posed: PosedScenes, folder: Path, progress: Progress) -> list[str]:
    """Write a folder a scene, with the keys that nerfstudio reads; returns what had to be left out."""
    return _write(posed, folder, progress, {"camera_model": "OPENCV"})


def write_instant_ngp(posed: PosedScenes, folder: Path, progress: Progress) -> list[str]:
    """Write a folder a scene, with the keys that instant-ngp reads; returns what had to be left out."""
    camera = posed.camera
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
    camera = posed.camera
    n_scenes = len(posed.scenes)
    header = header | _camera_keys(camera)
    header |= {**dict.fromkeys(("k1", "k2", "p1", "p2"), 0.0), "depth_unit_scale_factor": 1.0}
    if any(view.lens is not None for view in posed.views):
        # nerfstudio looks into the frames only where the file says nothing.
        header = {key: value for key, value in header.items() if key not in _camera_keys(camera)}
    frames: list[list[dict[str, Any]]] = [[] for _ in posed.scenes]
    written: list[PosedView] = []
    for index, scene, number, view in counted(posed, progress):
        stem = view.stem if posed.keep_stems else names.make_view_stem(index, scene, number, n_scenes)
        scene_folder = folder / scene_folder_name(scene, n_scenes)
        (scene_folder / "images").mkdir(parents=True, exist_ok=True)
        put_png(view.image, scene_folder / "images" / f"{stem}.png")
        own = {} if view.lens is None else _camera_keys(view.lens.intrinsics())
        frame: dict[str, Any] = own | {
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
        written.append(view)
        if number + 1 == len(posed.scenes[scene].views):
            content = dict(header)
            cloud = scene_cloud(posed, posed.scenes[scene], written)
            if cloud is not None:
                content["ply_file_path"] = _POINTS
                write_ply(scene_folder / _POINTS, cloud)
            content["frames"] = frames[scene]
            write_text(scene_folder / _FILE, json.dumps(content, indent=2) + "\n")
            written.clear()
    write_sidecars(posed, folder)
    return left_out(posed, set(_COMPANION_KEYS))


def _camera_keys(camera: Intrinsics) -> dict[str, float]:
    """A camera's numbers under nerfstudio's keys; pixels are counted from the corner of the first."""
    return {
        "fl_x": camera.fx,
        "fl_y": camera.fy,
        "cx": camera.width / 2 + camera.offset_x,
        "cy": camera.height / 2 + camera.offset_y,
        "w": camera.width,
        "h": camera.height,
    }


def _files(source: Path) -> list[Path]:
    """The JSON files that describe the scene in a folder: one, or its splits; or the file that was named."""
    if source.is_file():
        return [source] if source.suffix.lower() == ".json" else []
    if (source / _FILE).is_file():
        return [source / _FILE]
    return [source / name for name in _SPLITS if (source / name).is_file()]


@dataclass
class _Files:
    """Finds the files that the frames of one JSON name.

    Paths may be Windows', without a suffix, or relative to where a program was run instead of to the JSON:
    then their first folders are left out, the same number of them for all files.

    Attributes:
        folder: where the JSON lies.
        left_out: how many folders every path begins with that are not there.
        listed: names in the folders that were looked into, by their lower case.
    """

    folder: Path
    left_out: int = 0
    listed: dict[Path, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path, pictures: Sequence[str]) -> "_Files":
        """With ``left_out`` chosen so that the most images are there."""
        files = cls(folder)
        deepest = max((len(_parts(name)) for name in pictures), default=1)
        counts = []
        for files.left_out in range(deepest):
            counts.append(sum(files.find(name, PICTURE_SUFFIXES) is not None for name in pictures))
            if counts[-1] == len(pictures):
                break
        files.left_out = counts.index(max(counts))
        return files

    def find(self, name: str, suffixes: Sequence[str] = ()) -> Path | None:
        """Where a file lies; None when it is nowhere.

        Args:
            name: as it is written in the JSON.
            suffixes: what may be missing at the end of it.
        """
        parts = _parts(name)[self.left_out :]
        if not parts:
            return None
        path = self.folder.joinpath(*parts)
        candidates = (self._same(path.with_name(path.name + suffix)) for suffix in ("", *suffixes))
        return next((found for found in candidates if found is not None), None)

    def _same(self, path: Path) -> Path | None:
        """The file of this name, or of one that differs in upper and lower case."""
        if is_file(path):
            return path
        if path.parent not in self.listed:
            try:
                found = list(path.parent.iterdir())
            except OSError:  # none, none that may be read, or a name longer than any
                found = []
            self.listed[path.parent] = {entry.name.lower(): entry.name for entry in found}
        other = self.listed[path.parent].get(path.name.lower())
        return path.with_name(other) if other is not None and is_file(path.with_name(other)) else None


def _parts(name: str) -> tuple[str, ...]:
    """The folders and the name of a path, Windows' or not."""
    return Path(name.replace("\\", "/")).parts


def _read_scene(source: Path, notes: list[str]) -> list[PosedView]:
    """The views of one scene; adds to the notes what the user should know."""
    views: list[PosedView] = []
    missing: list[str] = []
    times: set[str] = set()
    carried = extras.Extras()
    for path in _files(source):
        content = read_json(path)
        frames = _frames(content, path)
        files = _Files.of(path.parent, [frame["file_path"] for frame in frames])
        for number, frame in enumerate(frames):
            where = f"{path}, frame {number}"
            # NeRF's own scenes leave the suffix out.
            image = files.find(frame["file_path"], PICTURE_SUFFIXES)
            if image is None:
                missing.append(f"{where}: its image {path.parent / frame['file_path']} is not there")
                continue
            keys = content | frame
            times.add(str(frame.get("time")))
            pose = checked_pose(frame.get("transform_matrix"), where) @ OPENCV_FROM_OPENGL
            view = PosedView(image.stem, Blob(image), pose, lens=_lens(keys, image, where), where=where)
            views.append(_with_companions(view, files, keys, carried))
        if files.left_out:
            first = Path(*_parts(frames[0]["file_path"])[files.left_out :])
            notes.append(
                f"{path}: its paths begin at another folder; {frames[0]['file_path']} was read from {first} "
                "beside it, and the others alike"
            )
    if not views:
        raise InputError(
            missing[0] if missing else f"{_files(source)[0]}: expected at least one frame, found none"
        )
    if missing:
        notes.append(
            f"{len(missing)} of {len(missing) + len(views)} frames have no image and were left out; the "
            f"first: {missing[0]}"
        )
    if len(times) > 1:
        notes.append(
            f"{source}: the frames were taken at {len(times)} different times (key 'time'), which has no "
            "place in our format: a scene that moves becomes a static one, and its views contradict each "
            "other"
        )
    return carried.settled(views, notes, str(source))


def _frames(content: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    """The frames of a JSON, each with the path of an image.

    Raises:
        InputError: something else is there.
    """
    frames = content.get("frames")
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise InputError(f"{path}: expected a list of frames under the key 'frames'")
    for number, frame in enumerate(frames):
        name = frame.get("file_path")
        if not isinstance(name, str) or not name:
            raise InputError(
                f"{path}, frame {number}: expected the image's path under the key 'file_path', found {name!r}"
            )
    return frames


def _lens(content: dict[str, Any], image: Path, where: str) -> Lens:
    """The lens of a frame; the image's header is read only where the keys don't tell its size."""
    size = (1, 1) if "w" in content and "h" in content else image_size(Blob(image))
    return lens_of(content, size, where)


def _points(source: Path) -> Callable[[], Float[np.ndarray, "points 3"]] | None:
    """What reads the points under nerfstudio's ``ply_file_path``; None where there are none."""
    for path in _files(source):
        name = read_json(path).get("ply_file_path")
        found = _Files(path.parent).find(name) if isinstance(name, str) else None
        if found is not None:
            return partial(_read_ply, found)
    return None


def _read_ply(path: Path) -> Float[np.ndarray, "points 3"]:
    """The positions in a PLY file; none where it is damaged, since they are a help only."""
    import trimesh

    try:
        cloud: Any = trimesh.load(path, process=False)
        return np.asarray(cloud.vertices, dtype=np.float64).reshape(-1, 3)
    except Exception:
        # trimesh raises whatever its parsers meet in a damaged file.
        return np.zeros((0, 3))


def _with_companions(
    view: PosedView, files: _Files, content: dict[str, Any], carried: extras.Extras
) -> PosedView:
    """The view with its instance mask; masks and depth maps of other programs are put down in ``carried``."""

    def found(key: str) -> Path | None:
        name = content.get(key)
        if not isinstance(name, str):
            return None
        path = files.find(name)
        if path is None:
            carried.missing.append(f"{view.where}: its {key} {name}")
        return path

    companions: dict[str, Companion] = {}
    if (mask := found(_COMPANION_KEYS[names.MASK_SUFFIX])) is not None:
        companions[names.MASK_SUFFIX] = Blob(mask)
    elif (mask := found("mask_path")) is not None:
        carried.masks[view.where] = mask
    key = next((key for key in _DEPTH_KEYS if isinstance(content.get(key), str)), None)
    if key is not None and (depth := found(key)) is not None:
        carried.depths[view.where] = (depth, extras.depth_unit(content, depth, view.where))
    return PosedView(view.stem, view.image, view.world_from_camera, companions, view.lens, view.where)
