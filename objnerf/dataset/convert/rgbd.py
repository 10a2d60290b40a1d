"""RGB-D sequences: ScanNet's export, and the frames of 7-Scenes, 3DMatch and BundleFusion.

ScanNet's SensReader exports ``color/0.jpg``, ``depth/0.png``, ``pose/0.txt`` and
``intrinsic/intrinsic_color.txt`` a scan (ScanNet/ScanNet, SensReader/python); its benchmark's 25,000 frames
have ``intrinsics_color.txt`` instead. Instances come as ``instance-filt/0.png`` or ``instance/0.png``: ids
of objects, 0 where there is none. The others have ``frame-000000.color.png``, ``….depth.png`` and
``….pose.txt`` a sequence, and 3DMatch ``camera-intrinsics.txt`` beside or above them
(andyzeng/tsdf-fusion-python reads this layout).

Poses are camera-to-world with OpenCV's axes, in metres, and those of frames where tracking was lost are -inf,
nan or zeros. Depth is planar, in 16 bits, in millimetres; 0 and 65535 say that nothing was measured. Pixel
centres are at whole numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Integer

from objnerf.dataset import names
from objnerf.dataset.cameras import camera_rays
from objnerf.dataset.convert.captures import (
    Frame,
    lens_from_matrix,
    paired_frames,
    pictures_in,
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
from objnerf.dataset.files import read_rows
from objnerf.errors import InputError

_METRES = np.float32(1e-3)
_NOT_MEASURED = 65535
#: Where ScanNet's folders lie below a scan's.
_SCANNET_PLACES = ("", "frames")
#: The instances in a picture; the raw ones only where the cleaned ones are not there.
_INSTANCES = ("instance-filt", "instance")
#: The camera matrix of ``color`` or ``depth``: as the reader exports it, and in the benchmark's frames.
_MATRICES = ("intrinsic/intrinsic_{}.txt", "intrinsics_{}.txt")
_FRAME = "frame-*"
_INTRINSICS = "camera-intrinsics.txt"
#: The focal length, pixels of a width of 640, of the Kinect's colour camera, which 7-Scenes does not give;
#: everybody uses the maker's.
_KINECT_FOCAL, _KINECT_WIDTH = 525.0, 640


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
    return any(folder.glob(f"{_FRAME}.pose.txt")) and any(folder.glob(f"{_FRAME}.color.*"))


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
    colour_file, depth_file = _matrix_file(place, "color"), _matrix_file(place, "depth")
    assert colour_file is not None
    frames = paired_frames(pictures_in(place / "color"), (place / "pose").glob("*.txt"), folder, notes)
    views = _views(frames, partial(_lens, colour_file), folder, notes)
    depths = {path.stem: path for path in pictures_in(place / "depth")}
    if depths and not _is_registered(place / "intrinsic"):
        notes.append(f"{place / 'depth'} left out: its camera stands beside that of the pictures")
        depths = {}
    views = _with_depth(views, depths, None if depth_file is None else partial(_lens, depth_file))
    return PosedScene(folder.name, tuple(_with_instances(views, place, notes)))


def _is_registered(intrinsic: Path) -> bool:
    """Whether depth and colour were taken, or rendered, from one place: their extrinsics are the same."""
    paths = [intrinsic / f"extrinsic_{kind}.txt" for kind in ("color", "depth")]
    if not all(path.is_file() for path in paths):
        return True
    colour, depth = (read_numbers(path, "a 4x4 extrinsic matrix") for path in paths)
    return bool(np.allclose(colour, depth, atol=1e-4))


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
    images = [path for path in pictures_in(folder) if path.name.split(".")[-2:-1] == ["color"]]
    frames = paired_frames(images, folder.glob(f"{_FRAME}.pose.txt"), folder, notes)
    intrinsics = next(
        (place / _INTRINSICS for place in (folder, folder.parent) if (place / _INTRINSICS).is_file()), None
    )
    if intrinsics is not None:
        views = _views(frames, partial(_lens, intrinsics), folder, notes)
        depths = {path.name.split(".")[0]: path for path in folder.glob(f"{_FRAME}.depth.png")}
        return PosedScene(folder.name, tuple(_with_depth(views, depths, None)))
    notes.append(
        f"{folder}: no {_INTRINSICS} says the camera; the focal length of a Kinect's colour camera was "
        f"taken, {_KINECT_FOCAL:g} pixels at a width of {_KINECT_WIDTH}, and the depth left out, which the "
        "camera beside it took"
    )
    return PosedScene(folder.name, tuple(_views(frames, _kinect, folder, notes)))


def _views(
    frames: Sequence[Frame], lens: Callable[[tuple[int, int]], Lens], folder: Path, notes: list[str]
) -> list[PosedView]:
    """The frames whose pose is known, as views; notes how many are not."""
    views, lost = [], []
    for frame in frames:
        pose = read_numbers(frame.pose, "a 4x4 pose matrix")
        if not np.isfinite(pose).all() or not pose[:3, :3].any():
            lost.append(frame.name)
            continue
        image = Blob(frame.image)
        where = str(frame.pose)
        views.append(
            PosedView(frame.name, image, checked_pose(pose, where), lens=lens(image_size(image)), where=where)
        )
    if not views:
        raise InputError(f"{folder}: expected at least one pose of finite numbers, found {len(lost)} without")
    if lost:
        notes.append(
            f"{folder}: {len(lost)} of {len(frames)} frames have no pose (-inf or nan: tracking was lost) "
            f"and were left out; the first: {lost[0]}"
        )
    return views


def _lens(path: Path, size: tuple[int, int]) -> Lens:
    """The lens of a matrix in a text file, for pictures of a size (width, height)."""
    rows = read_rows(path, "a camera matrix of 3x3 or 4x4 numbers")
    if len(rows) not in (3, 4) or {len(row) for row in rows} not in ({3}, {4}):
        raise InputError(f"{path}: expected a camera matrix of 3x3 or 4x4 numbers, found {len(rows)} lines")
    return lens_from_matrix(np.array(rows), size, str(path))


def _kinect(size: tuple[int, int]) -> Lens:
    width, height = size
    focal = _KINECT_FOCAL * width / _KINECT_WIDTH
    return Lens("PINHOLE", width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)


def _with_depth(
    views: Sequence[PosedView], depths: dict[str, Path], depth_lens: Callable[[tuple[int, int]], Lens] | None
) -> list[PosedView]:
    """The views with their depth maps by name, which may have a camera of their own in the same place."""
    carried = []
    for view in views:
        path = depths.get(view.stem)
        if path is not None:
            assert view.lens is not None
            size = image_size(Blob(path))
            own = view.lens.scaled(*size) if depth_lens is None else depth_lens(size)
            depth = Computed(path, partial(_depth, path, own, view.lens), (view.lens.width, view.lens.height))
            view = replace(view, companions={names.DEPTH_SUFFIX: depth})
        carried.append(view)
    return carried


def _depth(path: Path, own: Lens, lens: Lens) -> Float32[np.ndarray, "height width"]:
    """Planar depth in metres at the pixels of a picture, by the nearest pixel of the depth map.

    Args:
        path: the depth map.
        own: its lens.
        lens: that of the picture, from the same place.
    Returns:
        inf where nothing was measured, and where the depth map does not reach.
    """
    stored = depth_picture(path)
    metres = np.where((stored > 0) & (stored < _NOT_MEASURED), stored * _METRES, np.float32(np.inf))
    column, row = np.moveaxis(
        np.rint(own.project(camera_rays(lens.intrinsics())[..., :2])).astype(int), -1, 0
    )
    inside = (column >= 0) & (column < own.width) & (row >= 0) & (row < own.height)
    found = metres[row.clip(0, own.height - 1), column.clip(0, own.width - 1)]
    return np.where(inside, found, np.float32(np.inf))
