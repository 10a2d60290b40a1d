"""What formats for detection and tables say of objects: numbers, categories, visibility, by scene."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer

from objnerf.dataset.card import ObjectCard, read_scene_card
from objnerf.dataset.convert.masks import mask_of, object_numbers
from objnerf.dataset.convert.posed import PosedScene, PosedScenes
from objnerf.dataset.names import scene_digits

#: Of an object whose category nothing states.
UNKNOWN_CATEGORY = "object"


@dataclass(frozen=True, eq=False)
class SceneAnnotations:
    """The objects of one scene.

    Attributes:
        numbers: of each view with a mask, by its name in the source: the object at each pixel, 0 is the
            background.
        objects: what ``scenes/*.json`` says of them, by label.
        visible: by a view's name and an object's label, the share of its silhouette that is not hidden.
    """

    numbers: dict[str, Integer[np.ndarray, "height width"]]
    objects: dict[int, ObjectCard]
    visible: dict[tuple[str, int], float]

    def category(self, label: int) -> str:
        """The category of an object."""
        card = self.objects.get(label)
        return UNKNOWN_CATEGORY if card is None or card.shape is None else card.shape.family


def scene_annotations(posed: PosedScenes, id_: int) -> SceneAnnotations:
    """Read masks and description of a scene.

    Raises:
        InputError: a file cannot be used.
    """
    scene = posed.scenes[id_]
    objects, visible = _described(posed, id_)
    return SceneAnnotations(_numbers(scene), objects, visible)


def _numbers(scene: PosedScene) -> dict[str, Integer[np.ndarray, "height width"]]:
    masks = {view.stem: mask for view in scene.views if (mask := mask_of(view)) is not None}
    if not masks:
        return {}
    return dict(zip(masks, object_numbers(list(masks.values()), scene.name), strict=True))


def _described(posed: PosedScenes, id_: int) -> tuple[dict[int, ObjectCard], dict[tuple[str, int], float]]:
    path = posed.scene_cards.get(f"{id_:0{scene_digits(len(posed.scenes))}d}.json")
    if path is None:
        return {}, {}
    card = read_scene_card(path)
    visible = {
        (view.stem, item.label): share
        for view, shares in zip(card.views, card.seen or [], strict=False)
        for item, share in zip(card.objects, shares, strict=False)
    }
    return {item.label: item for item in card.objects}, visible
