"""COLMAP models, as text and binary: our own reader and writer of the three files.

One folder a scene: ``sc0000/sparse/0/{cameras,images,points3D}.{txt,bin}`` with the pictures in
``sc0000/images/``. COLMAP's cameras have OpenCV axes like ours; it stores world-to-camera as a quaternion
(w, x, y, z) and a translation. A pixel's centre lies half a pixel from its corner there, so the principal
point of a centred camera is (width / 2, height / 2). Its world stays what it was: nothing is turned or
scaled. A quaternion holds exact rotations only; where a pose's text had too few digits to be one, its numbers
travel in ``world_from_camera/`` as well, and come back as long as they still mean the model's pose.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from objnerf.dataset import names
from objnerf.dataset.cameras import Intrinsics, invert
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
    one_intrinsics,
    one_size,
    put,
    put_png,
    rigid,
    scene_folder_name,
    scene_folders,
    stems_fit,
)
from objnerf.dataset.convert.sidecars import left_out, read_sidecars, write_sidecars
from objnerf.dataset.files import read_matrix, write_matrix
from objnerf.errors import InputError

#: COLMAP's camera models: id, name, number of parameters, how many of the first are focal lengths.
_MODELS = {
    0: ("SIMPLE_PINHOLE", 3, 1),
    1: ("PINHOLE", 4, 2),
    2: ("SIMPLE_RADIAL", 4, 1),
    3: ("RADIAL", 5, 1),
    4: ("OPENCV", 8, 2),
    5: ("OPENCV_FISHEYE", 8, 2),
    6: ("FULL_OPENCV", 12, 2),
    7: ("FOV", 5, 2),
    8: ("SIMPLE_RADIAL_FISHEYE", 4, 1),
    9: ("RADIAL_FISHEYE", 5, 1),
    10: ("THIN_PRISM_FISHEYE", 12, 2),
    11: ("RAD_TAN_THIN_PRISM_FISHEYE", 16, 2),
}
#: Those that are a pinhole when their other parameters are zero.
_PINHOLES = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV")
_MODEL_PLACES = ("", "sparse/0", "sparse")
_ModelWriter = Callable[[Path, Intrinsics, "list[ColmapImage]"], None]
_POSE_FOLDER = "world_from_camera"
#: Two poses this near are one: what a quaternion there and back costs.
_SAME_POSE = 1e-9
_COMPANION_FOLDERS = {names.MASK_SUFFIX: "instance_masks", names.DEPTH_SUFFIX: "depths"}


@dataclass(frozen=True)
class ColmapImage:
    """One line of ``images``: a name, a camera's id and the pose (camera-from-world, OpenCV axes)."""

    name: str
    camera: int
    quaternion: Float[np.ndarray, "4"]
    translation: Float[np.ndarray, "3"]


def recognise(folder: Path) -> bool:
    """Whether the folder itself holds a model, at its root, in ``sparse`` or in ``sparse/0``."""
    return _model_folder(folder) is not None


def recognise_nested(folder: Path) -> bool:
    """Whether sub-folders hold a model each."""
    return bool(scene_folders(folder, recognise))


def read(folder: Path) -> PosedScenes:
    """Read one model, or a folder of models (for which see ``scene_folders``), text or binary.

    Raises:
        InputError: what is there is no model, or our format cannot hold it: several cameras, lens
            distortion, a principal point off the centre.
    """
    found: list[tuple[str, Intrinsics]] = []
    notes: list[str] = []
    if recognise(folder):
        scenes, keep = grouped_by_name(_read_scene(folder, found, notes), folder.name)
        keep = keep and stems_fit(scenes)
    else:
        folders = scene_folders(folder, recognise)
        if not folders:
            raise InputError(
                f"{folder}: expected a COLMAP model (cameras and images as .bin or .txt) in it, in sparse/0 "
                "or in its sub-folders, found none"
            )
        scenes = tuple(PosedScene(path.name, tuple(_read_scene(path, found, notes))) for path in folders)
        keep = stems_fit(scenes)
    intrinsics = one_intrinsics(found)
    one_size([view for scene in scenes for view in scene.views], (intrinsics.width, intrinsics.height))
    card, scene_cards = read_sidecars(folder)
    return PosedScenes(
        scenes, intrinsics, card=card, scene_cards=scene_cards, keep_stems=keep, notes=tuple(notes)
    )


def write_text_model(posed: PosedScenes, folder: Path, progress: Progress) -> list[str]:
    """Write a text model a scene; returns what had to be left out."""
    return _write(posed, folder, progress, _write_text)


def write_binary_model(posed: PosedScenes, folder: Path, progress: Progress) -> list[str]:
    """Write a binary model a scene; returns what had to be left out."""
    return _write(posed, folder, progress, _write_binary)


def rotation_from_quaternion(quaternion: Float[np.ndarray, "4"]) -> Float[np.ndarray, "3 3"]:
    """Rotation of a quaternion (w, x, y, z) of any length but zero."""
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion_from_rotation(rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "4"]:
    """Unit quaternion (w, x, y, z) of a rotation, with w >= 0.

    4 q qᵀ is linear in the rotation (K below, Shepperd 1978); the column with the greatest diagonal entry
    is q up to scale, and dividing by that entry loses no digits.
    """
    r = rotation
    k = np.array(
        [
            [1 + r[0, 0] + r[1, 1] + r[2, 2], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], 1 + r[0, 0] - r[1, 1] - r[2, 2], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0]],
            [r[0, 2] - r[2, 0], r[0, 1] + r[1, 0], 1 - r[0, 0] + r[1, 1] - r[2, 2], r[1, 2] + r[2, 1]],
            [r[1, 0] - r[0, 1], r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], 1 - r[0, 0] - r[1, 1] + r[2, 2]],
        ]
    )
    largest = int(np.argmax(np.diag(k)))
    quaternion = k[:, largest] / np.linalg.norm(k[:, largest])
    return -quaternion if quaternion[0] < 0 else quaternion


def _write(posed: PosedScenes, folder: Path, progress: Progress, write_model: _ModelWriter) -> list[str]:
    n_scenes = len(posed.scenes)
    images: list[list[ColmapImage]] = [[] for _ in posed.scenes]
    for index, scene, number, view in counted(posed, progress):
        stem = view.stem if posed.keep_stems else names.make_view_stem(index, scene, number, n_scenes)
        scene_folder = folder / scene_folder_name(scene, n_scenes)
        (scene_folder / "images").mkdir(parents=True, exist_ok=True)
        put_png(view.image, scene_folder / "images" / f"{stem}.png")
        for suffix, companion_folder in _COMPANION_FOLDERS.items():
            if suffix in view.companions:
                (scene_folder / companion_folder).mkdir(exist_ok=True)
                put(view.companions[suffix], scene_folder / companion_folder / f"{stem}{Path(suffix).suffix}")
        exact = rigid(view.world_from_camera, view.stem, "COLMAP")
        if np.abs(exact - view.world_from_camera).max() > _SAME_POSE:
            (scene_folder / _POSE_FOLDER).mkdir(exist_ok=True)
            write_matrix(scene_folder / _POSE_FOLDER / f"{stem}.txt", view.world_from_camera)
        camera_from_world = invert(exact)
        images[scene].append(
            ColmapImage(
                f"{stem}.png",
                1,
                quaternion_from_rotation(camera_from_world[:3, :3]),
                camera_from_world[:3, 3],
            )
        )
    for scene, of_scene in enumerate(images):
        model = folder / scene_folder_name(scene, n_scenes) / "sparse" / "0"
        model.mkdir(parents=True)
        write_model(model, posed.intrinsics, of_scene)
    write_sidecars(posed, folder)
    return left_out(posed, set(_COMPANION_FOLDERS))


def _write_text(model: Path, camera: Intrinsics, images: list[ColmapImage]) -> None:
    parameters = (camera.fx, camera.fy, camera.width / 2, camera.height / 2)
    lines = ["# CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]"]
    lines.append(f"1 PINHOLE {camera.width} {camera.height} {_words(parameters)}")
    (model / "cameras.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    lines = ["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME", "# POINTS2D[] as X Y POINT3D_ID"]
    for number, image in enumerate(images, start=1):
        pose = _words((*image.quaternion, *image.translation))
        # The second line of an image holds its points, of which there are none.
        lines += [f"{number} {pose} {image.camera} {image.name}", ""]
    (model / "images.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (model / "points3D.txt").write_text(
        "# POINT3D_ID X Y Z R G B ERROR TRACK[] as IMAGE_ID POINT2D_IDX\n", encoding="utf-8"
    )


def _write_binary(model: Path, camera: Intrinsics, images: list[ColmapImage]) -> None:
    pinhole = 1
    (model / "cameras.bin").write_bytes(
        struct.pack("<Q", 1)
        + struct.pack("<iiQQ", 1, pinhole, camera.width, camera.height)
        + struct.pack("<4d", camera.fx, camera.fy, camera.width / 2, camera.height / 2)
    )
    parts = [struct.pack("<Q", len(images))]
    for number, image in enumerate(images, start=1):
        parts.append(struct.pack("<i7di", number, *image.quaternion, *image.translation, image.camera))
        parts.append(image.name.encode() + b"\0" + struct.pack("<Q", 0))
    (model / "images.bin").write_bytes(b"".join(parts))
    (model / "points3D.bin").write_bytes(struct.pack("<Q", 0))


def _words(values: tuple[float, ...]) -> str:
    """Numbers with every digit that a float64 needs to come back equal."""
    return " ".join(repr(float(value)) for value in values)


def _model_folder(folder: Path) -> Path | None:
    """Where a scene's model lies."""
    for place in _MODEL_PLACES:
        model = folder / place
        for suffix in (".bin", ".txt"):
            if (model / f"cameras{suffix}").is_file() and (model / f"images{suffix}").is_file():
                return model
    return None


def _read_scene(folder: Path, found: list[tuple[str, Intrinsics]], notes: list[str]) -> list[PosedView]:
    """The views of one model, by name; appends each one's camera to ``found``."""
    model = _model_folder(folder)
    assert model is not None
    others = sorted(path.name for path in model.parent.iterdir() if path.name.isdecimal() and path != model)
    if model.parent.name == "sparse" and others:
        notes.append(
            f"{model.parent}: only model 0 was read; the models {', '.join(others)} lie in other worlds"
        )
    binary = (model / "cameras.bin").is_file() and (model / "images.bin").is_file()
    cameras = _read_binary_cameras(model) if binary else _read_text_cameras(model)
    images = list(_read_binary_images(model) if binary else _read_text_images(model))
    if not images:
        raise InputError(f"{model}: expected at least one image with a pose, found none")
    image_folder = folder / "images" if (folder / "images").is_dir() else folder
    views = []
    for image in sorted(images, key=lambda image: image.name):
        where = f"{model}, image {image.name}"
        if image.camera not in cameras:
            raise InputError(f"{where}: its camera {image.camera} is not in the model")
        found.append((where, cameras[image.camera]))
        length = float(np.linalg.norm(image.quaternion))
        if not np.isfinite(length) or length < 1e-9:
            raise InputError(f"{where}: expected a rotation as quaternion, found {image.quaternion.tolist()}")
        camera_from_world = np.eye(4)
        camera_from_world[:3, :3] = rotation_from_quaternion(image.quaternion)
        camera_from_world[:3, 3] = image.translation
        stem = Path(image.name).stem
        companions: dict[str, Companion] = {
            suffix: Blob(path)
            for suffix, name in _COMPANION_FOLDERS.items()
            if (path := folder / name / f"{stem}{Path(suffix).suffix}").is_file()
        }
        pose = checked_pose(invert(camera_from_world), where)
        rounded = folder / _POSE_FOLDER / f"{stem}.txt"
        if rounded.is_file():
            pose = _rounded_pose(rounded, pose)
        views.append(PosedView(stem, Blob(image_folder / image.name), pose, companions))
    return views


def _rounded_pose(path: Path, pose: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """The pose as the text that it came from had it; the model's own where that has been changed since."""
    rounded = checked_pose(read_matrix(path), str(path))
    return rounded if np.abs(rigid(rounded, str(path), "COLMAP") - pose).max() <= _SAME_POSE else pose


def _pinhole(model: str, width: int, height: int, parameters: tuple[float, ...], where: str) -> Intrinsics:
    """A COLMAP camera as ours.

    Raises:
        InputError: it is no centred pinhole.
    """
    _, count, n_focal = next(entry for entry in _MODELS.values() if entry[0] == model)
    if len(parameters) != count:
        raise InputError(f"{where}: {model} has {count} parameters, found {len(parameters)}")
    distortion = parameters[n_focal + 2 :]
    if model not in _PINHOLES or any(abs(value) > 1e-12 for value in distortion):
        raise InputError(
            f"{where}: the lens distortion of {model} ({', '.join(f'{value:g}' for value in distortion)}) "
            "has no place in our format; undistort the pictures first (COLMAP's image_undistorter does it)"
        )
    fx, fy = parameters[0], parameters[n_focal - 1]
    if not (fx > 0 and fy > 0 and width > 0 and height > 0):
        raise InputError(f"{where}: expected positive focal lengths and sizes, found {parameters}")
    check_centre(parameters[n_focal] - width / 2, parameters[n_focal + 1] - height / 2, where)
    return Intrinsics(width, height, fx, fy)


def _read_text_cameras(model: Path) -> dict[int, Intrinsics]:
    path = model / "cameras.txt"
    cameras = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        where = f"{path}, line {number}"
        words = line.split()
        try:
            id_, name, width, height = int(words[0]), words[1], int(words[2]), int(words[3])
            parameters = tuple(float(word) for word in words[4:])
        except (ValueError, IndexError) as error:
            raise InputError(f"{where}: expected an id, model, width, height and parameters") from error
        if name not in {entry[0] for entry in _MODELS.values()}:
            raise InputError(f"{where}: {name!r} is no camera model of COLMAP that we know")
        cameras[id_] = _pinhole(name, width, height, parameters, where)
    return cameras


def _read_text_images(model: Path) -> Iterator[ColmapImage]:
    path = model / "images.txt"
    is_points = False
    for number, line in enumerate(_lines(path), start=1):
        if line.startswith("#"):
            continue
        # Every second line holds points and may be empty.
        if is_points:
            is_points = False
            continue
        if not line.strip():
            continue
        words = line.split(maxsplit=9)
        try:
            pose = np.array([float(word) for word in words[1:8]])
            yield ColmapImage(words[9].strip(), int(words[8]), pose[:4], pose[4:])
        except (ValueError, IndexError) as error:
            raise InputError(
                f"{path}, line {number}: expected an id, quaternion, translation, camera id and name"
            ) from error
        is_points = True


def _read_binary_cameras(model: Path) -> dict[int, Intrinsics]:
    reader = _Reader(model / "cameras.bin")
    cameras = {}
    for _ in range(reader.take("<Q")[0]):
        id_, model_id, width, height = reader.take("<iiQQ")
        where = f"{reader.path}, camera {id_}"
        if model_id not in _MODELS:
            raise InputError(f"{where}: {model_id} is no camera model of COLMAP that we know")
        name, count, _ = _MODELS[model_id]
        cameras[id_] = _pinhole(name, width, height, reader.take(f"<{count}d"), where)
    return cameras


def _read_binary_images(model: Path) -> Iterator[ColmapImage]:
    reader = _Reader(model / "images.bin")
    for _ in range(reader.take("<Q")[0]):
        _, *pose, camera = reader.take("<i7di")
        name = reader.take_name()
        (points,) = reader.take("<Q")
        reader.skip(points * struct.calcsize("<ddq"))
        yield ColmapImage(name, camera, np.array(pose[:4]), np.array(pose[4:]))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error})") from error


class _Reader:
    """Takes values off the front of a binary file; a file that is too short is an InputError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
        self._position = 0

    def take(self, layout: str) -> tuple:
        try:
            values = struct.unpack_from(layout, self._content, self._position)
        except struct.error as error:
            raise self._too_short() from error
        self._position += struct.calcsize(layout)
        return values

    def take_name(self) -> str:
        end = self._content.find(b"\0", self._position)
        if end < 0:
            raise self._too_short()
        name = self._content[self._position : end].decode("utf-8", "replace")
        self._position = end + 1
        return name

    def skip(self, count: int) -> None:
        self._position += count
        if self._position > len(self._content):
            raise self._too_short()

    def _too_short(self) -> InputError:
        return InputError(
            f"{self.path}: expected a binary COLMAP file, found one that ends after {len(self._content)} "
            "bytes in the middle of an entry"
        )
