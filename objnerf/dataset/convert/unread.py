"""Formats that are known by sight and not read: their names, and the way to one that is."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from objnerf.dataset.convert.posed import is_picture
from objnerf.dataset.untrusted import MAX_COLLECTION_BYTES, Unreadable, open_regular

#: The plainest layout that is read, for poses that a few lines of code can rewrite.
_NSVF = (
    "NSVF's layout, which is read: pose/000000.txt with the 4x4 camera-to-world matrix in OpenCV's axes (x "
    "right, y down, z forward), rgb/000000.png, and intrinsics.txt with the camera matrix in pixels"
)


class UnreadFormat(NamedTuple):
    """A format that is not read.

    Attributes:
        name: as its users call it.
        sign: whether a folder or file is in it.
        advice: what leads to a format that is read.
    """

    name: str
    sign: Callable[[Path], bool]
    advice: str


def unread_format(source: Path) -> UnreadFormat | None:
    """The format of a folder or file, among those that are known and not read."""
    return next((known for known in UNREAD if known.sign(source)), None)


def _is_mvsnet(source: Path) -> bool:
    places = ("cams", "cameras", "Cameras", "Cameras/train")
    return any(any((source / place).glob("*_cam.txt")) for place in places)


def _is_record3d(source: Path) -> bool:
    if source.suffix.lower() == ".r3d" or (source / "EXR_RGBD").is_dir():
        return True
    if (source / "rgbd").is_dir() and (source / "metadata").is_file():
        return True
    described = source / "metadata.json"
    if not (described.is_file() and (source / "rgb").is_dir()):
        return False
    try:
        with open_regular(described, MAX_COLLECTION_BYTES) as file:
            return b'"poses"' in file.read(1 << 20)
    except (Unreadable, OSError):
        return False


def _is_polycam(source: Path) -> bool:
    frames = source if source.name == "keyframes" else source / "keyframes"
    return any((frames / name).is_dir() for name in ("cameras", "corrected_cameras"))


def _is_kitti(source: Path) -> bool:
    cameras = [path.name for path in _entries(source) if re.fullmatch(r"image_0\d?|image_\d", path.name)]
    if cameras and any((source / name).exists() for name in ("calib.txt", "times.txt", "oxts")):
        return True
    return (source / "sequences").is_dir() and (source / "poses").is_dir()


def _is_co3d(source: Path) -> bool:
    places = (source, source.parent, *(path for path in _entries(source) if path.is_dir()))
    return any((place / "frame_annotations.jgz").is_file() for place in places)


def _is_tfrecord(source: Path) -> bool:
    folders = (source, *(path for path in _entries(source) if path.is_dir()))
    return ".tfrecord" in source.name or any(any(folder.glob("*.tfrecord*")) for folder in folders)


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder; nothing where it is none."""
    return list(folder.iterdir()) if folder.is_dir() else []


def _folder(sign: Callable[[Path], bool]) -> Callable[[Path], bool]:
    """A sign of folders only: of the one that was named, or of one in it."""

    def found(source: Path) -> bool:
        return any(sign(path) for path in (source, *_entries(source)) if path.is_dir())

    return found


#: In this order they are asked.
UNREAD: tuple[UnreadFormat, ...] = (
    UnreadFormat(
        "ScanNet's .sens file",
        lambda source: source.suffix == ".sens" or (source.is_dir() and any(source.glob("*.sens"))),
        "export it with ScanNet's SensReader (reader.py with --export_color_images, --export_depth_images, "
        "--export_poses, --export_intrinsics): its color/, depth/, pose/ and intrinsic/ are read",
    ),
    UnreadFormat(
        "MVSNet",
        _folder(_is_mvsnet),
        "convert the COLMAP model that it was made of; BlendedMVS and DTU come in the layout of IDR and NeuS "
        f"too, which is read. Otherwise write the inverse of each extrinsic matrix in {_NSVF}",
    ),
    UnreadFormat(
        "TUM RGB-D",
        _folder(lambda folder: (folder / "groundtruth.txt").is_file() and (folder / "rgb").is_dir()),
        "pair images and poses by their times with the benchmark's associate.py, and write each tx ty tz "
        f"qx qy qz qw as a matrix in {_NSVF}; the benchmark's page has the camera matrices",
    ),
    UnreadFormat(
        "Replica as NICE-SLAM rendered it",
        _folder(lambda folder: (folder / "traj.txt").is_file()),
        "a line of traj.txt is the 16 numbers of a frame's pose; write each, and the focal lengths and "
        f"centre of cam_params.json, in {_NSVF}",
    ),
    UnreadFormat(
        "CO3D",
        _is_co3d,
        "its cameras were found with COLMAP: run COLMAP or `ns-process-data images` (nerfstudio) on the "
        "images/ of a sequence, and convert what they write; PyTorch3D's axes and normalised coordinates in "
        "frame_annotations.jgz are not read",
    ),
    UnreadFormat(
        "KITTI",
        _folder(_is_kitti),
        "a drive is no scene that cameras stand around, which a radiance field of objects needs; for a short "
        f"stretch write the poses of the odometry benchmark in {_NSVF}",
    ),
    UnreadFormat(
        "Record3D",
        _is_record3d,
        "`ns-process-data record3d --data FOLDER --output-dir OUT` (nerfstudio) makes a transforms.json, "
        "which is read, out of the app's export as EXR and RGB",
    ),
    UnreadFormat(
        "Polycam's raw data",
        _folder(_is_polycam),
        "`ns-process-data polycam --data FOLDER --output-dir OUT` (nerfstudio) makes a transforms.json, "
        "which is read",
    ),
    UnreadFormat(
        "records of TensorFlow Datasets (MOVi, MultiShapeNet and others come so)",
        _is_tfrecord,
        "write their scenes as the folders of Kubric, which are read: docs/renderers.md has the lines for it",
    ),
    UnreadFormat(
        "NSVF or SRN without intrinsics.txt",
        _folder(lambda folder: (folder / "pose").is_dir() and (folder / "rgb").is_dir()),
        "put intrinsics.txt with the 4x4 camera matrix in pixels beside rgb/ and pose/",
    ),
    UnreadFormat(
        "a folder of images without cameras",
        lambda source: any(map(is_picture, (*_entries(source), *_entries(source / "images")))),
        "find the cameras first, with COLMAP or `ns-process-data images` (docs/captures.md)",
    ),
)
