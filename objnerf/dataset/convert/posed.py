"""What all formats have in common: scenes of pictures with cameras, and where their bytes lie.

Poses are ``world_from_camera`` with OpenCV axes (x right, y down, z forward), in the source's own world
units: a conversion changes how a pose is written down, never the world it stands in.
"""

import io
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from objnerf.dataset import names
from objnerf.dataset.cameras import Intrinsics
from objnerf.dataset.card import DatasetCard
from objnerf.errors import InputError

#: Called with how many views are done and how many there are.
Progress = Callable[[int, int], None]

#: Beyond this, in pixels, a principal point counts as off centre. Half a pixel is the difference between the
#: two customs of where a pixel's centre lies, which not every program that writes a format keeps apart.
CENTRE_TOLERANCE = 0.5 + 1e-6

#: Relative difference below which two focal lengths are one.
FOCAL_TOLERANCE = 1e-4

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Blob:
    """The bytes of one file: a file of its own, or a slice of an archive."""

    path: Path
    offset: int = 0
    size: int | None = None

    def read(self) -> bytes:
        """All bytes.

        Raises:
            InputError: the file is not there or cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                return file.read() if self.size is None else file.read(self.size)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror or error})") from error

    def copy_to(self, target: Path) -> None:
        """Write the same bytes to another file."""
        if self.size is None:
            try:
                shutil.copyfile(self.path, target)
            except OSError as error:
                raise InputError(f"{error.filename}: cannot be copied ({error.strerror})") from error
        else:
            target.write_bytes(self.read())

    @contextmanager
    def as_file(self) -> Iterator[Path]:
        """A path where the bytes lie as a file, for as long as the context lasts."""
        if self.size is None:
            yield self.path
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "slice"
            path.write_bytes(self.read())
            yield path


#: A companion of a view: bytes to copy, or a function that writes the file.
Companion = Blob | Callable[[Path], None]


@dataclass(frozen=True)
class PosedView:
    """One picture with its camera.

    Attributes:
        stem: its name in the source, without suffix.
        image: its bytes.
        world_from_camera: camera-to-world pose, OpenCV axes, world units.
        companions: what stands beside it, by the suffix that it has in our format (``_mask.png``, …).
    """

    stem: str
    image: Blob
    world_from_camera: Float[np.ndarray, "4 4"]
    companions: dict[str, Companion] = field(default_factory=dict)


@dataclass(frozen=True)
class PosedScene:
    """The views of one scene, in order; the first is the input view."""

    name: str
    views: tuple[PosedView, ...]


@dataclass(frozen=True)
class PosedScenes:
    """A whole dataset, whatever format it came from.

    Attributes:
        scenes: in the order of their ids, which are 0 … n-1.
        intrinsics: of all views.
        card: what ``dataset.yaml`` said, if there was one.
        scene_cards: files for ``scenes/``, by name.
        movements: files of the manipulation test, by scene id.
        keep_stems: the views' stems are already names of our format, and stay.
        notes: what the user should know about how the source was read.
    """

    scenes: tuple[PosedScene, ...]
    intrinsics: Intrinsics
    card: DatasetCard | None = None
    scene_cards: dict[str, Path] = field(default_factory=dict)
    movements: dict[int, Path] = field(default_factory=dict)
    keep_stems: bool = False
    notes: tuple[str, ...] = ()

    @property
    def n_views(self) -> int:
        return sum(len(scene.views) for scene in self.scenes)


def counted(posed: PosedScenes, progress: Progress) -> Iterator[tuple[int, int, int, PosedView]]:
    """All views as (running index, scene id, number in the scene, view), reporting after each."""
    index = 0
    for scene_id, scene in enumerate(posed.scenes):
        for number, view in enumerate(scene.views):
            yield index, scene_id, number, view
            index += 1
            progress(index, posed.n_views)


def put(companion: Companion, target: Path) -> None:
    """Write a companion to a file."""
    if isinstance(companion, Blob):
        companion.copy_to(target)
    else:
        companion(target)


def put_png(image: Blob, target: Path) -> None:
    """Write a picture as PNG: the same bytes when it is one already, else the same pixels.

    Raises:
        InputError: the bytes are no picture.
    """
    content = image.read()
    if content.startswith(_PNG_SIGNATURE):
        target.write_bytes(content)
        return
    with _decoded(image, content) as picture:
        picture.convert("RGB").save(target, format="PNG")


def image_size(image: Blob) -> tuple[int, int]:
    """Width and height of a picture, from its header.

    Raises:
        InputError: the bytes are no picture.
    """
    try:
        if image.size is None:
            with Image.open(image.path) as picture:
                return picture.size
        with Image.open(io.BytesIO(image.read())) as picture:
            return picture.size
    except FileNotFoundError as error:
        raise InputError(f"{image.path}: no such file, and a camera names it as its picture") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{image.path}: expected an image, found a file that is none ({error})") from error


def one_size(views: Sequence[PosedView], expected: tuple[int, int] | None = None) -> tuple[int, int]:
    """The size in pixels that all pictures have.

    Args:
        expected: what the source says that it is.
    Raises:
        InputError: a picture has another size.
    """
    for view in views:
        size = image_size(view.image)
        expected = expected or size
        if size != expected:
            raise InputError(
                f"{view.image.path}: the picture of {view.stem} is {size[0]} x {size[1]} pixels, expected "
                f"{expected[0]} x {expected[1]}: this format has one camera for a whole dataset; "
                "scale the pictures (and the source's intrinsics) to one size first"
            )
    assert expected is not None
    return expected


def one_intrinsics(found: Sequence[tuple[str, Intrinsics]]) -> Intrinsics:
    """The one camera of a whole dataset.

    Args:
        found: what each view's camera is, with a name for messages.
    Raises:
        InputError: two of them differ.
    """
    first_name, first = found[0]
    for name, intrinsics in found:
        same_focal = np.allclose(intrinsics.focal_ratio, first.focal_ratio, rtol=FOCAL_TOLERANCE, atol=0)
        if not same_focal or (intrinsics.width, intrinsics.height) != (first.width, first.height):
            raise InputError(
                f"{name}: its camera differs from that of {first_name}: {describe(intrinsics)} against "
                f"{describe(first)}; this format has one camera for a whole dataset. Undistort and crop to "
                "one camera first, or convert scene by scene"
            )
    return first


def describe(intrinsics: Intrinsics) -> str:
    """Intrinsics in words."""
    return f"{intrinsics.width} x {intrinsics.height} pixels, focal {intrinsics.fx:.6g}, {intrinsics.fy:.6g}"


def check_centre(offset_x: float, offset_y: float, where: str) -> None:
    """Refuse a principal point that is not the centre of the picture.

    Args:
        offset_x: pixels right of the centre.
        offset_y: pixels below it.
    Raises:
        InputError: it is off by more than half a pixel.
    """
    if not (abs(offset_x) <= CENTRE_TOLERANCE and abs(offset_y) <= CENTRE_TOLERANCE):
        raise InputError(
            f"{where}: the principal point is {offset_x:+.3f}, {offset_y:+.3f} pixels off the picture's "
            "centre, and this format has no place for that; crop the pictures around the principal point"
        )


def checked_pose(matrix: object, where: str) -> Float[np.ndarray, "4 4"]:
    """A pose as an array, from nested lists or an array of shape (4, 4) or (3, 4).

    Raises:
        InputError: another shape, no numbers, nan or inf.
    """
    try:
        pose = np.asarray(matrix, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: expected a 4x4 matrix of numbers as pose ({error})") from error
    if pose.shape == (3, 4):
        pose = np.concatenate([pose, [[0.0, 0.0, 0.0, 1.0]]])
    if pose.shape != (4, 4):
        raise InputError(f"{where}: expected a 4x4 matrix as pose, found the shape {pose.shape}")
    if not np.isfinite(pose).all():
        raise InputError(f"{where}: expected finite numbers in the pose, found nan or inf")
    return pose


def rigid(pose: Float[np.ndarray, "4 4"], where: str, target: str) -> Float[np.ndarray, "4 4"]:
    """The pose with its rotation made exactly orthonormal, which text with few digits is not.

    Args:
        target: name of the format that can only hold rotations, for the message.
    Raises:
        InputError: the matrix is further from a rotation than rounding explains.
    """
    left, scale, right = np.linalg.svd(pose[:3, :3])
    rotation = left @ right
    if (
        np.abs(scale - 1).max() > 1e-3
        or np.linalg.det(rotation) < 0
        or np.abs(pose[3] - [0, 0, 0, 1]).max() > 1e-6
    ):
        raise InputError(
            f"{where}: {target} holds rotations, and this pose is none (singular values "
            f"{', '.join(f'{value:.4g}' for value in scale)}, determinant "
            f"{np.linalg.det(pose[:3, :3]):.4g}); run `objnerf validate` on the source"
        )
    exact = np.eye(4)
    exact[:3, :3] = rotation
    exact[:3, 3] = pose[:3, 3]
    return exact


def grouped_by_name(views: Sequence[PosedView], name: str) -> tuple[tuple[PosedScene, ...], bool]:
    """Scenes of views that lie in one place, and whether their stems are names of our format.

    The rule: when every stem is a view name of our format (it holds ``sc`` and digits) and the scene ids run
    from 0 without holes, these are the scenes; otherwise all views are one scene.
    """
    parsed = [names.parse_view_name(f"{view.stem}.png") for view in views]
    ids = {view_name.scene for view_name in parsed if view_name is not None}
    digits = {view_name.digits for view_name in parsed if view_name is not None}
    if None in parsed or ids != set(range(len(ids))) or len(digits) != 1:
        return (PosedScene(name, tuple(views)),), False
    by_id: dict[int, list[PosedView]] = {id_: [] for id_ in sorted(ids)}
    for view, view_name in zip(views, parsed, strict=True):
        assert view_name is not None
        by_id[view_name.scene].append(view)
    scenes = tuple(
        PosedScene(f"sc{id_:0{min(digits)}d}", tuple(sorted(members, key=lambda view: view.stem)))
        for id_, members in by_id.items()
    )
    return scenes, True


def stems_fit(scenes: Sequence[PosedScene]) -> bool:
    """Whether the views' stems are names of our format that give exactly these scenes."""
    stems = [view.stem for scene in scenes for view in scene.views]
    if len(set(stems)) != len(stems):
        return False
    digits = set()
    for id_, scene in enumerate(scenes):
        for view in scene.views:
            name = names.parse_view_name(f"{view.stem}.png")
            if name is None or name.scene != id_:
                return False
            digits.add(name.digits)
        if [view.stem for view in scene.views] != sorted(view.stem for view in scene.views):
            return False
    return len(digits) == 1


def scene_folders(root: Path, holds_scene: Callable[[Path], bool]) -> list[Path]:
    """The sub-folders of ``root`` that hold a scene, in the order of their ids.

    The rule: folders named ``sc0000``, ``sc0001``, … have the id in their name, when the ids run from 0
    without holes; otherwise the ids follow the order of the names, numbers in them counted as numbers.
    """
    return sorted(
        (folder for folder in root.iterdir() if folder.is_dir() and holds_scene(folder)), key=natural_order
    )


def natural_order(path: Path) -> list[tuple[int, int, str]]:
    """A key that sorts ``scene2`` before ``scene10``."""
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def scene_folder_name(scene: int, n_scenes: int) -> str:
    """Name of a scene's folder in the formats that have one folder a scene."""
    return f"sc{scene:0{names.scene_digits(n_scenes)}d}"


def no_progress(done: int, total: int) -> None:
    """Shows nothing."""


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; on success it becomes ``path``, on failure it goes.

    Raises:
        InputError: ``path`` exists and is not an empty folder.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path}: expected a new or empty folder to write to, found one that holds files")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".tmp-", dir=path.parent))
    try:
        yield temporary
        # mkdtemp makes private folders; a dataset is for everybody whom the user's umask lets in.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o777 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def _decoded(image: Blob, content: bytes) -> Iterator[Image.Image]:
    try:
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
            yield picture
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise InputError(f"{image.path}: expected an image, found a file that is none ({error})") from error
