"""Images of what a model makes of a scene: rendered views, segmentations, each slot alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Integer, UInt8
from PIL import Image

from objnerf.dataset.files import BACKGROUND_COLOUR, OBJECT_COLOURS, mask_from_labels
from objnerf.dataset.index import Scene
from objnerf.evaluation.scenes import (
    RenderSettings,
    encode_images,
    encode_scene,
    finite_pose,
    on_paper,
    orbit_poses,
    own_pinhole,
    read_scene,
    render_view,
    slot_alone,
    to_uint8,
)
from objnerf.evaluation.segmentation import BACKGROUND, true_labels
from objnerf.models.scene import SceneModel
from objnerf.visualization.contact_sheets import contact_sheet

#: A slot of which less than this share of light is seen anywhere is not worth an image.
FAINTEST_SLOT = 0.05


@dataclass(frozen=True)
class ViewPictures:
    """A view, true and rendered; masks in the format's colours, slots in those of the objects they match."""

    stem: str
    true: UInt8[np.ndarray, "height width 3"]
    rendered: UInt8[np.ndarray, "height width 3"]
    true_mask: UInt8[np.ndarray, "height width 3"] | None
    segmentation: UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class SlotPicture:
    """One slot as the input view sees it, without the others: on paper, its hidden parts included."""

    slot: int
    picture: UInt8[np.ndarray, "height width 3"]
    colour: tuple[int, int, int]
    """Its colour in the segmentations."""


@dataclass(frozen=True)
class SceneGallery:
    """Images of one scene: the input view first, then novel ones."""

    scene: int
    views: tuple[ViewPictures, ...]
    slots: tuple[SlotPicture, ...]
    """The background, then every slot that has something to show."""


def scene_gallery(
    model: SceneModel, scene: Scene, settings: RenderSettings, *, novel: int = 1
) -> SceneGallery:
    """Render the images of one scene.

    Args:
        model: in evaluation mode.
        scene: of an opened dataset.
        settings: size and samples.
        novel: how many novel views to show; the last ones of the scene, which differ most from the input
            where cameras follow each other round.
    Raises:
        InputError: a file of the scene that is missing or cannot be read.
    """
    images = read_scene(scene, settings)
    code = encode_images(model, images, settings)
    count = len(images.stems)
    shown = [0, *range(max(1, count - novel), count)]
    renderings = {
        view: render_view(
            model, code, images.world_from_camera[view], settings, pinhole=images.pinholes[view]
        )
        for view in shown
    }
    truths = {
        view: true_labels(mask) for view in shown if (mask := images.masks[view]) is not None and mask.size
    }
    colours = slot_colours(
        [(truths.get(view), renderings[view].labels) for view in shown], code.slots.shape[1]
    )
    views = tuple(
        ViewPictures(
            stem=images.stems[view],
            true=to_uint8(images.images[view]),
            rendered=renderings[view].picture,
            true_mask=mask_from_labels(truths[view])
            if view in truths and truths[view].max() <= len(OBJECT_COLOURS)
            else images.masks[view],
            segmentation=colours[renderings[view].labels],
        )
        for view in shown
    )
    slots = []
    for slot in range(code.slots.shape[1]):
        if not bool(code.active[0, slot]):
            continue
        alone = render_view(
            model,
            slot_alone(code, slot),
            images.world_from_camera[0],
            settings,
            pinhole=images.pinholes[0],
        )
        if slot == BACKGROUND or alone.opacity.max() >= FAINTEST_SLOT:
            colour = tuple(int(channel) for channel in colours[slot])
            slots.append(SlotPicture(slot, on_paper(alone), colour))  # type: ignore[arg-type]
    return SceneGallery(scene.id, views, tuple(slots))


@dataclass(frozen=True)
class EditPictures:
    """A view of a scene as the model has it, and after edits, in words and image."""

    scene: int
    pictures: tuple[tuple[str, UInt8[np.ndarray, "height width 3"]], ...]


def edit_pictures(
    model: SceneModel, scene: Scene, other: Scene, settings: RenderSettings
) -> EditPictures | None:
    """Show what can be done with a scene: move, copy and delete its largest object, take another background.

    Args:
        scene: to be edited.
        other: whose background is taken.
    Returns:
        The input view's images; None where the model found no object in it.
    Raises:
        InputError: a file that is missing or cannot be read.
    """
    code, pose = encode_scene(model, scene, settings), finite_pose(scene.views[0])
    pinhole = own_pinhole(scene.views[0], settings)
    labels = render_view(model, code, pose, settings, pinhole=pinhole).labels
    areas = np.bincount(labels.ravel(), minlength=code.slots.shape[1])[1:]
    if not areas.any():
        return None
    slot = int(areas.argmax()) + 1
    # Towards the right of the image, over the ground: a move that is seen.
    right = torch.tensor(pose[:3, 0] * [1.5, 1.5, 0.0], dtype=code.offsets.dtype, device=code.offsets.device)
    versions = (
        ("as the model has it", code),
        (f"slot {slot} moved to the right", code.move(slot, right)),
        (f"slot {slot} copied", code.duplicate(slot, right)),
        (f"slot {slot} deleted", code.delete(slot)),
        (f"background of scene {other.id}", code.with_background(encode_scene(model, other, settings))),
    )
    return EditPictures(
        scene.id,
        tuple(
            (name, render_view(model, version, pose, settings, pinhole=pinhole).picture)
            for name, version in versions
        ),
    )


def turntable(
    model: SceneModel, scene: Scene, settings: RenderSettings, *, frames: int = 24
) -> list[UInt8[np.ndarray, "height width 3"]]:
    """A scene from all round, known from its first view alone: colours, and the slots beside them."""
    images = read_scene(scene, settings)
    start = images.world_from_camera[0]
    code = encode_images(model, images, settings)
    views = [
        render_view(model, code, pose, settings, pinhole=images.pinholes[0])
        for pose in orbit_poses(start, frames)
    ]
    mask = images.masks[0]
    truth = None if mask is None else true_labels(mask)
    colours = slot_colours([(truth, views[0].labels)], code.slots.shape[1])
    return [np.concatenate([view.picture, colours[view.labels]], axis=1) for view in views]


def slot_colours(
    views: Sequence[tuple[Integer[np.ndarray, "height width"] | None, Integer[np.ndarray, "height width"]]],
    slots: int,
) -> UInt8[np.ndarray, "slots 3"]:
    """A colour for each slot: that of the object which it matches best, one to one over all views.

    Args:
        views: (true labels or None, predicted slots) of each view.
        slots: number of slots, the background (slot 0, grey) included.
    Returns:
        RGB; slots without an object of their own get the colours that are left, paled when those run out.
    """
    from scipy.optimize import linear_sum_assignment

    palette = np.array(OBJECT_COLOURS, np.uint8)
    known = [(truth, predicted) for truth, predicted in views if truth is not None]
    objects = [int(label) for label in np.unique([label for truth, _ in known for label in np.unique(truth)])]
    objects = [label for label in objects if label != BACKGROUND]
    colour_of_slot: dict[int, int] = {}
    if objects and slots > 1:
        overlap = np.zeros((len(objects), slots - 1))
        for row, label in enumerate(objects):
            for slot in range(1, slots):
                both = sum(int(((truth == label) & (predicted == slot)).sum()) for truth, predicted in known)
                either = sum(
                    int(((truth == label) | (predicted == slot)).sum()) for truth, predicted in known
                )
                overlap[row, slot - 1] = both / either if either else 0.0
        for row, column in zip(*linear_sum_assignment(-overlap), strict=True):
            if overlap[row, column] > 0:
                colour_of_slot[int(column) + 1] = (objects[row] - 1) % len(palette)
    left = [index for index in range(len(palette)) if index not in colour_of_slot.values()]
    colours = np.zeros((slots, 3), np.uint8)
    colours[BACKGROUND] = BACKGROUND_COLOUR
    for slot in range(1, slots):
        if slot in colour_of_slot:
            colours[slot] = palette[colour_of_slot[slot]]
        elif left:
            colours[slot] = palette[left.pop(0)]
        else:
            colours[slot] = palette[slot % len(palette)] // 2 + 110
    return colours


def gallery_sheet(galleries: Sequence[SceneGallery], *, cell_width: int | None = None) -> Image.Image:
    """One image of several scenes, a row each: input, reconstruction, novel view, masks and slots."""
    most = max(len(gallery.slots) for gallery in galleries)
    headings = ["input", "reconstruction", "novel view, true", "novel view", "objects, true", "objects"]
    headings += ["background", *(f"slot {number}" for number in range(1, most))]
    cells: list[np.ndarray | None] = []
    for gallery in galleries:
        first, last = gallery.views[0], gallery.views[-1]
        row = [first.true, first.rendered, last.true, last.rendered, first.true_mask, first.segmentation]
        row += [slot.picture for slot in gallery.slots]
        cells += [*row, *([None] * (len(headings) - len(row)))]
    return contact_sheet(
        cells,
        columns=len(headings),
        column_labels=headings,
        row_labels=[f"scene {gallery.scene}" for gallery in galleries],
        cell_width=cell_width,
    )
