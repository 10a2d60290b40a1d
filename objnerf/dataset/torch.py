"""Scenes as tensors, for a training loop of your own. The only module of this package that imports torch."""

import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Listener
from pathlib import Path
from typing import Literal, NotRequired, TypedDict, get_args

import numpy as np
import torch
from jaxtyping import Float32, Int64, Shaped
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import get_worker_info

from objnerf.dataset.cameras import Pinhole
from objnerf.dataset.card import SceneScale
from objnerf.dataset.convert import shards
from objnerf.dataset.convert.posed import PosedView, depth_map, pixels
from objnerf.dataset.files import labels_from_mask, read_array, read_image
from objnerf.dataset.index import View, open_dataset
from objnerf.dataset.names import DEPTH_SUFFIX, MASK_SUFFIX
from objnerf.dataset.objects import SceneObjects, read_objects
from objnerf.dataset.resize import nearest_pixels, resize_by_area
from objnerf.errors import InputError, WorkError

#: What a dataset may hold beside images and cameras.
Pass = Literal["mask", "depth", "normal", "albedo"]

#: Passes that lie in a folder of their own, and the suffix of their files.
_PASS_FOLDERS: dict[Pass, str] = {"normal": ".npy", "albedo": ".png"}


class SceneTensors(TypedDict):
    """One scene. ``torch.utils.data.DataLoader`` stacks these, so that a batch has the same keys."""

    scene: int
    """The scene's id."""
    images: Float32[Tensor, "views 3 height width"]
    """RGB in [0, 1]."""
    world_from_camera: Float32[Tensor, "views 4 4"]
    """Camera-to-world poses, OpenCV axes (x right, y down, z forward), world units."""
    intrinsics: Float32[Tensor, "views 3 3"]
    """Pinhole matrices in pixels of ``images``; pixel centres are at whole numbers."""
    masks: NotRequired[Int64[Tensor, "views height width"]]
    """Instance labels: 0 is the background; an object has one label in all views of its scene."""
    depths: NotRequired[Float32[Tensor, "views height width"]]
    """Planar z-depth, world units."""
    normals: NotRequired[Float32[Tensor, "views 3 height width"]]
    """Unit surface normals, world axes."""
    albedos: NotRequired[Float32[Tensor, "views 3 height width"]]
    """RGB of the surfaces without light, in [0, 1]."""
    objects: NotRequired[SceneObjects]
    """6-DoF poses, boxes, categories and visible shares of the objects, as arrays; see `SceneObjects`."""


@dataclass(frozen=True)
class _ViewFiles:
    """Where one view's tensors come from; each function reads one file."""

    name: str
    image: Callable[[], np.ndarray]
    pose: Callable[[], np.ndarray]
    pinhole: Callable[[], Pinhole | None]
    passes: dict[Pass, Callable[[], np.ndarray]]


class SceneDataset(TorchDataset[SceneTensors]):
    """Scenes of a dataset folder, or of WebDataset shards, as tensors.

    Files are read when a scene is asked for, so that any number of ``DataLoader`` workers share the work,
    spawned ones included.

    Args:
        root: a folder in our format, or one of shards (``objnerf convert DATASET SHARDS --to webdataset``).
        size: (width, height) of all tensors, pixels; None keeps the files' own. Images are averaged over the
            area of a new pixel, everything else takes the pixel that holds the new one's centre.
        views: how many views of each scene, the first ones, or which; None for all. In the dataset format the
            first view is the input view.
        passes: what to read beside images and cameras: "mask", "depth", "normal", "albedo". None reads all
            that every view has.
        scenes: ids of the scenes, in the order wanted; None for all.
        objects: also read the objects' poses from ``scenes/*.json``. Their number differs from scene to
            scene, so that a ``DataLoader`` needs ``batch_size=None`` or a ``collate_fn`` of yours.
    Attributes:
        scene_ids: ids of the scenes, by index.
        passes: what is read beside images and cameras.
        scale: near, far, nss_scale, obj_scale and focal ratio of the dataset.
    Raises:
        InputError: the folder is no dataset, or a scene, a view or a pass that was asked for is not there.

    >>> dataset = SceneDataset("tests/data/blocks", size=(32, 24), views=2)
    >>> len(dataset), dataset.passes
    (3, ('mask',))
    >>> scene = dataset[0]
    >>> scene["images"].shape, scene["world_from_camera"].shape, scene["masks"].shape
    (torch.Size([2, 3, 24, 32]), torch.Size([2, 4, 4]), torch.Size([2, 24, 32]))
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        size: tuple[int, int] | None = None,
        views: int | Sequence[int] | None = None,
        passes: Collection[str] | None = None,
        scenes: Sequence[int] | None = None,
        objects: bool = False,
    ) -> None:
        if size is not None and min(size) < 1:
            raise InputError(f"size: expected a width and a height of at least 1 pixel, got {size}")
        self.root = Path(root)
        self.size = size
        if shards.recognise(self.root):
            found, self.scale, self._default = _from_shards(self.root)
            if objects:
                raise InputError(f"{root}: shards do not hold the objects' poses; use the dataset's folder")
        else:
            found, self.scale, self._default = _from_folder(self.root)
        self._objects_of = open_dataset(self.root) if objects else None
        ids = list(found) if scenes is None else list(scenes)
        for id in ids:
            if id not in found:
                raise InputError(f"{root}: expected one of its {len(found)} scenes, asked for scene {id}")
        self.scene_ids = tuple(ids)
        self._scenes = [_choose(found[id], views, f"{root}: scene {id}") for id in ids]
        self.passes = _choose_passes([view for scene in self._scenes for view in scene], passes)

    def __len__(self) -> int:
        return len(self._scenes)

    def __iter__(self) -> Iterator[SceneTensors]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> SceneTensors:
        """A scene by its index, from 0.

        Raises:
            InputError: a file is missing or cannot be used, or images of the scene differ in size.
            WorkError: this is a worker of a ``DataLoader``, and cannot pass tensors on.
        """
        if get_worker_info() is not None:
            _check_worker()
        views, where = self._scenes[index], f"{self.root}: scene {self.scene_ids[index]}"
        images = [view.image() for view in views]
        size = self.size or (images[0].shape[1], images[0].shape[0])
        if self.size is None and len({image.shape for image in images}) > 1:
            raise InputError(f"{where}: its images differ in size; pass size=(width, height)")
        poses = np.stack([view.pose() for view in views])
        if not np.isfinite(poses).all():
            raise InputError(f"{where}: expected finite numbers in its poses, found nan or inf")
        item: SceneTensors = {
            "scene": self.scene_ids[index],
            "images": _colours([resize_by_area(image, size) for image in images]),
            "world_from_camera": torch.from_numpy(poses.astype(np.float32)),
            "intrinsics": torch.stack([_matrix(view.pinhole() or self._default, size) for view in views]),
        }
        if "mask" in self.passes:
            item["masks"] = _labels([nearest_pixels(view.passes["mask"](), size) for view in views])
        if "depth" in self.passes:
            item["depths"] = _stack([nearest_pixels(view.passes["depth"](), size) for view in views])
        if "normal" in self.passes:
            normals = _stack([nearest_pixels(view.passes["normal"](), size) for view in views])
            item["normals"] = normals.permute(0, 3, 1, 2).contiguous()
        if "albedo" in self.passes:
            item["albedos"] = _colours([resize_by_area(view.passes["albedo"](), size) for view in views])
        if self._objects_of is not None:
            objects = read_objects(self._objects_of, self.scene_ids[index])
            item["objects"] = objects.seen_from([view.name for view in views])
        return item


@cache
def _check_worker() -> None:
    """Open a socket as torch does for every tensor that a worker passes on.

    Where that fails torch drops the batch, in a thread of its own, and the loader waits for it for ever.

    Raises:
        WorkError: there can be no socket.
    """
    if torch.multiprocessing.get_sharing_strategy() != "file_descriptor":
        return
    try:
        Listener().close()
    except OSError as error:
        raise WorkError(
            f"a DataLoader's worker cannot pass tensors on by a socket in {tempfile.gettempdir()} ({error}); "
            "let the environment variable TMPDIR name a folder with a short path, or use num_workers=0"
        ) from error


def _from_folder(root: Path) -> tuple[dict[int, list[_ViewFiles]], SceneScale, Pinhole]:
    """Views of a dataset folder by scene, its scale, and the lens of views without their own."""
    dataset = open_dataset(root)
    extra = {
        kind: {name.removesuffix(suffix) for name in os.listdir(root / kind)}
        for kind, suffix in _PASS_FOLDERS.items()
        if (root / kind).is_dir()
    }
    scenes = {id: [_folder_view(view, extra) for view in scene.views] for id, scene in dataset.scenes.items()}
    return scenes, dataset.scale(), dataset.default_pinhole()


def _folder_view(view: View, extra: dict[Pass, set[str]]) -> _ViewFiles:
    passes: dict[Pass, Callable[[], np.ndarray]] = {}
    if view.mask_path is not None:
        passes["mask"] = view.mask
    if view.depth_path is not None:
        passes["depth"] = view.depth
    for kind, stems in extra.items():
        if view.stem in stems:
            path = view.root / kind / f"{view.stem}{_PASS_FOLDERS[kind]}"
            passes[kind] = _Reader(path)
    return _ViewFiles(view.stem, view.image, view.pose, view.pinhole, passes)


@dataclass(frozen=True)
class _Reader:
    """Reads a pass from its own folder."""

    path: Path

    def __call__(self) -> Shaped[np.ndarray, "height width 3"]:
        if self.path.suffix == ".png":
            return read_image(self.path)
        return read_array(self.path, "an array in NumPy's .npy format")


def _from_shards(root: Path) -> tuple[dict[int, list[_ViewFiles]], SceneScale, Pinhole]:
    posed = shards.read(root)
    stated = {} if posed.card is None else posed.card.stated_scale
    scenes = {id: [_ShardView(view).files() for view in scene.views] for id, scene in enumerate(posed.scenes)}
    return scenes, SceneScale.of(stated, str(root)), posed.camera.pinhole


@dataclass(frozen=True)
class _ShardView:
    """Reads a view's slices of a tar file."""

    view: PosedView

    def files(self) -> _ViewFiles:
        passes: dict[Pass, Callable[[], np.ndarray]] = {}
        if MASK_SUFFIX in self.view.companions:
            passes["mask"] = self.mask
        if DEPTH_SUFFIX in self.view.companions:
            passes["depth"] = self.depth
        return _ViewFiles(self.view.stem, self.image, self.pose, self.pinhole, passes)

    def image(self) -> np.ndarray:
        return pixels(self.view.image)

    def pose(self) -> np.ndarray:
        return self.view.world_from_camera

    def pinhole(self) -> Pinhole | None:
        return None if self.view.lens is None else self.view.lens.intrinsics().pinhole

    def mask(self) -> np.ndarray:
        return pixels(self.view.companions[MASK_SUFFIX])

    def depth(self) -> np.ndarray:
        return depth_map(self.view.companions[DEPTH_SUFFIX])


def _choose(scene: Sequence[_ViewFiles], views: int | Sequence[int] | None, where: str) -> list[_ViewFiles]:
    wanted = range(len(scene)) if views is None else range(views) if isinstance(views, int) else views
    if not len(wanted):
        raise InputError(f"views: expected at least one, got {views}")
    if min(wanted) < 0 or max(wanted) >= len(scene):
        raise InputError(f"{where}: has {len(scene)} views, {views} were asked for")
    return [scene[number] for number in wanted]


def _choose_passes(views: Sequence[_ViewFiles], passes: Collection[str] | None) -> tuple[Pass, ...]:
    known: tuple[Pass, ...] = get_args(Pass)
    if passes is None:
        return tuple(kind for kind in known if all(kind in view.passes for view in views))
    strange = sorted(set(passes) - set(known))
    if strange:
        raise InputError(f"passes: expected some of {', '.join(known)}, got {strange[0]!r}")
    chosen = tuple(kind for kind in known if kind in passes)
    for kind in chosen:
        lacking = [view.name for view in views if kind not in view.passes]
        if lacking:
            raise InputError(f"{len(lacking)} of {len(views)} views have no {kind}, such as {lacking[0]}")
    return chosen


def _colours(images: Sequence[np.ndarray]) -> Float32[Tensor, "views 3 height width"]:
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return stacked.float() / 255


def _stack(maps: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(maps).astype(np.float32))


def _labels(masks: Sequence[np.ndarray]) -> Int64[Tensor, "views height width"]:
    # As one tall mask, so that colours outside the format's palette get one label in all views.
    tall = labels_from_mask(np.concatenate(masks))
    return torch.from_numpy(np.stack(np.split(tall.astype(np.int64), len(masks))))


def _matrix(pinhole: Pinhole, size: tuple[int, int]) -> Float32[Tensor, "3 3"]:
    camera = pinhole.at(*size)
    rows = [[camera.fx, 0.0, camera.cx], [0.0, camera.fy, camera.cy], [0.0, 0.0, 1.0]]
    return torch.tensor(rows, dtype=torch.float32)
