"""Open a dataset folder in one scan: its scenes, views and their companions.

The index only knows names. It opens no image and judges nothing: what is odd (stray images, poses
without a view) is kept in lists, which the validator reads and everybody else may ignore.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Integer, UInt8

from objnerf.dataset import files, names
from objnerf.dataset.cameras import (
    REFERENCE_FOCAL_RATIO,
    Intrinsics,
    Pinhole,
    common_pinhole,
    typical_pinhole,
    world_from_azimuth,
)
from objnerf.dataset.card import CARD_NAME, SCENE_FOLDER, DatasetCard, SceneScale, read_card
from objnerf.dataset.folders import TEMPORARY_PREFIX
from objnerf.errors import InputError


@dataclass(frozen=True, slots=True)
class View:
    """One image of a scene and the files beside it.

    ``companions`` holds the suffixes (``_RT.txt``, ``_mask.png``, …) of the files that are there.
    """

    root: Path
    name: names.ViewName
    stem: str
    companions: frozenset[str]

    @property
    def scene(self) -> int:
        return self.name.scene

    @property
    def image_path(self) -> Path:
        return self.root / f"{self.stem}.png"

    def companion(self, suffix: str) -> Path | None:
        """Path of a companion, such as ``view.companion("_moved.png")``; None when it is not there."""
        return self.root / f"{self.stem}{suffix}" if suffix in self.companions else None

    @property
    def pose_path(self) -> Path | None:
        return self.companion(names.POSE_SUFFIX)

    @property
    def azimuth_path(self) -> Path | None:
        return self.companion(names.AZIMUTH_SUFFIX)

    @property
    def mask_path(self) -> Path | None:
        return self.companion(names.MASK_SUFFIX)

    @property
    def depth_path(self) -> Path | None:
        return self.companion(names.DEPTH_SUFFIX)

    @property
    def intrinsics_path(self) -> Path | None:
        return self.companion(names.INTRINSICS_SUFFIX)

    def image(self, at_least: tuple[int, int] | None = None) -> UInt8[np.ndarray, "height width 3"]:
        """The image as 8-bit RGB; one that is stored as JPEG perhaps smaller, see ``files.read_image``."""
        return files.read_image(self.image_path, at_least)

    def pose(self) -> Float[np.ndarray, "4 4"]:
        """``world_from_camera``: the 4×4 camera-to-world matrix, OpenCV axes, world units."""
        return files.read_matrix(
            self._needed(names.POSE_SUFFIX, "every view needs its camera-to-world matrix")
        )

    def azimuth(self) -> Float[np.ndarray, "3 3"]:
        """Rotation from the view's azimuth frame to the world; from the pose when no file holds it."""
        path = self.azimuth_path
        return world_from_azimuth(self.pose()) if path is None else files.read_matrix(path, (3, 3))

    def pinhole(self) -> Pinhole | None:
        """The view's own intrinsics, from ``_intrinsics.txt``; None where the dataset's serve it.

        Raises:
            InputError: the file is there and cannot be used.
        """
        path = self.intrinsics_path
        return None if path is None else files.read_pinhole(path)

    def mask(self) -> UInt8[np.ndarray, "height width 3"]:
        """The instance mask's flat colours."""
        return files.read_mask(self._needed(names.MASK_SUFFIX, "this needs instance masks"))

    def labels(self) -> Integer[np.ndarray, "height width"]:
        """Instance labels: 0 for the background, 1… for the objects by grey level."""
        return files.labels_from_mask(self.mask())

    def depth(self) -> Float32[np.ndarray, "height width"]:
        """Planar z-depth, world units."""
        return files.read_depth(self._needed(names.DEPTH_SUFFIX, "this needs depth"))

    def _needed(self, suffix: str, why: str) -> Path:
        path = self.companion(suffix)
        if path is None:
            raise InputError(f"{self.image_path}: expected {self.stem}{suffix} beside it, found none; {why}")
        return path


@dataclass(frozen=True, slots=True)
class Scene:
    """The views of one scene, sorted by name; the first is the input view at evaluation."""

    id: int
    views: tuple[View, ...]

    def poses(self) -> Float[np.ndarray, "views 4 4"]:
        """``world_from_camera`` of all views (OpenCV axes, world units)."""
        return np.stack([view.pose() for view in self.views])


@dataclass(frozen=True)
class Dataset:
    """A dataset folder, by names alone.

    Attributes:
        scenes: by id, in rising order.
        strays: names of PNGs that are neither a view nor a view's companion: uORF takes each of
            them for a view.
        orphans: names of companions whose view is not there.
        movements: ``…_movement.txt`` by scene id.
        scene_cards: names in ``scenes/`` that end in .json.
        others: every other name in the folder, folders included.
    """

    root: Path
    scenes: dict[int, Scene]
    strays: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    movements: dict[int, Path] = field(default_factory=dict)
    scene_cards: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def n_views(self) -> int:
        return sum(len(scene.views) for scene in self.scenes.values())

    def views(self) -> Iterator[View]:
        """All views, scene by scene."""
        for scene in self.scenes.values():
            yield from scene.views

    def with_views(self, choose: Callable[[tuple[View, ...]], Iterable[View]]) -> "Dataset":
        """The same dataset with some of each scene's views, as ``choose`` picks them; in memory only."""
        scenes = {id: replace(scene, views=tuple(choose(scene.views))) for id, scene in self.scenes.items()}
        return replace(self, scenes=scenes)

    def card(self) -> DatasetCard | None:
        """``dataset.yaml``, read now; None when there is none."""
        return read_card(self.root)

    def stated_scale(self) -> dict[str, Any]:
        """The fields of `SceneScale` that ``dataset.yaml`` states; the lens also from the views' own files.

        Raises:
            InputError: one of these files cannot be used.
        """
        card = self.card()
        stated = {} if card is None else card.stated_scale
        if self.has_own_intrinsics:
            stated["focal_ratio"] = self.intrinsics(1, 1).focal_ratio
        return stated

    def scale(self) -> SceneScale:
        """What a model has to know of the dataset; uORF's values where the dataset states none.

        Raises:
            InputError: ``dataset.yaml`` cannot be used.
        """
        return SceneScale.of(self.stated_scale(), str(self.root / CARD_NAME))

    def default_pinhole(self) -> Pinhole:
        """For views without intrinsics of their own: ``dataset.yaml``'s, else uORF's 35 mm lens."""
        card = self.card()
        return Pinhole(
            card.focal_ratio if card is not None and card.focal_ratio is not None else REFERENCE_FOCAL_RATIO
        )

    def pinholes(self) -> list[Pinhole]:
        """The intrinsics of all views, in the order of ``views``: a view's own file before ``dataset.yaml``.

        Raises:
            InputError: a file that is there cannot be used.
        """
        default = self.default_pinhole()
        return [own if (own := view.pinhole()) is not None else default for view in self.views()]

    def common_pinhole(self) -> Pinhole | None:
        """The intrinsics of all views, where they are the same up to rounding; None where cameras differ."""
        if not self.has_own_intrinsics:
            return self.default_pinhole()
        return common_pinhole(self.pinholes())

    @property
    def has_own_intrinsics(self) -> bool:
        """Whether any view has an ``_intrinsics.txt``."""
        return any(names.INTRINSICS_SUFFIX in view.companions for view in self.views())

    def intrinsics(self, width: int, height: int) -> Intrinsics:
        """Intrinsics at an image size: those of all views, or where cameras differ their centred median."""
        if not self.has_own_intrinsics:
            return self.default_pinhole().at(width, height)
        pinholes = self.pinholes()
        return (common_pinhole(pinholes) or typical_pinhole(pinholes)).at(width, height)


def open_dataset(root: str | os.PathLike[str]) -> Dataset:
    """Index a dataset folder with one scan, in time linear in its number of files.

    Raises:
        InputError: the folder is missing, is no folder, cannot be read, or holds no view at all.
    """
    dataset = scan_dataset(root)
    if not dataset.scenes:
        detail = f"{len(dataset.strays)} PNG files whose names hold no scene id" if dataset.strays else "none"
        raise InputError(
            f"{dataset.root}: expected views named like 00011_sc0002_img3.png, found {detail}; "
            "give the folder that holds the images"
        )
    return dataset


def scan_dataset(root: str | os.PathLike[str]) -> Dataset:
    """Like ``open_dataset``, but a folder without views gives a dataset without scenes."""
    root = Path(root)
    stems: dict[str, names.ViewName] = {}
    # By stem, a bit for each suffix: hundreds of thousands of sets would be most of the index.
    companions: dict[str, int] = {}
    strays, others = [], []
    movements: dict[int, Path] = {}
    for filename in _list_folder(root):
        split = names.split_companion(filename)
        if split is not None:
            stem, suffix = split
            companions[stem] = companions.get(stem, 0) | 1 << names.COMPANION_SUFFIXES.index(suffix)
        elif filename.endswith(".png"):
            name = names.parse_view_name(filename)
            if name is None:
                strays.append(filename)
            else:
                stems[filename[: -len(".png")]] = name
        else:
            scene = names.parse_movement_name(filename)
            if scene is None:
                others.append(filename)
            else:
                movements[scene] = root / filename
    by_scene: dict[int, list[View]] = {}
    for stem in sorted(stems):
        view = View(root, stems[stem], stem, _suffixes(companions.pop(stem, 0)))
        by_scene.setdefault(view.scene, []).append(view)
    orphans = sorted(stem + suffix for stem, bits in companions.items() for suffix in _suffixes(bits))
    scene_cards: list[str] = []
    if SCENE_FOLDER in others and (root / SCENE_FOLDER).is_dir():
        scene_cards = [name for name in _list_folder(root / SCENE_FOLDER) if name.endswith(".json")]
    return Dataset(
        root=root,
        scenes={scene: Scene(scene, tuple(by_scene[scene])) for scene in sorted(by_scene)},
        strays=tuple(sorted(strays)),
        orphans=tuple(orphans),
        movements=movements,
        scene_cards=tuple(sorted(scene_cards)),
        others=tuple(sorted(name for name in others if name not in (CARD_NAME, SCENE_FOLDER))),
    )


@cache
def _suffixes(bits: int) -> frozenset[str]:
    """Companion suffixes from a bit for each; equal sets are one object."""
    return frozenset(suffix for bit, suffix in enumerate(names.COMPANION_SUFFIXES) if bits >> bit & 1)


def _list_folder(root: Path) -> Iterator[str]:
    """Names in a folder, without the temporary ones of writers at work."""
    try:
        with os.scandir(root) as entries:
            for entry in entries:
                if not entry.name.startswith(TEMPORARY_PREFIX):
                    yield entry.name
    except FileNotFoundError as error:
        raise InputError(f"{root}: no such folder") from error
    except NotADirectoryError as error:
        raise InputError(f"{root}: expected a folder that holds a dataset, found a file") from error
    except OSError as error:
        raise InputError(f"{root}: the folder cannot be read ({error.strerror or error})") from error
