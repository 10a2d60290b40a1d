"""RGB-D sequences: ScanNet's export, and the frames of 7-Scenes, 3DMatch, BundleFusion, 3RScan.

ScanNet's SensReader exports ``color/0.jpg``, ``depth/0.png``, ``pose/0.txt`` and
``intrinsic/intrinsic_color.txt`` a scan (ScanNet/ScanNet, SensReader/python); its benchmark's 25,000 frames
have ``intrinsics_color.txt`` instead. Instances come as ``instance-filt/0.png`` or ``instance/0.png``: ids
of objects, 0 where there is none. The others have ``frame-000000.color.png``, ``….depth.png`` and
``….pose.txt`` a sequence, and beside or above them 3DMatch's ``camera-intrinsics.txt``
(andyzeng/tsdf-fusion-python reads this layout) or the ``_info.txt`` of BundleFusion, 12-Scenes and 3RScan,
with both cameras and the unit of depth.

Poses are camera-to-world with OpenCV's axes, in metres, and those of frames where tracking was lost are
-inf, nan or zeros. Depth is planar, in 16 bits, in millimetres unless said; 0 and 65535 say that nothing
was measured. Pixel centres are at whole numbers.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Integer

from objnerf.dataset import names
from objnerf.dataset.cameras import camera_rays
from objnerf.dataset.convert.captures import (
    Frame,
    by_stem,
    lens_from_matrix,
    paired_frames,
    pictures_in,
    read_camera_matrix,
    read_captures,
    read_numbers,
)
from objnerf.dataset.convert.extras import depth_picture, nearest, size_for
from objnerf.dataset.convert.lenses import Lens
from objnerf.dataset.convert.masks import InstanceMap, instance_masks
from objnerf.dataset.convert.posed import (
    Blob,
    Computed,
    PosedScene,
    PosedScenes,
    PosedView,
    checked_pose,
    image_size,
)
from objnerf.dataset.untrusted import read_text
from objnerf.errors import InputError

_NOT_MEASURED = 65535
#: Where ScanNet's folders lie below a scan's.
_SCANNET_PLACES = ("", "frames")
#: The instances in an image; the raw ones only where the cleaned ones are not there.
_INSTANCES = ("instance-filt", "instance")
#: The camera matrix of ``color`` or ``depth``: as the reader exports it, and in the benchmark's frames.
_MATRICES = ("intrinsic/intrinsic_{}.txt", "intrinsics_{}.txt")
_FRAME = re.compile(r"(frame-\d+)\.(color|depth|pose)\.\w+")
#: What says the camera of a sequence, in its folder or above it: 3DMatch's matrix; the other two alike.
_CAMERA_FILES = ("camera-intrinsics.txt", "_info.txt", "info.txt")
_KINECT_FOCAL, _KINECT_WIDTH = 525.0, 640


@dataclass(frozen=True)
class _Camera:
    """A camera matrix, pixel centres at whole numbers.

    Attributes:
        path: the file that says so, for messages.
        size: width and height of the images that it is for; None: of those that are there.
    """

    matrix: Float[np.ndarray, "rows columns"]
    path: Path
    size: tuple[int, int] | None = None

    def lens(self, size: tuple[int, int]) -> Lens:
        """The lens of an image of this width and height, pixels.

        Raises:
            InputError: no pinhole, or one for images of another shape.
        """
        width, height = self.size or size
        lens = lens_from_matrix(self.matrix, (width, height), str(self.path))
        if abs(size[0] * height - size[1] * width) > max(width, height, *size):
            raise InputError(
                f"{self.path}: expected the camera of images of {size[0]} x {size[1]} pixels, found that "
                f"of {width} x {height}; take the images that it is for"
            )
        return lens if (width, height) == size else lens.scaled(*size)


@dataclass(frozen=True)
class _Kinect:
    """The colour camera of a Kinect, which 7-Scenes does not give: with the maker's focal length."""

    def lens(self, size: tuple[int, int]) -> Lens:
        """The lens of an image of this width and height, pixels."""
        width, height = size
        focal = _KINECT_FOCAL * width / _KINECT_WIDTH
        return Lens("PINHOLE", width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)


@dataclass(frozen=True)
class _Sensor:
    """A sensor of colour and depth, both at one place.

    Attributes:
        depth: None where the depth maps are those of the colour camera, at any size.
        metres: length of a step in the depth maps.
    """

    colour: _Camera | _Kinect
    depth: _Camera | None = None
    metres: float = 1e-3


def recognise_scannet(folder: Path) -> bool:
    """Whether the folder holds a scan that ScanNet's reader exported."""
    return _scannet_place(folder) is not None


def read_scannet(folder: Path) -> PosedScenes:
    """Read one scan, or a folder of scans.

    Raises:
        InputError: what is there is no such scan.
    """
    expected = "ScanNet's color/, pose/ and intrinsic/intrinsic_color.txt (its SensReader exports them)"
    return read_captures(folder, recognise_scannet, _read_scan, expected)


def recognise_frames(folder: Path) -> bool:
    """Whether the folder holds a sequence of frames."""
    return folder.is_dir() and bool(_frame_files(folder, "pose")) and bool(_frame_files(folder, "color"))


def read_frames(folder: Path) -> PosedScenes:
    """Read one sequence, or a folder of sequences, each of which becomes a scene.

    Raises:
        InputError: what is there is no such sequence.
    """
    return read_captures(
        folder, recognise_frames, _read_sequence, "frame-000000.color.png and frame-000000.pose.txt"
    )


def _scannet_place(folder: Path) -> Path | None:
    for place in (folder / name for name in _SCANNET_PLACES):
        folders = (place / "color").is_dir() and (place / "pose").is_dir()
        if folders and _matrix_file(place, "color") is not None:
            return place
    return None


def _matrix_file(place: Path, kind: str) -> Path | None:
    """The file with the camera matrix of ``color`` or ``depth``."""
    return next((path for name in _MATRICES if (path := place / name.format(kind)).is_file()), None)


def _read_scan(folder: Path, notes: list[str]) -> PosedScene:
    place = _scannet_place(folder)
    assert place is not None
    colour, depth = _matrix_file(place, "color"), _matrix_file(place, "depth")
    assert colour is not None
    sensor = _Sensor(
        _Camera(read_camera_matrix(colour), colour),
        None if depth is None else _Camera(read_camera_matrix(depth), depth),
    )
    images, poses = by_stem(pictures_in(place / "color")), by_stem((place / "pose").glob("*.txt"))
    views = _views(paired_frames(images, poses, folder, notes), sensor, folder, notes)
    depths = by_stem(pictures_in(place / "depth"))
    extrinsics = [place / "intrinsic" / f"extrinsic_{kind}.txt" for kind in ("color", "depth")]
    if depths and all(path.is_file() for path in extrinsics):
        first, second = (read_numbers(path, "a 4x4 extrinsic matrix") for path in extrinsics)
        depths = _registered(depths, first, second, place / "depth", notes)
    return PosedScene(folder.name, tuple(_with_instances(_with_depth(views, depths, sensor), place, notes)))


def _registered(
    depths: dict[str, Path],
    colour: Float[np.ndarray, "rows columns"],
    depth: Float[np.ndarray, "rows columns"],
    where: Path,
    notes: list[str],
) -> dict[str, Path]:
    """The depth maps, where they and the images were taken from one place, as their extrinsics say."""
    if np.allclose(colour, depth, atol=1e-4):
        return depths
    notes.append(f"{where}: depth left out: its camera is at another position than that of the images")
    return {}


def _with_instances(views: Sequence[PosedView], place: Path, notes: list[str]) -> list[PosedView]:
    """The views with masks out of the ids of instances, where these are there."""
    folder = next((place / name for name in _INSTANCES if (place / name).is_dir()), None)
    if folder is None:
        return list(views)
    files = {path.stem: path for path in pictures_in(folder)}
    maps = [
        None if (path := files.get(view.stem)) is None else InstanceMap(path, partial(_ids, path, view))
        for view in views
    ]
    return [
        view if mask is None else replace(view, companions={**view.companions, names.MASK_SUFFIX: mask})
        for view, mask in zip(views, instance_masks(maps, str(folder), notes), strict=True)
    ]


def _ids(path: Path, view: PosedView) -> Integer[np.ndarray, "height width"]:
    """The ids of instances at a view's pixels."""
    ids = depth_picture(path).astype(np.int64)
    height, width = ids.shape
    return nearest(ids, size_for((width, height), view, path))


def _read_sequence(folder: Path, notes: list[str]) -> PosedScene:
    images, poses, depths = (_frame_files(folder, kind) for kind in ("color", "pose", "depth"))
    said = next(
        (
            place / name
            for name in _CAMERA_FILES
            for place in (folder, folder.parent)
            if (place / name).is_file()
        ),
        None,
    )
    if said is None:
        notes.append(
            f"{folder}: neither {_CAMERA_FILES[0]} nor {_CAMERA_FILES[1]} says the camera; the focal length "
            f"of a Kinect's colour camera was taken, {_KINECT_FOCAL:g} pixels at a width of {_KINECT_WIDTH}, "
            "and the depth left out, which the camera beside it took"
        )
        sensor, depths = _Sensor(_Kinect()), {}
    elif said.name == _CAMERA_FILES[0]:
        sensor = _Sensor(_Camera(read_camera_matrix(said), said))
    else:
        info = _read_info(said)
        sensor = info.sensor
        depths = _registered(depths, info.colour_extrinsic, info.depth_extrinsic, folder, notes)
    views = _views(paired_frames(images, poses, folder, notes), sensor, folder, notes)
    return PosedScene(folder.name, tuple(_with_depth(views, depths, sensor)))


def _frame_files(folder: Path, kind: str) -> dict[str, Path]:
    """The files of a sequence by their frames: ``color``, ``depth`` or ``pose``."""
    found = ((_FRAME.fullmatch(path.name), path) for path in folder.iterdir())
    return {match[1]: path for match, path in found if match is not None and match[2] == kind}


@dataclass(frozen=True)
class _Info:
    """What the ``_info.txt`` of a sequence says."""

    sensor: _Sensor
    colour_extrinsic: Float[np.ndarray, "rows columns"]
    depth_extrinsic: Float[np.ndarray, "rows columns"]


def _read_info(path: Path) -> _Info:
    """Read a file of lines like ``m_colorWidth = 640`` (ScanNet/ScanNet, SensReader/c++)."""
    lines = read_text(path).splitlines()
    said = {key.strip(): value for key, equals, value in (line.partition("=") for line in lines) if equals}

    def numbers(key: str, counts: tuple[int, ...]) -> Float[np.ndarray, "numbers"]:
        try:
            found = np.array([float(word) for word in said[key].split()])
        except (KeyError, ValueError) as error:
            raise InputError(f"{path}: expected numbers after {key} =, found none") from error
        if len(found) not in counts or not np.isfinite(found).all():
            raise InputError(f"{path}: expected {counts[0]} finite numbers after {key} =, found {len(found)}")
        return found

    def camera(kind: str) -> _Camera:
        matrix = numbers(f"m_calibration{kind}Intrinsic", (16, 12)).reshape(-1, 4)
        width, height = (numbers(f"m_{kind.lower()}{side}", (1,))[0] for side in ("Width", "Height"))
        return _Camera(matrix, path, (int(width), int(height)))

    def extrinsic(kind: str) -> Float[np.ndarray, "rows columns"]:
        key = f"m_calibration{kind}Extrinsic"
        return numbers(key, (16,)).reshape(4, 4) if key in said else np.eye(4)

    steps = float(numbers("m_depthShift", (1,))[0])
    if not steps > 0:
        raise InputError(f"{path}: expected a positive number after m_depthShift =, found {steps:g}")
    return _Info(_Sensor(camera("Color"), camera("Depth"), 1 / steps), extrinsic("Color"), extrinsic("Depth"))


def _views(frames: Sequence[Frame], sensor: _Sensor, folder: Path, notes: list[str]) -> list[PosedView]:
    """The frames whose pose is known, as views; notes how many are not."""
    views, lost = [], []
    for frame in frames:
        pose = read_numbers(frame.pose, "a 4x4 pose matrix")
        if not np.isfinite(pose).all() or not pose[:3, :3].any():
            lost.append(frame.name)
            continue
        image, where = Blob(frame.image), str(frame.pose)
        lens = sensor.colour.lens(image_size(image))
        views.append(PosedView(frame.name, image, checked_pose(pose, where), lens=lens, where=where))
    if not views:
        raise InputError(f"{folder}: expected at least one pose of finite numbers, found {len(lost)} without")
    if lost:
        notes.append(
            f"{folder}: {len(lost)} of {len(frames)} frames have no pose (-inf or nan: tracking was lost) "
            f"and were left out; the first: {lost[0]}"
        )
    return views


def _with_depth(views: Sequence[PosedView], depths: dict[str, Path], sensor: _Sensor) -> list[PosedView]:
    """The views with their depth maps by name."""
    carried = []
    for view in views:
        path = depths.get(view.stem)
        if path is not None:
            assert view.lens is not None
            size = image_size(Blob(path))
            own = view.lens.scaled(*size) if sensor.depth is None else sensor.depth.lens(size)
            read = partial(_depth, path, sensor.metres, own, view.lens)
            depth = Computed(path, read, (view.lens.width, view.lens.height))
            view = replace(view, companions={names.DEPTH_SUFFIX: depth})
        carried.append(view)
    return carried


def _depth(path: Path, unit: float, own: Lens, lens: Lens) -> Float32[np.ndarray, "height width"]:
    """Planar depth in metres at the pixels of an image, by the nearest pixel of the depth map.

    Args:
        path: the depth map.
        unit: metres in a step of its numbers.
        own: its lens.
        lens: that of the image, from the same place.
    Returns:
        inf where nothing was measured, and where the depth map does not reach.
    """
    stored = depth_picture(path)
    metres = np.where((stored > 0) & (stored < _NOT_MEASURED), stored * np.float32(unit), np.float32(np.inf))
    column, row = np.moveaxis(
        np.rint(own.project(camera_rays(lens.intrinsics())[..., :2])).astype(int), -1, 0
    )
    inside = (column >= 0) & (column < own.width) & (row >= 0) & (row < own.height)
    found = metres[row.clip(0, own.height - 1), column.clip(0, own.width - 1)]
    return np.where(inside, found, np.float32(np.inf))
