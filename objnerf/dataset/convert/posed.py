"""What all formats have in common: scenes of images with cameras, and where their bytes lie.

Poses are ``world_from_camera`` with OpenCV axes (x right, y down, z forward), in the source's own world
units. A reader says how a source is to be understood and judges nothing: it gives every view the lens that
the source states, and ``fitting.py``, ``undistortion.py`` and ``settled`` bring that into what a target
can hold.
"""

import os
import re
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image

from objnerf.dataset import names, untrusted
from objnerf.dataset.cameras import Intrinsics, common_pinhole, typical_pinhole
from objnerf.dataset.card import DatasetCard
from objnerf.dataset.convert.lenses import Lens
from objnerf.dataset.files import read_depth, read_image, write_depth, write_image
from objnerf.dataset.untrusted import (
    MAX_BYTES,
    MAX_COLLECTION_BYTES,
    Unreadable,
    open_regular,
    opened_picture,
)
from objnerf.errors import InputError

#: Called with how many views are done and how many there are.
Progress = Callable[[int, int], None]

#: Beyond this, in pixels, a principal point counts as off centre. Half a pixel is the difference between the
#: two customs of where a pixel's centre lies, which not every program that writes a format keeps apart.
CENTRE_TOLERANCE = 0.5 + 1e-6

#: No world is so large, in its own units; squares of larger numbers overflow before long.
_FARTHEST = 1e12

#: Relative difference below which two focal lengths are one.
FOCAL_TOLERANCE = 1e-4

#: Threads that make files ready; each holds an image or two in memory.
_MOST_WORKERS = 16

#: Characters that part folders or end a path; no file's name holds one.
_NO_NAME = frozenset("/\\\0")

#: What images are called that sources have.
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Blob:
    """The bytes of one file: a file of its own, a slice of an archive, or what was made of either.

    Attributes:
        path: the file, also for messages.
        offset, size: the slice, where it is one.
        content: the bytes themselves, where they were made already, or what fetches them when they are asked
            for.
    """

    path: Path
    offset: int = 0
    size: int | None = None
    content: bytes | Callable[[], bytes] | None = field(default=None, repr=False)

    def read(self) -> bytes:
        """All bytes.

        Raises:
            InputError: the file is not there or cannot be read.
        """
        if self.content is not None:
            return self.content() if callable(self.content) else self.content
        try:
            with self._opened() as file:
                file.seek(self.offset)
                return file.read(os.fstat(file.fileno()).st_size if self.size is None else self.size)
        except Unreadable as problem:
            raise InputError(f"{self.path}: cannot be read ({problem})") from problem
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror or error})") from error

    def _opened(self) -> BinaryIO:
        if self.size is None:
            return open_regular(self.path)
        if self.size > MAX_BYTES:
            raise Unreadable(f"a member of {self.size} bytes, far more than such a file can have")
        return open_regular(self.path, MAX_COLLECTION_BYTES)

    def copy_to(self, target: Path) -> None:
        """Write the same bytes to another file."""
        if self.size is None and self.content is None:
            try:
                with self._opened() as file, target.open("wb") as copy:
                    shutil.copyfileobj(file, copy)
            except Unreadable as problem:
                raise InputError(f"{self.path}: cannot be copied ({problem})") from problem
            except OSError as error:
                raise InputError(
                    f"{error.filename or self.path}: cannot be copied ({error.strerror or error})"
                ) from error
        else:
            target.write_bytes(self.read())

    @contextmanager
    def as_file(self) -> Iterator[Path]:
        """A path where the bytes lie as a file, for as long as the context lasts."""
        if self.size is None and self.content is None:
            yield self.path
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / self.path.name
            path.write_bytes(self.read())
            yield path


@dataclass(frozen=True)
class Computed:
    """A file that is computed when it is written: an image, a mask or a depth map.

    Attributes:
        path: the file that it is made of, for messages.
        array: makes the content: uint8 (height, width, 3) becomes a PNG, floats (height, width) a depth map.
        size: width and height in pixels, where they are known beforehand.
    """

    path: Path
    array: Callable[[], np.ndarray]
    size: tuple[int, int] | None = None

    def __call__(self, target: Path) -> None:
        """Write the file."""
        content = self.array()
        if content.dtype == np.uint8:
            write_image(target, content)
        else:
            write_depth(target, content)

    def encoded(self) -> Blob:
        """The file's bytes, computed now."""
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "file"
            self(target)
            return Blob(self.path, content=target.read_bytes())


#: A companion of a view: bytes to copy, or a function that writes the file (``Computed`` is one).
Companion = Blob | Callable[[Path], None]


@dataclass(frozen=True)
class PosedView:
    """One image with its camera.

    Attributes:
        stem: its name in the source, without suffix.
        image: its bytes.
        world_from_camera: camera-to-world pose, OpenCV axes, world units.
        companions: what stands beside it, by the suffix that it has in our format (``_mask.png``, …).
        lens: its camera, where the source has lenses of any kind; None: the dataset's one camera.
        where: the place in the source that describes it, for messages.
        amodal: by label, masks of objects as they would be seen if the others were not there, white on black.
    """

    stem: str
    image: Blob | Computed
    world_from_camera: Float[np.ndarray, "4 4"]
    companions: dict[str, Companion] = field(default_factory=dict)
    lens: Lens | None = None
    where: str = ""
    amodal: dict[int, Companion] = field(default_factory=dict)


@dataclass(frozen=True)
class PosedScene:
    """The views of one scene, in order; the first is the input view.

    Attributes:
        points: reads 3D points on the scene's surfaces in its world, where the source has some.
        depth_range: planar depths, world units, of the nearest and the farthest content of all views, where
            the source states them.
    """

    name: str
    views: tuple[PosedView, ...]
    points: Callable[[], Float[np.ndarray, "points 3"]] | None = None
    depth_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class PosedScenes:
    """A whole dataset, whatever format it came from.

    Attributes:
        scenes: in the order of their ids, which are 0 … n-1.
        intrinsics: of all views that have no lens of their own. A reader may leave it out and give every view
            its lens; ``settled`` then finds out whether they are one.
        card: what ``dataset.yaml`` said, if there was one.
        scene_cards: files for ``scenes/``, by name.
        movements: files of the manipulation test, by scene id.
        keep_stems: the views' stems are already names of our format, and stay.
        notes: what the user should know about how the source was read.
        world_words: what is known of the world, for the card; None: that it is as our format has it.
        world: ``stated``: up, origin and unit are the source's own and mean something; ``free``: each scene
            stands in a world of its own, as structure from motion and phones leave it.
    """

    scenes: tuple[PosedScene, ...]
    intrinsics: Intrinsics | None = None
    card: DatasetCard | None = None
    scene_cards: dict[str, Path] = field(default_factory=dict)
    movements: dict[int, Path] = field(default_factory=dict)
    keep_stems: bool = False
    notes: tuple[str, ...] = ()
    world: Literal["stated", "free"] = "stated"
    world_words: str | None = None

    @property
    def n_views(self) -> int:
        return sum(len(scene.views) for scene in self.scenes)

    @property
    def views(self) -> list[PosedView]:
        """All views, scene by scene."""
        return [view for scene in self.scenes for view in scene.views]

    @property
    def camera(self) -> Intrinsics:
        """The camera of the views without a lens of their own; one in the middle, where each has one."""
        assert self.intrinsics is not None
        return self.intrinsics

    def intrinsics_of(self, view: PosedView) -> Intrinsics:
        """The camera of one view: its own, or that of all."""
        return self.camera if view.lens is None else view.lens.intrinsics()

    def with_views(self, change: Callable[[PosedView], PosedView]) -> "PosedScenes":
        """The same scenes, each view changed."""
        scenes = [replace(scene, views=tuple(map(change, scene.views))) for scene in self.scenes]
        return replace(self, scenes=tuple(scenes))


def counted(posed: PosedScenes, progress: Progress) -> Iterator[tuple[int, int, int, PosedView]]:
    """All views as (running index, scene id, number in the scene, view), reporting after each.

    What has to be decoded or computed is made ready in threads, a few views ahead: Pillow, zlib and OpenCV
    work outside Python's lock.
    """
    places = [(id_, number) for id_, scene in enumerate(posed.scenes) for number in range(len(scene.views))]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(cores, _MOST_WORKERS)
    waiting: deque[Future[PosedView]] = deque()
    views = iter(posed.views)
    pool = ThreadPoolExecutor(workers)
    try:
        for index, (scene, number) in enumerate(places):
            while len(waiting) < workers + 2 and (view := next(views, None)) is not None:
                waiting.append(pool.submit(_ready, view))
            yield index, scene, number, waiting.popleft().result()
            progress(index + 1, len(places))
    finally:
        pool.shutdown(cancel_futures=True)


def _ready(view: PosedView) -> PosedView:
    """The view with the bytes of its files made, where they have to be computed or encoded anew."""
    companions: dict[str, Companion] = {
        suffix: companion.encoded() if isinstance(companion, Computed) else companion
        for suffix, companion in view.companions.items()
    }
    image = view.image
    if isinstance(image, Blob) and not _is_png(image):
        image = Computed(image.path, lambda: pixels(view.image))
    if isinstance(image, Computed):
        image = image.encoded()
    return replace(view, image=image, companions=companions)


def put(companion: Companion, target: Path) -> None:
    """Write a companion to a file."""
    if isinstance(companion, Blob):
        companion.copy_to(target)
    else:
        companion(target)


def put_png(image: Blob | Computed, target: Path) -> None:
    """Write an image as PNG: the same bytes when it is one already, else the same pixels.

    Transparency is flattened on white and 16 bits are scaled to 8, as everywhere that this package reads
    pictures.

    Raises:
        InputError: the bytes are no picture.
    """
    if isinstance(image, Blob) and _is_png(image):
        image.copy_to(target)
    else:
        write_image(target, pixels(image))


def pixels(image: Companion) -> UInt8[np.ndarray, "height width 3"]:
    """An image or mask as 8-bit RGB.

    Raises:
        InputError: the bytes are no picture.
    """
    if isinstance(image, Computed):
        return image.array()
    if not isinstance(image, Blob):
        with tempfile.TemporaryDirectory() as folder:
            image(Path(folder) / "file.png")
            return read_image(Path(folder) / "file.png")
    try:
        with image.as_file() as path:
            return read_image(path)
    except InputError as error:
        raise _no_image(image, error) from error


def depth_map(companion: Companion) -> Float32[np.ndarray, "height width"]:
    """A depth map: planar, in the source's world units.

    Raises:
        InputError: the file is no depth map.
    """
    if isinstance(companion, Computed):
        return companion.array().astype(np.float32)
    if isinstance(companion, Blob):
        with companion.as_file() as path:
            return read_depth(path)
    with tempfile.TemporaryDirectory() as folder:
        companion(Path(folder) / "depth.npy")
        return read_depth(Path(folder) / "depth.npy")


def rgb_picture(path: Path) -> Blob | Computed:
    """An image file as RGB: its own bytes where it is that already, else made when it is written.

    Renderers store alpha even where nothing is transparent.
    """
    image = Blob(path)
    with opened(image) as picture:
        if picture.mode == "RGB":
            return image
        size = picture.size
    return Computed(path, lambda: pixels(image), size)


def is_picture(path: Path) -> bool:
    """Whether a file is named like an image, and not hidden."""
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")


def image_size(image: Blob | Computed) -> tuple[int, int]:
    """Width and height of an image, from its header.

    Raises:
        InputError: the bytes are no picture.
    """
    if isinstance(image, Computed):
        if image.size is not None:
            return image.size
        height, width = pixels(image).shape[:2]
        return width, height
    with opened(image) as picture:
        return picture.size


@contextmanager
def opened(image: Blob) -> Iterator[Image.Image]:
    """An image of which only the header has been read yet.

    Raises:
        InputError: the bytes are no picture.
    """
    plain = image.size is None and image.content is None
    try:
        with opened_picture(image.path if plain else image.read(), str(image.path)) as picture:
            yield picture
    except InputError as error:
        if plain and not os.path.exists(image.path):
            raise InputError(f"{image.path}: no such file, and a camera names it as its image") from error
        raise _no_image(image, error) from error


def _no_image(image: Blob, reason: InputError) -> InputError:
    """What to say about bytes that are no image; ``reason`` where there is nothing better."""
    try:
        head = image.read()[:64]
    except InputError as error:
        return error
    if head.startswith(b"version https://git-lfs"):
        return InputError(
            f"{image.path}: expected an image, found a Git LFS pointer; fetch the files with `git lfs pull`"
        )
    if not head:
        return InputError(f"{image.path}: expected an image, found an empty file")
    return reason


def _is_png(image: Blob) -> bool:
    """Whether the bytes begin as a PNG's do."""
    if image.content is not None:
        return image.read().startswith(_PNG_SIGNATURE)
    size = len(_PNG_SIGNATURE)
    head = replace(image, size=size if image.size is None else min(size, image.size))
    return head.read() == _PNG_SIGNATURE


def one_size(views: Sequence[PosedView], expected: tuple[int, int] | None = None) -> tuple[int, int]:
    """The size in pixels that all images have.

    Args:
        expected: what the source says that it is.
    Raises:
        InputError: an image has another size.
    """
    for view in views:
        size = image_size(view.image)
        expected = expected or size
        if size != expected:
            raise InputError(
                f"{view.image.path}: the image of {view.stem} is {size[0]} x {size[1]} pixels, expected "
                f"{expected[0]} x {expected[1]}: this format has one size for a whole dataset; `objnerf "
                "convert --undistort` resamples to one"
            )
    assert expected is not None
    return expected


def settled(posed: PosedScenes) -> PosedScenes:
    """The same scenes with cameras that our format can hold.

    One centred pinhole for all views, where that is what they have; otherwise each view keeps its own
    pinhole, and ``intrinsics`` is one in the middle of them.

    Raises:
        InputError: a view's lens bends, or images have different sizes.
    """
    lenses = [(view.where or view.stem, view.lens) for view in posed.views if view.lens is not None]
    if not lenses:
        return posed
    for where, lens in lenses:
        if not lens.straight:
            raise InputError(
                f"{where}: the lens distortion of {lens.model} "
                f"({', '.join(f'{value:g}' for value in lens.coefficients) or 'a fisheye'}) has no place "
                "in our format; `objnerf convert --undistort` resamples the images without it"
            )
    one_size(posed.views)
    found = [posed.intrinsics_of(view) for view in posed.views]
    first = found[0]
    alike = all(np.allclose((f.fx, f.fy), (first.fx, first.fy), rtol=FOCAL_TOLERANCE, atol=0) for f in found)
    if alike and all(max(abs(f.offset_x), abs(f.offset_y)) <= CENTRE_TOLERANCE for f in found):
        one = Intrinsics(first.width, first.height, first.fx, first.fy)
        return replace(posed.with_views(lambda view: replace(view, lens=None)), intrinsics=one)
    middle = typical_pinhole([one.pinhole for one in found]).at(first.width, first.height)
    own = posed.with_views(lambda view: replace(view, lens=Lens.pinhole(posed.intrinsics_of(view))))
    shared = common_pinhole([camera.pinhole for camera in found]) is not None
    note = (
        f"{'an off-centre camera' if shared else 'cameras that differ'}: every view has its own "
        f"…{names.INTRINSICS_SUFFIX}; "
        "--undistort resamples all to one centred camera"
    )
    return replace(own, intrinsics=middle, notes=(*posed.notes, note))


def check_one_camera(posed: PosedScenes, target: str) -> None:
    """Refuse cameras that differ or are off centre.

    Args:
        target: name of the format that holds one centred camera only, for the message.
    Raises:
        InputError: a view has a camera of its own.
    """
    for view in posed.views:
        if view.lens is not None:
            raise InputError(
                f"{view.where or view.stem}: {target} has one centred camera for a whole dataset, and here "
                "they differ or are off centre; `objnerf convert --undistort` resamples the images to one"
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
    if np.abs(pose).max() > _FARTHEST:
        raise InputError(f"{where}: expected a camera's pose, found numbers up to {np.abs(pose).max():.3g}")
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
            f"{where}: {target} stores a rotation, and the 3×3 block of this pose is not one "
            "(singular values "
            f"{', '.join(f'{value:.4g}' for value in scale)}, determinant "
            f"{np.linalg.det(pose[:3, :3]):.4g}); run `objnerf validate` on the source"
        )
    exact = np.eye(4)
    exact[:3, :3] = rotation
    exact[:3, 3] = pose[:3, 3]
    return exact


def grouped_by_name(views: Sequence[PosedView], name: str) -> tuple[tuple[PosedScene, ...], bool]:
    """Scenes of views that lie in one place, and whether their stems are names of our format.

    The rule: when every stem is a view name of our format (it holds ``sc`` and four digits or more) and the
    scene ids run from 0 without holes, these are the scenes; otherwise all views are one scene.
    """
    parsed = [names.parse_view_name(f"{view.stem}.png") for view in views]
    ids = {view_name.scene for view_name in parsed if view_name is not None}
    digits = {view_name.digits for view_name in parsed if view_name is not None}
    if None in parsed or ids != set(range(len(ids))) or len(digits) != 1 or min(digits) < names.MIN_DIGITS:
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
    """Whether the views' stems are names of our format that give exactly these scenes.

    Stems out of tables and archives are text, which may lead out of the folder; those never fit.
    """
    stems = [view.stem for scene in scenes for view in scene.views]
    if len(set(stems)) != len(stems) or any(not _NO_NAME.isdisjoint(stem) for stem in stems):
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
    return len(digits) == 1 and min(digits) >= names.MIN_DIGITS


def scene_folders(root: Path, holds_scene: Callable[[Path], bool]) -> list[Path]:
    """The sub-folders of ``root`` that hold a scene, in the order of their ids.

    The rule: folders named ``sc0000``, ``sc0001``, … have the id in their name, when the ids run from 0
    without holes; otherwise the ids follow the order of the names, numbers in them counted as numbers.
    """
    return sorted(
        (folder for folder in root.iterdir() if folder.is_dir() and holds_scene(folder)), key=natural_order
    )


def has_scene_folders(root: Path, holds_scene: Callable[[Path], bool]) -> bool:
    """Whether a sub-folder of ``root`` holds a scene."""
    return any(folder.is_dir() and holds_scene(folder) for folder in root.iterdir())


def natural_order(path: Path) -> list[tuple[int, int, str]]:
    """A key that sorts ``scene2`` before ``scene10``."""
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def scene_folder_name(scene: int, n_scenes: int) -> str:
    """Name of a scene's folder in the formats that have one folder a scene."""
    return f"sc{scene:0{names.scene_digits(n_scenes)}d}"


def read_json(path: Path) -> dict[str, Any]:
    """The keys and values of a JSON file.

    Raises:
        InputError: the file is missing or something else.
    """
    content = untrusted.read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected keys and values, found {type(content).__name__}")
    return content


def no_progress(done: int, total: int) -> None:
    """Shows nothing."""
