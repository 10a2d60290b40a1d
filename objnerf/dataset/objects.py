"""What ``scenes/*.json`` says about the objects of a scene: 6-DoF poses, boxes, categories and visibility.

An object's frame is right-handed with z up; its origin is the centre of its bounding box's footprint, and the
front of furniture faces -y. Poses are rigid: lengths in an object's frame are world units.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from objnerf.dataset import files, names
from objnerf.dataset.cameras import invert
from objnerf.dataset.card import ObjectCard, read_scene_card, scene_card_path
from objnerf.dataset.index import Dataset, View
from objnerf.errors import InputError


@dataclass(frozen=True, eq=False)
class SceneObjects:
    """The objects of one scene, in the order of their labels, in the world and in each view.

    Attributes:
        scene: the scene's id.
        labels: labels in the masks; 1 is the first colour.
        assets: ids of the assets in the manifest.
        categories: ``chair``, ``table``, …; None where the file does not say.
        world_from_object: object-to-world poses, rigid. The rotation is nan where the file has no yaw.
        size: of the bounding boxes along the objects' own axes, world units; nan where the file has none.
        stems: the views' names, in the order of the dataset.
        camera_from_object: object-to-camera poses (OpenCV axes), by the views' own ``_RT.txt``.
        visible: share of each object's silhouette inside the image that other objects do not hide, 0 to 1;
            nan where the file does not say.
    """

    scene: int
    labels: Int[np.ndarray, " objects"]
    assets: tuple[str, ...]
    categories: tuple[str | None, ...]
    world_from_object: Float[np.ndarray, "objects 4 4"]
    size: Float[np.ndarray, "objects 3"]
    stems: tuple[str, ...]
    camera_from_object: Float[np.ndarray, "views objects 4 4"]
    visible: Float[np.ndarray, "views objects"]

    def seen_from(self, stems: Sequence[str]) -> "SceneObjects":
        """The same objects in some of the views, in the order given.

        Raises:
            ValueError: a view that the scene does not have.
        """
        rows = [self.stems.index(stem) for stem in stems]
        return replace(
            self,
            stems=tuple(stems),
            camera_from_object=self.camera_from_object[rows],
            visible=self.visible[rows],
        )

    def box_corners(self) -> Float[np.ndarray, "objects 8 3"]:
        """Corners of the oriented bounding boxes, world units.

        Bit i of a corner's index says on which side of axis i it lies: corner 1 is at +x, -y and the bottom.
        The bottom of a box is at z = 0 of its object's frame, its sides are at ± half the size.
        """
        sides = np.array([[(index >> axis) & 1 for axis in range(3)] for index in range(8)])
        corners = self.size[:, None, :] * (sides - [0.5, 0.5, 0.0])
        rotation, origin = self.world_from_object[:, :3, :3], self.world_from_object[:, None, :3, 3]
        return np.einsum("oij,ocj->oci", rotation, corners) + origin


def read_objects(dataset: Dataset, scene: int) -> SceneObjects:
    """Read what is known of the objects of a scene.

    Raises:
        InputError: there is no such scene, it has no ``scenes/*.json``, or that cannot be used.
    """
    if scene not in dataset.scenes:
        raise InputError(f"{dataset.root}: expected one of its {len(dataset.scenes)} scenes, found {scene}")
    views = dataset.scenes[scene].views
    path = scene_card_path(dataset.root, scene, views[0].name.digits)
    if path.name not in dataset.scene_cards:
        raise InputError(
            f"{path}: no such file, which describes the objects of scene {scene} has; `objnerf generate` "
            "writes it, and other sets have masks at most"
        )
    card = read_scene_card(path)
    objects = sorted(card.objects, key=lambda item: item.label)
    if len({item.label for item in objects}) != len(objects):
        raise InputError(f"{path}: expected every label once, found {[item.label for item in objects]}")
    world_from_object = np.array([_pose(item) for item in objects]).reshape(-1, 4, 4)
    sizes = [(np.nan,) * 3 if item.size is None else item.size for item in objects]
    visible = np.full((len(views), len(objects)), np.nan)
    if card.seen is not None:
        if [len(row) for row in card.seen] != [len(objects)] * len(card.views):
            raise InputError(
                f"{path}: seen: expected {len(card.views)} rows of {len(objects)} shares, found rows of "
                f"{[len(row) for row in card.seen]}"
            )
        by_label = np.argsort([item.label for item in card.objects], kind="stable")
        shares = {view.stem: np.array(row)[by_label] for view, row in zip(card.views, card.seen, strict=True)}
        for number, view in enumerate(views):
            visible[number] = shares.get(view.stem, np.nan)
    return SceneObjects(
        scene=scene,
        labels=np.array([item.label for item in objects], dtype=np.int64),
        assets=tuple(item.asset for item in objects),
        categories=tuple(None if item.shape is None else item.shape.family for item in objects),
        world_from_object=world_from_object,
        size=np.array(sizes, dtype=np.float64).reshape(-1, 3),
        stems=tuple(view.stem for view in views),
        camera_from_object=np.stack([invert(view.pose()) @ world_from_object for view in views]),
        visible=visible,
    )


def read_amodal_mask(view: View, label: int) -> Bool[np.ndarray, "height width"] | None:
    """An object's whole silhouette inside the image, hidden parts too; None where there is no such file.

    Raises:
        InputError: the file is there and is no image.
    """
    path = view.root / names.amodal_name(view.stem, label)
    return files.read_image(path)[..., 0] >= 128 if path.is_file() else None


def _pose(item: ObjectCard) -> Float[np.ndarray, "4 4"]:
    """From an object's frame to the world: its yaw about z, then its place."""
    yaw = np.nan if item.yaw is None else item.yaw
    pose = np.eye(4)
    # NaN in the whole rotation: half a rotation would be worse than none.
    pose[:3, :3] = np.nan if item.yaw is None else np.eye(3)
    pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    pose[:3, 3] = item.position
    return pose
