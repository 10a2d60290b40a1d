"""Decoding a dataset's images, once, to the sizes that a recipe uses.

Images are resized by area and kept as 8-bit pixels. Resizing keeps an image's edges where they are, so the
focal ratio is unchanged and the principal point stays ((W-1)/2, (H-1)/2) at every size. Datasets with many
views are decoded once and then memory-mapped from a cache folder.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float

from objnerf.console import Progress
from objnerf.dataset import names
from objnerf.dataset.files import atomic_path
from objnerf.dataset.index import Dataset, View
from objnerf.dataset.resize import nearest_pixels, resize_by_area
from objnerf.errors import WorkError

_log = logging.getLogger(__name__)

#: Views that wait for a thread at a time.
_WAITING = 4096

Stores = dict[tuple[int, int], np.ndarray]
"""Row-major, by (width, height): 8-bit pixels, (views, pixels, 3), or depths, (views, pixels)."""

MakeArray = Callable[[tuple[int, int], tuple[int, ...], type], np.ndarray]
"""Provides the array of a (width, height), of this shape and type, that is filled."""


def _in_memory(size: tuple[int, int], shape: tuple[int, ...], kind: type) -> np.ndarray:
    return np.empty(shape, kind)


def decode_depths(
    views: Sequence[View],
    sizes: Sequence[tuple[int, int]],
    progress: Progress,
    make: MakeArray = _in_memory,
) -> Stores:
    """Planar depths, world units.

    Each new pixel takes the depth of the pixel that holds its centre: a mean of two depths may lie on no
    surface.

    Args:
        views: what to decode.
        sizes: (width, height) of every size, pixels.
        progress: called after each view.
        make: provides the arrays.
    """
    stores = {size: make(size, (len(views), size[0] * size[1]), np.float32) for size in sizes}

    def read(index: int) -> None:
        depth = views[index].depth()
        for size, store in stores.items():
            store[index] = nearest_pixels(depth, size).ravel()

    if stores:
        _in_threads(read, len(views), progress, "reading depth")
    return stores


def decode(
    views: Sequence[View],
    sizes: Sequence[tuple[int, int]],
    progress: Progress,
    make: MakeArray = _in_memory,
) -> tuple[Float[np.ndarray, "views 4 4"], Stores]:
    """Camera-to-world poses, and pixels at each size.

    Args:
        views: what to decode.
        sizes: (width, height) of every size, pixels.
        progress: called after each view.
        make: provides the arrays.
    """
    stores = {size: make(size, (len(views), size[0] * size[1], 3), np.uint8) for size in sizes}
    poses = np.empty((len(views), 4, 4), np.float32)
    # Two pixels or more for each of the largest size: the rest of the way is the mean over areas.
    width = 2 * max((width for width, _ in sizes), default=0)
    height = 2 * max((height for _, height in sizes), default=0)

    def read(index: int) -> None:
        view = views[index]
        poses[index] = view.pose()
        image = view.image(at_least=(width, height))
        for size, store in stores.items():
            store[index] = resize_by_area(image, size).reshape(-1, 3)

    _in_threads(read, len(views), progress, "reading images")
    return poses, stores


def _in_threads(work: Callable[[int], None], count: int, progress: Progress, what: str) -> None:
    """Call ``work`` with 0 … count - 1. Decoding releases the interpreter lock, so threads are enough."""
    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
        # In pieces, because what waits in the pool takes memory.
        for start in range(0, count, _WAITING):
            piece = range(start, min(start + _WAITING, count))
            for done, _ in enumerate(pool.map(work, piece), start=start + 1):
                progress(done, count, what)


def decode_cached(
    dataset: Dataset,
    views: Sequence[View],
    sizes: Sequence[tuple[int, int]],
    folder: Path,
    progress: Progress,
) -> tuple[Float[np.ndarray, "views 4 4"], Stores]:
    """Like ``decode``, but from memory-mapped files that an earlier run decoded, if they are up to date.

    Args:
        dataset: owner of the views.
        views: what to decode.
        sizes: (width, height) of every size, pixels.
        folder: holds the files; made where it is missing.
        progress: called after each view that is decoded.
    Raises:
        WorkError: the folder cannot be written to.
    """
    kept = _KeptArrays(folder, dataset, "", _fingerprint(views, (".png", names.POSE_SUFFIX)))
    missing = [size for size in sizes if not kept.path(size).is_file()]
    if missing or not kept.poses.is_file():
        with kept.written(missing, len(views)) as make:
            poses, _ = decode(views, missing, progress, make)
            with atomic_path(kept.poses) as temporary:
                np.save(temporary, poses)
    return np.load(kept.poses), kept.mapped(sizes)


def decode_depths_cached(
    dataset: Dataset,
    views: Sequence[View],
    sizes: Sequence[tuple[int, int]],
    folder: Path,
    progress: Progress,
) -> Stores:
    """Like ``decode_depths``, from files like those of ``decode_cached``."""
    if not sizes:
        return {}
    kept = _KeptArrays(folder, dataset, "depth-", _fingerprint(views, (names.DEPTH_SUFFIX,)))
    missing = [size for size in dict.fromkeys(sizes) if not kept.path(size).is_file()]
    if missing:
        with kept.written(missing, len(views)) as make:
            decode_depths(views, missing, progress, make)
    return kept.mapped(sizes)


class _KeptArrays:
    """Arrays of one dataset in the cache folder, one for each size, named for the state of its files.

    Args:
        folder: the cache folder.
        dataset: that they are of.
        kind: begins the names of one kind of array.
        fingerprint: of the files that they are made of.
    """

    def __init__(self, folder: Path, dataset: Dataset, kind: str, fingerprint: str) -> None:
        owner = hashlib.sha256(str(dataset.root.resolve()).encode()).hexdigest()[:16]
        self._folder, self._prefix, self._fingerprint = folder, f"{kind}{owner}-", fingerprint

    def path(self, size: tuple[int, int]) -> Path:
        """The file of a size in pixels."""
        return self._named(f"{size[0]}x{size[1]}")

    @property
    def poses(self) -> Path:
        """The file of the poses."""
        return self._named("poses")

    def _named(self, what: str) -> Path:
        return self._folder / f"{self._prefix}{what}-{self._fingerprint}.npy"

    def mapped(self, sizes: Sequence[tuple[int, int]]) -> Stores:
        """The arrays, mapped into memory for reading: a writable mapping may not exceed the memory."""
        return {size: np.load(self.path(size), mmap_mode="r") for size in sizes}

    @contextmanager
    def written(self, sizes: Sequence[tuple[int, int]], views: int) -> Iterator[MakeArray]:
        """Yields what makes the arrays to be filled; they are there when the context ends without an error.

        Raises:
            WorkError: the folder cannot be written to, or the disk is full.
        """
        _log.info("decoding %d views once, for %s", views, self._folder)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for old in self._folder.glob(f"{self._prefix}*.npy"):
                if self._fingerprint not in old.name:
                    old.unlink(missing_ok=True)
            with ExitStack() as files:
                made = {size: files.enter_context(atomic_path(self.path(size))) for size in sizes}
                arrays: list[np.memmap] = []

                def make(size: tuple[int, int], shape: tuple[int, ...], kind: type) -> np.ndarray:
                    arrays.append(_reserved(made[size], shape, kind))
                    return arrays[-1]

                yield make
                for array in arrays:
                    array.flush()
        except OSError as error:
            raise WorkError(
                f"the decoded images of {views} views cannot be kept in {self._folder} ({error}); name "
                "another folder by the environment variable OBJNERF_CACHE, on a disk with room"
            ) from error


def _reserved(path: Path, shape: tuple[int, ...], kind: type) -> np.memmap:
    """An array mapped to a file whose room on the disk is allocated.

    On a full disk, a write to a mapped file without room kills the process.

    Raises:
        OSError: there is not enough room.
    """
    array: np.memmap = np.lib.format.open_memmap(path, "w+", kind, shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _fingerprint(views: Sequence[View], suffixes: Sequence[str]) -> str:
    """Changes when one of these files of the views is added, removed or overwritten."""
    digest = hashlib.sha256()
    for view in views:
        digest.update(view.stem.encode())
        for suffix in suffixes:
            try:
                state = os.stat(f"{view.root}{os.sep}{view.stem}{suffix}")
            except OSError:
                digest.update(b" None")
            else:
                digest.update(f" {state.st_size} {state.st_mtime_ns}".encode())
        digest.update(b"\n")
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Where decoded images are kept between runs: ``$OBJNERF_CACHE``, or the user's cache folder."""
    chosen = os.environ.get("OBJNERF_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "objnerf" / "pictures"
