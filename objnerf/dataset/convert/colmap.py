"""COLMAP models, as text and binary: our own reader and writer of the three files.

One folder a scene: ``sc0000/sparse/0/{cameras,images,points3D}.{txt,bin}`` with the images in
``sc0000/images/``. COLMAP's cameras have OpenCV axes like ours; it stores world-to-camera as a quaternion
(w, x, y, z) and a translation. A pixel's centre lies half a pixel from its corner there, so the principal
point of a centred camera is (width / 2, height / 2). A quaternion holds exact rotations only; where a pose's
text had too few digits to be one, its numbers travel in ``world_from_camera/`` as well, and come back as long
as they still mean the model's pose.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from objnerf.dataset import names
from objnerf.dataset.cameras import Intrinsics, invert
from objnerf.dataset.convert import extras
from objnerf.dataset.convert.clouds import Cloud, scene_cloud
from objnerf.dataset.convert.lenses import MODELS, Lens
from objnerf.dataset.convert.posed import (
    Blob,
    Companion,
    PosedScene,
    PosedScenes,
    PosedView,
    Progress,
    checked_pose,
    counted,
    grouped_by_name,
    natural_order,
    put,
    put_png,
    rigid,
    scene_folder_name,
    scene_folders,
    stems_fit,
)
from objnerf.dataset.convert.sidecars import left_out, read_sidecars, world_of, write_sidecars
from objnerf.dataset.files import read_matrix, write_matrix
from objnerf.dataset.untrusted import MAX_COLLECTION_BYTES, Unreadable, is_file, read_bytes, read_text
from objnerf.errors import InputError

#: COLMAP's camera models by their numbers (src/colmap/sensor/models.h).
_MODEL_IDS = (
    "SIMPLE_PINHOLE",
    "PINHOLE",
    "SIMPLE_RADIAL",
    "RADIAL",
    "OPENCV",
    "OPENCV_FISHEYE",
    "FULL_OPENCV",
    "FOV",
    "SIMPLE_RADIAL_FISHEYE",
    "RADIAL_FISHEYE",
    "THIN_PRISM_FISHEYE",
    "RAD_TAN_THIN_PRISM_FISHEYE",
    "SIMPLE_DIVISION",
    "DIVISION",
    "SIMPLE_FISHEYE",
    "FISHEYE",
    "EUCM",
    "EQUIRECTANGULAR",
)
#: Those with one focal length instead of two.
_ONE_FOCAL = frozenset(
    {
        *("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE"),
        *("SIMPLE_DIVISION", "SIMPLE_FISHEYE"),
    }
)
#: Where a scene's model lies; nerfstudio has it beside its transforms.json in ``colmap``. A number follows.
_MODEL_PLACES = ("", "sparse", "colmap/sparse", "colmap")
#: Where its images lie: 3D Gaussian splatting has the raw ones in ``input``.
_IMAGE_PLACES = ("images", "input", "")
#: How many folders above a model its images may lie: ``colmap/sparse/0`` has them three up.
_UP_TO_IMAGES = 3
_ModelWriter = Callable[[Path, "Sequence[Intrinsics]", "list[ColmapImage]", "Cloud | None"], None]
PointReader = Callable[[], Float[np.ndarray, "points 3"]]
_POSE_FOLDER = "world_from_camera"
#: A focal length in pixels that is shorter, or any number of a camera that is larger, is a damaged one.
_LEAST_FOCAL, _MOST = 1e-6, 1e12
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


@dataclass(frozen=True)
class _Camera:
    """A line of ``cameras``; looked at only when an image has it."""

    model: str
    width: int
    height: int
    parameters: tuple[float, ...]
    where: str

    def lens(self) -> Lens:
        """The camera as a lens.

        Raises:
            InputError: parameters that the model cannot have, or a model that no pinhole can stand for.
        """
        where, parameters = self.where, self.parameters
        if self.model == "EQUIRECTANGULAR":
            raise InputError(
                f"{where}: {self.model} images show all directions; cut pinhole views out of them first"
            )
        n_focal = 1 if self.model in _ONE_FOCAL else 2
        count = n_focal + 2 + MODELS[self.model][1]
        if len(parameters) != count:
            raise InputError(f"{where}: {self.model} has {count} parameters, found {len(parameters)}")
        if not np.all(np.abs(parameters) < _MOST):  # nor nan
            raise InputError(
                f"{where}: expected finite focal lengths, principal point and distortion, found {parameters}"
            )
        fx, fy = parameters[0], parameters[n_focal - 1]
        if not (min(fx, fy) > _LEAST_FOCAL and self.width > 0 and self.height > 0):
            raise InputError(f"{where}: expected positive focal lengths and sizes, found {parameters}")
        # COLMAP counts pixels from the corner of the first.
        cx, cy = parameters[n_focal] - 0.5, parameters[n_focal + 1] - 0.5
        return Lens(self.model, self.width, self.height, fx, fy, cx, cy, parameters[n_focal + 2 :])


def recognise(folder: Path) -> bool:
    """Whether the folder holds a model: in itself, in ``sparse`` or in ``sparse/0`` (or another number)."""
    return bool(_models(folder))


def recognise_nested(folder: Path) -> bool:
    """Whether sub-folders hold a model each."""
    return bool(scene_folders(folder, recognise))


def read(folder: Path) -> PosedScenes:
    """Read one model, or a folder of models (for which see ``scene_folders``), text or binary.

    Raises:
        InputError: what is there is no model, or a damaged one.
    """
    notes: list[str] = []
    if recognise(folder):
        views, points = _read_scene(folder, notes)
        scenes, keep = grouped_by_name(views, folder.name)
        scenes = tuple(replace(scene, points=points) for scene in scenes)
        keep = keep and stems_fit(scenes)
    else:
        folders = scene_folders(folder, recognise)
        if not folders:
            raise InputError(
                f"{folder}: expected a COLMAP model (cameras and images as .bin or .txt) in it, in sparse/0 "
                "or in its sub-folders, found none"
            )
        found = [(path.name, *_read_scene(path, notes)) for path in folders]
        scenes = tuple(PosedScene(name, tuple(views), points) for name, views, points in found)
        keep = stems_fit(scenes)
    card, scene_cards = read_sidecars(folder)
    return PosedScenes(
        scenes,
        card=card,
        scene_cards=scene_cards,
        keep_stems=keep,
        notes=tuple(notes),
        # Beside a model that we wrote lies our dataset.yaml; reconstructions stand in any world.
        world=world_of(card),
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
    # Cameras by their ids, which begin with 1.
    cameras: list[dict[Intrinsics, int]] = [{} for _ in posed.scenes]
    written: list[PosedView] = []
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
                cameras[scene].setdefault(posed.intrinsics_of(view), len(cameras[scene]) + 1),
                quaternion_from_rotation(camera_from_world[:3, :3]),
                camera_from_world[:3, 3],
            )
        )
        written.append(view)
        if number + 1 == len(posed.scenes[scene].views):
            model = scene_folder / "sparse" / "0"
            model.mkdir(parents=True)
            cloud = scene_cloud(posed, posed.scenes[scene], written)
            write_model(model, list(cameras[scene]), images[scene], cloud)
            written.clear()
    write_sidecars(posed, folder)
    return left_out(posed, set(_COMPANION_FOLDERS))


def _write_text(
    model: Path, cameras: Sequence[Intrinsics], images: list[ColmapImage], cloud: Cloud | None
) -> None:
    lines = ["# CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]"]
    for id_, camera in enumerate(cameras, start=1):
        lines.append(f"{id_} PINHOLE {camera.width} {camera.height} {_words(_parameters(camera))}")
    (model / "cameras.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    lines = ["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME", "# POINTS2D[] as X Y POINT3D_ID"]
    for number, image in enumerate(images, start=1):
        pose = _words((*image.quaternion, *image.translation))
        # The second line of an image holds its points, of which there are none.
        lines += [f"{number} {pose} {image.camera} {image.name}", ""]
    (model / "images.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    lines = ["# POINT3D_ID X Y Z R G B ERROR TRACK[] as IMAGE_ID POINT2D_IDX"]
    if cloud is not None:
        # Made from depth, so that no feature of an image belongs to them: without error and track.
        for id_, (point, colour) in enumerate(zip(cloud.points, cloud.colours, strict=True), start=1):
            lines.append(f"{id_} {_words(tuple(point))} {colour[0]} {colour[1]} {colour[2]} 0")
    (model / "points3D.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_binary(
    model: Path, cameras: Sequence[Intrinsics], images: list[ColmapImage], cloud: Cloud | None
) -> None:
    pinhole = _MODEL_IDS.index("PINHOLE")
    parts = [struct.pack("<Q", len(cameras))]
    for id_, camera in enumerate(cameras, start=1):
        parts.append(struct.pack("<iiQQ", id_, pinhole, camera.width, camera.height))
        parts.append(struct.pack("<4d", *_parameters(camera)))
    (model / "cameras.bin").write_bytes(b"".join(parts))
    parts = [struct.pack("<Q", len(images))]
    for number, image in enumerate(images, start=1):
        parts.append(struct.pack("<i7di", number, *image.quaternion, *image.translation, image.camera))
        parts.append(image.name.encode() + b"\0" + struct.pack("<Q", 0))
    (model / "images.bin").write_bytes(b"".join(parts))
    (model / "points3D.bin").write_bytes(_packed_points(cloud))


def _packed_points(cloud: Cloud | None) -> bytes:
    """``points3D.bin``: made from depth, the points have no error and no track."""
    count = 0 if cloud is None else len(cloud.points)
    layout = [("id", "<u8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8"), ("track", "<u8")]
    rows = np.zeros(count, np.dtype(layout))
    if cloud is not None:
        rows["id"] = np.arange(1, count + 1)
        rows["xyz"], rows["rgb"] = cloud.points, cloud.colours
    return struct.pack("<Q", count) + rows.tobytes()


def _parameters(camera: Intrinsics) -> tuple[float, float, float, float]:
    """fx, fy, cx and cy as COLMAP counts them, from the corner of the first pixel."""
    centre = camera.width / 2 + camera.offset_x, camera.height / 2 + camera.offset_y
    return (camera.fx, camera.fy, *centre)


def _words(values: tuple[float, ...]) -> str:
    """Numbers with every digit that a float64 needs to come back equal."""
    return " ".join(repr(float(value)) for value in values)


def _models(folder: Path) -> list[Path]:
    """The folders of a scene's models by number: a reconstruction may fall into several."""
    for place in _MODEL_PLACES:
        root = folder / place
        if not root.is_dir():
            continue
        numbered = sorted((path for path in root.iterdir() if path.name.isdecimal()), key=natural_order)
        found = [path for path in (root, *numbered) if _has_model(path)]
        if found:
            return found
    return []


def _has_model(folder: Path) -> bool:
    return any(
        (folder / f"cameras{suffix}").is_file() and (folder / f"images{suffix}").is_file()
        for suffix in (".bin", ".txt")
    )


def _read_model(model: Path) -> tuple[dict[int, _Camera], list[ColmapImage]]:
    """Cameras by id and images of one model."""
    if (model / "cameras.bin").is_file() and (model / "images.bin").is_file():
        return _read_binary_cameras(model), list(_read_binary_images(model))
    return _read_text_cameras(model), list(_read_text_images(model))


def _read_scene(folder: Path, notes: list[str]) -> tuple[list[PosedView], PointReader]:
    """The views of one scene's largest model, by name, and what reads its points.

    Adds to the notes what the user should know.
    """
    candidates = [(path, *_read_model(path)) for path in _models(folder)]
    # The first of those with the most images.
    model, cameras, images = max(candidates, key=lambda candidate: len(candidate[2]))
    numbered = [path.name for path in model.parent.iterdir() if path.name.isdecimal() and path != model]
    if numbered and model.name.isdecimal():
        notes.append(
            f"{model.parent}: only model {model.name} was read, of {len(images)} images; the models "
            f"{', '.join(sorted(numbered))} lie in other worlds"
        )
    if not images:
        raise InputError(f"{model}: expected at least one image with a pose, found none")
    image_folder = _image_folder(folder, model, images)
    views, missing = [], []
    for image in sorted(images, key=lambda image: image.name):
        if not is_file(image_folder / image.name):
            missing.append(image.name)
            continue
        views.append(_view(folder, model, image_folder, cameras, image))
    if not views:
        raise InputError(
            f"{image_folder / missing[0]}: no such file, and the model {model} names it as its image; "
            "expected the images in images/ or input/ beside the model's folder or above it"
        )
    if missing:
        notes.append(
            f"{len(missing)} of {len(images)} images have no file in {image_folder} and were left out; "
            f"the first: {missing[0]}"
        )
    masks = extras.Extras(masks={view.where: path for view in views if (path := _mask(image_folder, view))})
    return masks.settled(views, notes, str(model)), partial(_read_points, model)


def _image_folder(folder: Path, model: Path, images: Sequence[ColmapImage]) -> Path:
    """Where the images lie: the place beside or above the model that holds most of them."""
    roots = [folder, model, *list(model.absolute().parents)[:_UP_TO_IMAGES]]
    places = list(dict.fromkeys(root / place for root in roots for place in _IMAGE_PLACES))
    return max(places, key=lambda place: sum(is_file(place / image.name) for image in images))


def _mask(image_folder: Path, view: PosedView) -> Path | None:
    """The mask of an image in ``masks/`` beside its folder; COLMAP adds a suffix to the whole name."""
    if names.MASK_SUFFIX in view.companions:
        return None
    image = view.image.path.relative_to(image_folder)
    folder = image_folder.parent / "masks"
    places = (folder / f"{image}.png", folder / image.with_suffix(".png"))
    return next((path for path in places if is_file(path)), None)


def _view(
    folder: Path, model: Path, image_folder: Path, cameras: dict[int, _Camera], image: ColmapImage
) -> PosedView:
    """One image of a model as a view."""
    where = f"{model}, image {image.name}"
    if image.camera not in cameras:
        raise InputError(f"{where}: its camera {image.camera} is not in the model")
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
        if is_file(path := folder / name / f"{stem}{Path(suffix).suffix}")
    }
    pose = checked_pose(invert(camera_from_world), where)
    rounded = folder / _POSE_FOLDER / f"{stem}.txt"
    if is_file(rounded):
        pose = _rounded_pose(rounded, pose)
    return PosedView(
        stem, Blob(image_folder / image.name), pose, companions, cameras[image.camera].lens(), where
    )


def _rounded_pose(path: Path, pose: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """The pose as the text that it came from had it; the model's own where that has been changed since."""
    rounded = checked_pose(read_matrix(path), str(path))
    return rounded if np.abs(rigid(rounded, str(path), "COLMAP") - pose).max() <= _SAME_POSE else pose


def _read_text_cameras(model: Path) -> dict[int, _Camera]:
    path = model / "cameras.txt"
    cameras = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        where = f"{path}, line {number}"
        words = line.split()
        try:
            id_, name, width, height = int(words[0]), words[1], _whole(words[2]), _whole(words[3])
            parameters = tuple(float(word) for word in words[4:])
        except (ValueError, IndexError) as error:
            raise InputError(f"{where}: expected an id, model, width, height and parameters") from error
        if name not in _MODEL_IDS:
            raise InputError(f"{where}: {name!r} is not a supported COLMAP camera model")
        cameras[id_] = _Camera(name, width, height, parameters, where)
    return cameras


def _whole(word: str) -> int:
    """A whole number, which some programs write with a point (320.0)."""
    if not float(word).is_integer():
        raise ValueError(f"{word} is not whole")
    return int(float(word))


def _read_text_images(model: Path) -> Iterator[ColmapImage]:
    path = model / "images.txt"
    image = None
    for number, line in enumerate(_lines(path), start=1):
        if line.startswith("#"):
            continue
        # Every second line holds an image's points and may be empty.
        if image is not None:
            _check_points(line.split(), f"{path}, line {number}", image)
            image = None
            continue
        if not line.strip():
            continue
        words = line.split(maxsplit=9)
        try:
            pose = np.array([float(word) for word in words[1:8]])
            name = words[9].strip().replace("\\", "/")
            image = ColmapImage(name, int(words[8]), pose[:4], pose[4:])
        except (ValueError, IndexError) as error:
            raise InputError(
                f"{path}, line {number}: expected an id, quaternion, translation, camera id and name"
            ) from error
        yield image


def _check_points(words: list[str], where: str, image: ColmapImage) -> None:
    """Refuse a line that holds something else than points, in most cases the next image."""
    try:
        # The ends are enough to tell an image by its count and its name; there can be thousands of points.
        points = len(words) % 3 == 0 and all(np.isfinite(float(word)) for word in (*words[:3], *words[-3:]))
        points = points and (not words or float(words[-1]).is_integer())
    except ValueError:
        points = False
    if not points:
        raise InputError(
            f"{where}: expected the points of the image {image.name} as X Y POINT3D_ID, or an empty line for "
            "none; it looks like another image. Every image has two lines in this file"
        )


def _read_binary_cameras(model: Path) -> dict[int, _Camera]:
    reader = _Reader(model / "cameras.bin")
    cameras = {}
    for _ in range(reader.take("<Q")[0]):
        id_, model_id, width, height = reader.take("<iiQQ")
        where = f"{reader.path}, camera {id_}"
        if not 0 <= model_id < len(_MODEL_IDS):
            raise InputError(f"{where}: {model_id} is not a supported COLMAP camera model")
        name = _MODEL_IDS[model_id]
        count = 2 if name == "EQUIRECTANGULAR" else (3 if name in _ONE_FOCAL else 4) + MODELS[name][1]
        cameras[id_] = _Camera(name, width, height, reader.take(f"<{count}d"), where)
    return cameras


def _read_binary_images(model: Path) -> Iterator[ColmapImage]:
    reader = _Reader(model / "images.bin")
    for _ in range(reader.take("<Q")[0]):
        _, *pose, camera = reader.take("<i7di")
        name = reader.take_name().replace("\\", "/")
        (points,) = reader.take("<Q")
        reader.skip(points * struct.calcsize("<ddq"))
        yield ColmapImage(name, camera, np.array(pose[:4]), np.array(pose[4:]))


def _read_points(model: Path) -> Float[np.ndarray, "points 3"]:
    """The positions of a model's points; none where their file is damaged, since they are a help only."""
    try:
        if (model / "points3D.bin").is_file():
            return _read_binary_points(model / "points3D.bin")
        if (model / "points3D.txt").is_file():
            lines = _lines(model / "points3D.txt")
            rows = [line.split(maxsplit=4)[1:4] for line in lines if line[:1].isdigit()]
            return np.array(rows, dtype=np.float64).reshape(-1, 3)
    except (InputError, ValueError):
        pass
    return np.zeros((0, 3))


def _read_binary_points(path: Path) -> Float[np.ndarray, "points 3"]:
    reader = _Reader(path)
    positions = []
    for _ in range(reader.take("<Q")[0]):
        _, *position, _, _, _, _, track = reader.take("<Q3d3BdQ")
        reader.skip(track * struct.calcsize("<ii"))
        positions.append(position)
    return np.array(positions, dtype=np.float64).reshape(-1, 3)


def _lines(path: Path) -> list[str]:
    return read_text(path, MAX_COLLECTION_BYTES).splitlines()


class _Reader:
    """Takes values off the front of a binary file; a file that is too short is an InputError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._content = read_bytes(path, MAX_COLLECTION_BYTES)
        except Unreadable as problem:
            raise InputError(f"{path}: cannot be read ({problem})") from problem
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
