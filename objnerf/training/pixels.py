"""Decoding a dataset's images, once, to the sizes that a recipe uses.

Images are resized by area and kept as 8-bit pixels. Resizing keeps an image's edges where they are, so the
focal ratio is unchanged and the principal point stays ((W-1)/2, (H-1)/2) at every size. Datasets with many
views are decoded once and then memory-mapped from a cache folder.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from objnerf.console import Progress
from objnerf.dataset.files import atomic_path
from objnerf.dataset.index import Dataset, View
from objnerf.dataset.resize import nearest_pixels, resize_by_area
from objnerf.errors import WorkError

_log = logging.getLogger(__name__)

Stores = dict[tuple[int, int], np.ndarray]
"""8-bit pixels, (views, pixels, 3), row-major, by (width, height)."""


def decode_depths(
    views: Sequence[View], sizes: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], Float32[np.ndarray, "views _pixels"]]:
    """Planar depths, world units, by (width, height).

    Each new pixel takes the depth of the pixel that holds its centre: a mean of two depths may lie on no
    surface.
    """
    found = {size: np.empty((len(views), size[0] * size[1]), np.float32) for size in sizes}
    if not sizes:
        return found

    def read(index: int) -> None:
        depth = views[index].depth()
        for size, store in found.items():
            store[index] = nearest_pixels(depth, size).ravel()

    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
        list(pool.map(read, range(len(views))))
    return found


def decode(
    views: Sequence[View],
    sizes: Sequence[tuple[int, int]],
    progress: Progress,
    make: Callable[[tuple[int, int]], np.ndarray] | None = None,
) -> tuple[Float[np.ndarray, "views 4 4"], Stores]:
    """Camera-to-world poses, and pixels at each size.

    Args:
        views: what to decode.
        sizes: (width, height) of every size, pixels.
        progress: called after each view.
        make: provides the array of a size that is filled; None for arrays in memory.
    """
    make = make or (lambda size: np.empty((len(views), size[0] * size[1], 3), np.uint8))
    stores = {size: make(size) for size in sizes}
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

    # Decoding releases the interpreter lock, so threads are enough.
    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
        for done, _ in enumerate(pool.map(read, range(len(views))), start=1):
            progress(done, len(views), "reading images")
    return poses, stores


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
    owner = hashlib.sha256(str(dataset.root.resolve()).encode()).hexdigest()[:16]
    fingerprint = _fingerprint(dataset, views)

    def path(kind: str) -> Path:
        return folder / f"{owner}-{kind}-{fingerprint}.npy"

    names = {size: path(f"{size[0]}x{size[1]}") for size in sizes}
    missing = [size for size, name in names.items() if not name.is_file()]
    if missing or not path("poses").is_file():
        _log.info("decoding %d views once, for %s", len(views), folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for old in folder.glob(f"{owner}-*.npy"):
                if fingerprint not in old.name:
                    old.unlink(missing_ok=True)
            _fill_cache(views, {size: names[size] for size in missing}, path("poses"), progress)
        except OSError as error:
            raise WorkError(
                f"the decoded images of {len(views)} views cannot be kept in {folder} ({error}); name "
                "another folder by the environment variable OBJNERF_CACHE, on a disk with room"
            ) from error
    # Copy-on-write: torch asks for writable memory, the file stays as it is.
    return np.load(path("poses")), {size: np.load(name, mmap_mode="c") for size, name in names.items()}


def _fill_cache(
    views: Sequence[View], names: dict[tuple[int, int], Path], poses_name: Path, progress: Progress
) -> None:
    """Decode views into the files ``names``, by size, and write their poses beside them."""
    with ExitStack() as files:
        made = {size: files.enter_context(atomic_path(name)) for size, name in names.items()}
        poses, stores = decode(
            views,
            list(names),
            progress,
            lambda size: _reserved(made[size], (len(views), size[0] * size[1], 3)),
        )
        for store in stores.values():
            store.flush()  # type: ignore[attr-defined]
        with atomic_path(poses_name) as temporary:
            np.save(temporary, poses)


def _reserved(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """An array mapped to a file whose room on the disk is allocated.

    On a full disk, a write to a mapped file without room kills the process.

    Raises:
        OSError: there is not enough room.
    """
    array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _fingerprint(dataset: Dataset, views: Sequence[View]) -> str:
    """Changes when an image or pose in use is added, removed or overwritten."""
    with os.scandir(dataset.root) as entries:
        states = {entry.name: entry.stat() for entry in entries if entry.name.endswith((".png", "_RT.txt"))}
    digest = hashlib.sha256()
    for view in views:
        for path in (view.image_path, view.pose_path):
            state = states.get(path.name) if path is not None else None
            found = (state.st_size, state.st_mtime_ns) if state is not None else None
            digest.update(f"{view.stem} {found}\n".encode())
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Where decoded images are kept between runs: ``$OBJNERF_CACHE``, or the user's cache folder."""
    chosen = os.environ.get("OBJNERF_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "objnerf" / "pictures"
