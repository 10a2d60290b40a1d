"""From a dataset folder to batches of rays.

Views are resized once, by area, to the sizes that a recipe uses, and kept as 8-bit pixels: on the training
device when they fit, else memory-mapped. Resizing keeps a picture's edges where they are, so the focal ratio
is unchanged and the principal point stays ((W-1)/2, (H-1)/2) at every size.

What a step looks at depends on nothing but the seed, the step and the scene's position in the batch. So a
resumed run needs no generator's state, and two processes with half the batch each draw what one would.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import psutil
import torch
from jaxtyping import Float, Float32, Int, UInt8
from torch import Tensor

from objnerf.console import Progress, no_progress
from objnerf.dataset.cameras import Pinhole, common_pinhole
from objnerf.dataset.files import atomic_path
from objnerf.dataset.index import Dataset, View
from objnerf.dataset.resize import nearest_pixels, resize_by_area
from objnerf.errors import InputError, WorkError
from objnerf.models.scene import NovelRays
from objnerf.rendering.rays import (
    camera_directions,
    pinhole_tensor,
    pixel_directions,
    uniform_depths,
    world_rays,
)
from objnerf.training.recipe import HeldOut, Recipe, Stage

_log = logging.getLogger(__name__)

#: Share of the free memory that pictures may take before they stay on disk.
MEMORY_SHARE = 0.4

#: Datasets with at least this many views are decoded once and kept on disk at the sizes in use.
CACHED_VIEWS = 2000

# Purposes that randomness is drawn for; each has its own stream, so that none shifts another.
_ORDER, _RAYS, NOISE, INIT = range(4)


def derive_seed(seed: int, attempt: int, stream: int, *more: int) -> int:
    """A 63-bit seed for one purpose of one attempt of a run."""
    words = np.random.SeedSequence([seed, attempt, stream, *more]).generate_state(2, np.uint32)
    return (int(words[0]) << 31) ^ int(words[1])


def views_to_hold_out(dataset: Dataset, held_out: HeldOut, needed: int) -> int:
    """How many of each scene's last views are held out, since there is no scene to spare: 0 where there is.

    A dataset of one scene cannot do without it, so views of it are what the model is tried on.

    Args:
        dataset: to be trained on.
        held_out: the recipe's; a number of scenes is taken at its word.
        needed: views of each scene that a step looks at; so many are never held out.
    """
    if len(dataset.scenes) > 1 or held_out.scenes is not None or held_out.share == 0:
        return 0
    views = min(len(scene.views) for scene in dataset.scenes.values())
    return max(0, min(max(1, round(held_out.share * views)), views - needed))


def split_scenes(ids: Sequence[int], held_out: HeldOut) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Scene ids to train on, and the last ones, which are held out; none of a single scene.

    Raises:
        InputError: nothing would be left to train on.
    """
    if held_out.scenes is not None:
        count = held_out.scenes
    else:
        count = max(1, round(held_out.share * len(ids))) if held_out.share > 0 and len(ids) > 1 else 0
    if count >= len(ids):
        raise InputError(
            f"the dataset has {len(ids)} scenes and {count} of them are to be held out, so none is left to "
            "train on; set held_out.scenes or held_out.share lower"
        )
    return tuple(ids[: len(ids) - count]), tuple(ids[len(ids) - count :])


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
    """Planar depths, world units, by (width, height), where they were asked for."""
    pinholes: Float[Tensor, "views 4"] | None = None
    """Each view's lens (``rays.pinhole_tensor``), where cameras differ; None where one lens serves all."""

    @property
    def device(self) -> torch.device:
        """The training device; pictures that do not fit there stay on the CPU."""
        return self.world_from_camera.device

    def colours(
        self, size: tuple[int, int], views: Int[Tensor, "*rays"], pixels: Int[Tensor, "*rays"]
    ) -> Float[Tensor, "*rays 3"]:
        """Colours in [0, 1] of single pixels, on the training device."""
        store = self.pixels[size]
        found = store[views.to(store.device), pixels.to(store.device)]
        return found.to(self.device).float() / 255

    def images(
        self, size: tuple[int, int], views: Int[Tensor, "batch"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Whole views as a network sees them, in [-1, 1]."""
        store = self.pixels[size]
        found = store[views.to(store.device)].to(self.device).float() / 127.5 - 1
        return found.unflatten(1, (size[1], size[0])).permute(0, 3, 1, 2).contiguous()


def load_scenes(
    dataset: Dataset,
    ids: Sequence[int],
    sizes: Sequence[tuple[int, int]],
    device: torch.device,
    *,
    min_views: int = 1,
    depth_sizes: Sequence[tuple[int, int]] = (),
    focal_ratio: tuple[float, float] | None = None,
    cache: Path | None = None,
    progress: Progress = no_progress,
) -> Scenes:
    """Read the pictures and poses of some scenes.

    Args:
        dataset: an opened dataset.
        ids: scenes to read.
        sizes: (width, height) of every size that will be asked for, pixels.
        device: where to train.
        min_views: views that each scene must have.
        depth_sizes: sizes at which depth will be asked for.
        focal_ratio: the lens that serves all views without being said; None takes it to serve views with
            intrinsics of their own, too.
        cache: folder for decoded pictures of datasets with many views; None for the user's cache folder.
        progress: told about pictures as they are decoded.
    Raises:
        InputError: a scene with too few views, a view without pose or a depth that is asked for, a file that
            cannot be read.
    """
    first: list[int] = []
    count: list[int] = []
    views: list[View] = []
    for scene in ids:
        found = dataset.scenes[scene].views
        if len(found) < min_views:
            raise InputError(
                f"scene {scene} of {dataset.root} has {len(found)} view{'s' if len(found) != 1 else ''}, but "
                f"the recipe looks at {min_views} views of each scene; add views, remove the scene, or train "
                f"with --set batch.views={len(found)}"
            )
        first.append(len(views))
        count.append(len(found))
        views.extend(found)
    wanted = list(dict.fromkeys(sizes))
    if len(views) >= CACHED_VIEWS:
        poses, stores = _load_cached(dataset, views, wanted, cache or _cache_folder(), progress)
    else:
        poses, stores = _decode(views, wanted, progress)
    pixels = {}
    room = _free_memory(device) * MEMORY_SHARE
    for size, store in stores.items():
        pixels[size] = torch.from_numpy(store)
        room -= store.nbytes
        if room > 0:
            # A clone of a mapped array is in memory; one already there is not copied twice.
            mapped = isinstance(store, np.memmap)
            pixels[size] = (
                pixels[size].clone() if mapped and device.type == "cpu" else pixels[size].to(device)
            )
        else:
            _log.info("pictures of %d×%d pixels stay on disk (%.1f GB)", *size, store.nbytes / 1e9)
    return Scenes(
        ids=tuple(ids),
        first=tuple(first),
        count=tuple(count),
        world_from_camera=torch.from_numpy(poses).to(device),
        pixels=pixels,
        depths={
            size: torch.from_numpy(found).to(device) for size, found in _depths(views, depth_sizes).items()
        },
        pinholes=None if focal_ratio is None else _differing_pinholes(dataset, views, focal_ratio, device),
    )


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


def _depths(
    views: Sequence[View], sizes: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], Float32[np.ndarray, "views _pixels"]]:
    """Planar depths of the pixels that hold the middles of the new ones: a mean of depths is nowhere."""
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


Stores = dict[tuple[int, int], np.ndarray]


def _decode(
    views: Sequence[View],
    sizes: Sequence[tuple[int, int]],
    progress: Progress,
    make: Callable[[tuple[int, int]], np.ndarray] | None = None,
) -> tuple[Float[np.ndarray, "views 4 4"], Stores]:
    """Poses, and pixels at each size; ``make`` provides the arrays to fill."""
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
            progress(done, len(views), "reading pictures")
    return poses, stores


def _load_cached(
    dataset: Dataset,
    views: Sequence[View],
    sizes: Sequence[tuple[int, int]],
    folder: Path,
    progress: Progress,
) -> tuple[Float[np.ndarray, "views 4 4"], Stores]:
    """Like ``_decode``, but from memory-mapped files that an earlier run decoded, if they are up to date."""
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
            with ExitStack() as files:
                made = {size: files.enter_context(atomic_path(names[size])) for size in missing}
                poses, stores = _decode(
                    views,
                    missing,
                    progress,
                    lambda size: _reserved(made[size], (len(views), size[0] * size[1], 3)),
                )
                for store in stores.values():
                    store.flush()  # type: ignore[attr-defined]
                with atomic_path(path("poses")) as temporary:
                    np.save(temporary, poses)
        except OSError as error:
            raise WorkError(
                f"the decoded pictures of {len(views)} views cannot be kept in {folder} ({error}); name "
                "another folder by the environment variable OBJNERF_CACHE, on a disk with room"
            ) from error
    # Copy-on-write: torch asks for writable memory, the file stays as it is.
    return np.load(path("poses")), {size: np.load(name, mmap_mode="c") for size, name in names.items()}


def _reserved(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """An array mapped to a file whose room on the disk is taken: a write to a full disk would kill us.

    Raises:
        OSError: there is not enough room.
    """
    array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _fingerprint(dataset: Dataset, views: Sequence[View]) -> str:
    """Changes when a picture or pose in use is added, removed or written anew."""
    with os.scandir(dataset.root) as entries:
        states = {entry.name: entry.stat() for entry in entries if entry.name.endswith((".png", "_RT.txt"))}
    digest = hashlib.sha256()
    for view in views:
        for path in (view.image_path, view.pose_path):
            state = states.get(path.name) if path is not None else None
            found = (state.st_size, state.st_mtime_ns) if state is not None else None
            digest.update(f"{view.stem} {found}\n".encode())
    return digest.hexdigest()[:16]


def _cache_folder() -> Path:
    """Where decoded pictures are kept between runs: ``$OBJNERF_CACHE``, or the user's cache folder."""
    chosen = os.environ.get("OBJNERF_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "objnerf" / "pictures"


def _free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


@dataclass(frozen=True)
class Batch:
    """What one step sees of some scenes: the input views, and rays with the colours that belong to them."""

    images: Float[Tensor, "scenes 3 height width"]
    """Input views in [-1, 1]."""
    world_from_camera: Float[Tensor, "scenes 4 4"]
    """The input views' poses."""
    origins: Float[Tensor, "scenes rays 3"]
    """World units."""
    directions: Float[Tensor, "scenes rays 3"]
    """Camera z-depth 1."""
    depths: Float[Tensor, "scenes rays samples"]
    """Planar depths of the samples, world units, ascending."""
    colours: Float[Tensor, "scenes rays 3"]
    """In [0, 1]."""
    grid: tuple[int, int, int] | None
    """(views, height, width) where the rays are whole pictures or crops; None for loose rays."""
    pinholes: Float[Tensor, "scenes 4"] | None = None
    """The input views' lenses, where cameras differ."""
    novel: NovelRays | None = None
    """Where the rays come from, if every view of a scene is an input and explains the others."""
    pixel: float = 0.0
    """Side of a pixel in the plane of depth 1 before the camera."""
    surfaces: Float[Tensor, "scenes rays"] | None = None
    """Planar depth of what each ray sees, world units, if the recipe asks for it."""


def scenes_of_step(scenes: int, start: int, count: int, seed: int, attempt: int) -> list[int]:
    """Positions of the scenes that come after ``start`` others in the shuffled epochs of a run.

    Every epoch shows each of ``scenes`` scenes once, in an order of its own.
    """
    chosen = []
    for place in range(start, start + count):
        epoch, rank = divmod(place, scenes)
        chosen.append(int(_epoch_order(scenes, epoch, seed, attempt)[rank]))
    return chosen


@lru_cache(maxsize=4)
def _epoch_order(scenes: int, epoch: int, seed: int, attempt: int) -> np.ndarray:
    generator = np.random.default_rng(np.random.SeedSequence([seed, attempt, _ORDER, epoch]))
    return generator.permutation(scenes)


def draw_batch(
    scenes: Scenes,
    recipe: Recipe,
    stage: Stage,
    start: int,
    *,
    attempt: int = 0,
) -> Batch:
    """Draw ``recipe.batch.scenes`` scenes, their views, and the rays that the stage asks for.

    Args:
        scenes: what to draw from.
        recipe: its batch, sampling, scale, input size and seed count.
        stage: picture size and kind of supervision.
        start: how many scenes the run has shown before these, over all processes.
        attempt: counts the restarts of a collapsed run.
    Returns:
        The batch, on the training device.
    """
    width, height = stage.size
    chosen = scenes_of_step(len(scenes.ids), start, recipe.batch.scenes, recipe.seed, attempt)
    views, rays_view, rays_pixel, rays_which, jitter = [], [], [], [], []
    for offset, scene in enumerate(chosen):
        generator = torch.Generator().manual_seed(derive_seed(recipe.seed, attempt, _RAYS, start + offset))
        order = torch.randperm(scenes.count[scene], generator=generator)[: recipe.batch.views]
        own = scenes.first[scene] + order
        for position in range(len(own) if stage.supervision == "novel" else 1):
            which, pixel = _draw_pixels(recipe, stage, len(own), position, generator)
            views.append(own[position])
            rays_view.append(own[which])
            rays_pixel.append(pixel)
            rays_which.append(which)
            if recipe.sampling.jitter:
                jitter.append(torch.rand((len(pixel), recipe.sampling.samples), generator=generator))
    device = scenes.device
    inputs = torch.stack(views).to(device)
    view = torch.stack(rays_view).to(device)
    pixel = torch.stack(rays_pixel).to(device)
    poses = scenes.world_from_camera[view]
    if scenes.pinholes is None:
        directions = camera_directions(recipe.scale.focal_ratio, width, height, device).flatten(0, 1)[pixel]
    else:
        directions = pixel_directions(scenes.pinholes[view], pixel, width, height)
    origins, directions = world_rays(directions[..., None, :], poses)
    near, far, samples = recipe.scale.near, recipe.scale.far, recipe.sampling.samples
    if jitter:
        steps = torch.arange(samples, device=device) + torch.stack(jitter).to(device)
        depths = near + (far - near) * steps / samples
    else:
        depths = uniform_depths(near, far, samples, device).expand(*pixel.shape, samples)
    return Batch(
        images=scenes.images(recipe.input_size, inputs),
        world_from_camera=scenes.world_from_camera[inputs],
        pinholes=None if scenes.pinholes is None else scenes.pinholes[inputs],
        origins=origins[..., 0, :],
        directions=directions[..., 0, :],
        depths=depths,
        colours=scenes.colours(stage.size, view, pixel),
        grid=_grid(recipe, stage),
        novel=_novel_rays(recipe, torch.stack(rays_which).to(device), pixel, stage.size)
        if stage.supervision == "novel"
        else None,
        pixel=1 / (recipe.scale.focal_ratio[0] * width),
        surfaces=scenes.depths[stage.size][view, pixel] if recipe.losses.depth > 0 else None,
    )


def _novel_rays(
    recipe: Recipe, view: Int[Tensor, "inputs rays"], pixel: Int[Tensor, "inputs rays"], size: tuple[int, int]
) -> NovelRays:
    width, height = size
    column, row = pixel % width, torch.div(pixel, width, rounding_mode="floor")
    where = torch.stack([(2 * column + 1) / width - 1, (2 * row + 1) / height - 1], dim=-1)
    return NovelRays(len(view) // recipe.batch.scenes, view, where)


def _grid(recipe: Recipe, stage: Stage) -> tuple[int, int, int] | None:
    if stage.supervision in {"rays", "novel"}:
        return None
    if stage.supervision == "patches":
        return recipe.batch.views, stage.patch, stage.patch
    return recipe.batch.views, stage.size[1], stage.size[0]


def _draw_pixels(
    recipe: Recipe, stage: Stage, views: int, position: int, generator: torch.Generator
) -> tuple[Int[Tensor, "rays"], Int[Tensor, "rays"]]:
    """Which of the drawn views, and which row-major pixel of it, each ray looks through.

    ``position`` is that of the input view among the drawn ones.
    """
    width, height = stage.size
    if stage.supervision == "novel":
        # As many rays of one other view as of the next.
        which = (position + 1 + torch.arange(stage.rays) % (views - 1)) % views
        return which, torch.randint(width * height, (stage.rays,), generator=generator)
    if stage.supervision == "rays":
        which = torch.randint(views, (stage.rays,), generator=generator)
        return which, torch.randint(width * height, (stage.rays,), generator=generator)
    rows, columns = torch.arange(height), torch.arange(width)
    if stage.supervision == "patches":
        # One place for all views, as in the reference.
        rows = torch.randint(height - stage.patch + 1, (1,), generator=generator) + torch.arange(stage.patch)
        columns = torch.randint(width - stage.patch + 1, (1,), generator=generator) + torch.arange(
            stage.patch
        )
    pixel = (rows[:, None] * width + columns).flatten()
    return torch.arange(views).repeat_interleave(len(pixel)), pixel.repeat(views)
