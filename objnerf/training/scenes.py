"""Views of a dataset's scenes in memory, at every size that a recipe uses."""

import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import numpy as np
import psutil
import torch
from jaxtyping import Float, Float32, Int, UInt8
from torch import Tensor

from objnerf.console import Progress, no_progress
from objnerf.dataset.cameras import Pinhole, common_pinhole
from objnerf.dataset.index import Dataset, View
from objnerf.errors import InputError
from objnerf.rendering.rays import pinhole_tensor
from objnerf.training.pixels import (
    cache_folder,
    decode,
    decode_cached,
    decode_depths,
    decode_depths_cached,
)

_log = logging.getLogger(__name__)

#: Share of the training device's free memory that images may take before they stay on disk.
MEMORY_SHARE = 0.4

#: Datasets with at least this many views are decoded once and kept on disk at the sizes in use.
CACHED_VIEWS = 2000


@dataclass(frozen=True)
class Scenes:
    """Views of some scenes in memory (or mapped into it), at every size that a recipe uses.

    Views of all scenes lie in a row; scene ``i`` owns ``count[i]`` of them from ``first[i]`` on.
    """

    ids: tuple[int, ...]
    first: tuple[int, ...]
    count: tuple[int, ...]
    world_from_camera: Float[Tensor, "views 4 4"]
    """Camera-to-world poses, OpenCV axes, world units; on the training device."""
    pixels: dict[tuple[int, int], UInt8[Tensor, "views pixels 3"]]
    """Row-major pixels by (width, height)."""
    depths: dict[tuple[int, int], Float32[Tensor, "views _pixels"]] = field(default_factory=dict)
    """Planar depths, world units, by (width, height); empty if not loaded."""
    pinholes: Float[Tensor, "views 4"] | None = None
    """Each view's lens (``rays.pinhole_tensor``), where cameras differ; None where one lens serves all."""

    @property
    def device(self) -> torch.device:
        """The training device; images that do not fit there stay on the CPU."""
        return self.world_from_camera.device

    def colours(
        self, size: tuple[int, int], views: Int[Tensor, "*rays"], pixels: Int[Tensor, "*rays"]
    ) -> Float[Tensor, "*rays 3"]:
        """Colours in [0, 1] of single pixels, on the training device."""
        store = self.pixels[size]
        found = store[views.to(store.device), pixels.to(store.device)]
        return found.to(self.device).float() / 255

    def surfaces(
        self, size: tuple[int, int], views: Int[Tensor, "*rays"], pixels: Int[Tensor, "*rays"]
    ) -> Float32[Tensor, "*rays"]:
        """Planar depths of single pixels, world units, on the training device."""
        store = self.depths[size]
        return store[views.to(store.device), pixels.to(store.device)].to(self.device)

    def images(
        self, size: tuple[int, int], views: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Whole views as a network sees them, in [-1, 1]."""
        store = self.pixels[size]
        found = store[views.to(store.device)].to(self.device).float() / 127.5 - 1
        return found.unflatten(1, (size[1], size[0])).permute(0, 3, 1, 2).contiguous()


def require_views(dataset: Dataset, ids: Sequence[int], count: int) -> None:
    """Check that each scene has the views that a step uses.

    Raises:
        InputError: names the first scene that has fewer.
    """
    for scene in ids:
        found = len(dataset.scenes[scene].views)
        if found < count:
            raise InputError(
                f"scene {scene} of {dataset.root} has {found} view{'s' if found != 1 else ''}, but "
                f"the recipe uses {count} views of each scene; add views, remove the scene, or train "
                f"with --set batch.views={found}"
            )


def load_scenes(
    dataset: Dataset,
    ids: Sequence[int],
    sizes: Sequence[tuple[int, int]],
    device: torch.device,
    *,
    depth_sizes: Sequence[tuple[int, int]] = (),
    focal_ratio: tuple[float, float] | None = None,
    cache: Path | None = None,
    progress: Progress = no_progress,
) -> Scenes:
    """Read the images and poses of some scenes.

    Args:
        dataset: an opened dataset.
        ids: scenes to read.
        sizes: (width, height) of every size that will be used, pixels.
        device: where to train.
        depth_sizes: sizes at which depth will be used.
        focal_ratio: (fx / width, fy / height) of views without intrinsics of their own; None uses the
            dataset's for all views.
        cache: folder for decoded images of datasets with many views; None for the user's cache folder.
        progress: called after each image that is decoded.
    Raises:
        InputError: a view without pose or needed depth, a file that cannot be read.
        WorkError: the cache folder cannot be written to.
    """
    by_scene = [dataset.scenes[scene].views for scene in ids]
    count = tuple(len(views) for views in by_scene)
    views = [view for found in by_scene for view in found]
    wanted = list(dict.fromkeys(sizes))
    if len(views) >= CACHED_VIEWS:
        folder = cache or cache_folder()
        poses, stores = decode_cached(dataset, views, wanted, folder, progress)
        depths = decode_depths_cached(dataset, views, depth_sizes, folder, progress)
    else:
        poses, stores = decode(views, wanted, progress)
        depths = decode_depths(views, depth_sizes, progress)
    placed = _Placement(device)
    return Scenes(
        ids=tuple(ids),
        first=tuple(accumulate((0, *count)))[:-1],
        count=count,
        world_from_camera=torch.from_numpy(poses).to(device),
        pixels={size: placed(store, "images of", size) for size, store in stores.items()},
        depths={size: placed(store, "depth at", size) for size, store in depths.items()},
        pinholes=None if focal_ratio is None else _differing_pinholes(dataset, views, focal_ratio, device),
    )


class _Placement:
    """Takes arrays to the training device, as long as ``MEMORY_SHARE`` of its free memory is enough."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._room = _free_memory(device) * MEMORY_SHARE

    def __call__(self, store: np.ndarray, what: str, size: tuple[int, int]) -> Tensor:
        """An array as a tensor: on the device where it fits, else where it is."""
        self._room -= store.nbytes
        with warnings.catch_warnings():
            # A mapped file is read-only, and nobody writes to the tensor.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            tensor = torch.from_numpy(store)
        if self._room <= 0:
            where = "on disk" if isinstance(store, np.memmap) else "in the CPU's memory"
            _log.info("%s %d×%d pixels stay %s (%.1f GB)", what, *size, where, store.nbytes / 1e9)
            return tensor
        if isinstance(store, np.memmap) and self._device.type == "cpu":
            # The kernel's own copy serves all processes, and gives way where memory is short.
            _read_ahead(Path(str(store.filename)))
            return tensor
        return tensor.to(self._device)


def _read_ahead(path: Path) -> None:
    """Have a file read into the page cache, in one go and in the background."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)


def _differing_pinholes(
    dataset: Dataset, views: Sequence[View], focal_ratio: tuple[float, float], device: torch.device
) -> Float[Tensor, "views 4"] | None:
    """The lens of each view; None where all are centred and have ``focal_ratio``."""
    if all(view.intrinsics_path is None for view in views):
        return None
    default = dataset.default_pinhole()
    found = [own if (own := view.pinhole()) is not None else default for view in views]
    if common_pinhole([Pinhole(focal_ratio), *found]) is not None:
        return None
    return pinhole_tensor(found, device)


def _free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available
