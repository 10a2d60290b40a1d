"""What a dataset holds, in numbers: cameras, objects, visibility, categories, depth."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from objnerf.dataset.cameras import distance_elevation
from objnerf.dataset.files import image_size
from objnerf.dataset.index import Dataset, View
from objnerf.dataset.names import EDIT_SUFFIXES
from objnerf.dataset.objects import read_objects

#: Called with how many steps are done and how many there are.
Progress = Callable[[int, int], None]

#: Masks and depth maps of at most so many views are decoded: whole scenes, spread evenly.
SAMPLED_VIEWS = 1000


@dataclass(frozen=True)
class Spread:
    """Least, mean and greatest of some values."""

    least: float
    mean: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread | None":
        """Of finite values; None where there are none."""
        finite = [value for value in values if np.isfinite(value)]
        return cls(min(finite), float(np.mean(finite)), max(finite)) if finite else None


@dataclass(frozen=True)
class Statistics:
    """Numbers about a dataset; None where it does not hold what they are made of.

    Attributes:
        scenes, views: how many there are.
        views_per_scene: the fewest and the most.
        image_size: width and height in pixels of the first view.
        focal_ratio: fx / width and fy / height; None where cameras differ.
        distance: of the cameras from the origin, world units.
        elevation: of the cameras above the ground as seen from the origin, degrees.
        with_masks, with_depth, with_edits: views that have these files.
        sampled: views whose masks and depth were decoded.
        objects: in the masks of a scene (of its sampled views).
        object_pixels: share of an image that an object covers, where it is visible.
        depth_range: 1st and 99th percentile of finite depth, world units.
        described: scenes that have a ``scenes/*.json``.
        categories: objects in these, by category.
        visible: share of an object's silhouette in an image that is not hidden.
    """

    scenes: int
    views: int
    views_per_scene: tuple[int, int]
    image_size: tuple[int, int]
    focal_ratio: tuple[float, float] | None
    distance: Spread | None
    elevation: Spread | None
    with_masks: int
    with_depth: int
    with_edits: int
    sampled: int
    objects: Spread | None
    object_pixels: Spread | None
    depth_range: tuple[float, float] | None
    described: int
    categories: dict[str, int]
    visible: Spread | None


def measure(dataset: Dataset, progress: Progress) -> Statistics:
    """Measure a dataset.

    Raises:
        InputError: a file that is there cannot be read; ``objnerf validate`` says more.
    """
    views = list(dataset.views())
    cameras = np.array([distance_elevation(view.pose()) for view in views])
    counts = [len(scene.views) for scene in dataset.scenes.values()]
    pinhole = dataset.common_pinhole()
    decoded = _Decoded()
    sample = _sampled(dataset)
    for number, view in enumerate(sample):
        decoded.add(view)
        progress(number + 1, len(sample))
    described = [scene for scene in dataset.scenes if _is_described(dataset, scene)]
    categories: Counter[str] = Counter()
    visible: list[float] = []
    for scene in described:
        objects = read_objects(dataset, scene)
        categories.update(category or "not stated" for category in objects.categories)
        visible += objects.visible.ravel().tolist()
    return Statistics(
        scenes=len(counts),
        views=len(views),
        views_per_scene=(min(counts), max(counts)),
        image_size=image_size(views[0].image_path),
        focal_ratio=None if pinhole is None else pinhole.focal_ratio,
        distance=Spread.of(cameras[:, 0].tolist()),
        elevation=Spread.of(cameras[:, 1].tolist()),
        with_masks=sum(view.mask_path is not None for view in views),
        with_depth=sum(view.depth_path is not None for view in views),
        with_edits=sum(bool(view.companions & set(EDIT_SUFFIXES)) for view in views),
        sampled=len(sample),
        objects=Spread.of([float(len(labels)) for labels in decoded.labels.values()]),
        object_pixels=Spread.of(decoded.shares),
        depth_range=decoded.depth_range(),
        described=len(described),
        categories=dict(categories.most_common()),
        visible=Spread.of(visible),
    )


class _Decoded:
    """What masks and depth maps show, gathered view by view."""

    def __init__(self) -> None:
        self.labels: dict[int, set[int]] = {}
        self.shares: list[float] = []
        self.depths: list[np.ndarray] = []

    def add(self, view: View) -> None:
        if view.mask_path is not None:
            pixels = np.bincount(view.labels().ravel())
            present = np.flatnonzero(pixels[1:]) + 1
            self.labels.setdefault(view.scene, set()).update(present.tolist())
            self.shares += (pixels[present] / pixels.sum()).tolist()
        if view.depth_path is not None:
            depth = view.depth().ravel()
            # A hundred quantiles stand for a depth map, so that a thousand of them fit into memory.
            depth = depth[np.isfinite(depth)]
            if len(depth):
                self.depths.append(np.percentile(depth, np.arange(0.5, 100)))

    def depth_range(self) -> tuple[float, float] | None:
        if not self.depths:
            return None
        low, high = np.percentile(np.concatenate(self.depths), [1, 99])
        return float(low), float(high)


def _sampled(dataset: Dataset) -> list[View]:
    """At most ``SAMPLED_VIEWS`` views: whole scenes, spread evenly over the dataset."""
    scenes = list(dataset.scenes.values())
    most = max(len(scene.views) for scene in scenes)
    count = max(1, min(len(scenes), SAMPLED_VIEWS // most))
    chosen = np.linspace(0, len(scenes) - 1, count).round().astype(int)
    return [view for index in chosen for view in scenes[index].views][:SAMPLED_VIEWS]


def _is_described(dataset: Dataset, scene: int) -> bool:
    digits = dataset.scenes[scene].views[0].name.digits
    return f"{scene:0{digits}d}.json" in dataset.scene_cards
