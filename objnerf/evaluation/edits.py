"""The manipulation test: move an object, change the background, and compare with the true picture.

A test set holds, beside each view, the image with one object moved (``_moved.png``), the one with another
background (``_changed.png``), the scene that provides it (``_providing_bg.png``) and the mask of the object
that moves (``_mask_for_moving.png``), and for each scene how far it moves (``002_movement.txt``: dx and dy).
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32

from objnerf.dataset.files import grey_levels, read_image
from objnerf.dataset.index import Dataset, Scene, View
from objnerf.dataset.resize import nearest_pixels, resize_by_area
from objnerf.dataset.untrusted import read_text
from objnerf.errors import InputError
from objnerf.evaluation.metrics import MetricUnavailable
from objnerf.evaluation.scenes import (
    RenderSettings,
    as_float,
    encode_scene,
    finite_pose,
    own_pinhole,
    render_view,
)
from objnerf.evaluation.segmentation import best_slot
from objnerf.models.scene import SceneCode, SceneModel

#: Images with an object moved, the same with the slot chosen by uORF's rule, changed backgrounds.
EDIT_FIGURES = tuple(
    f"{what}_{score}" for what in ("moved", "changed", "ref_moved") for score in ("psnr", "ssim", "lpips")
)

#: Two numbers take a hundredth of this.
_MAX_MOVEMENT_BYTES = 1 << 12

PictureScores = Mapping[str, Callable[[np.ndarray, np.ndarray], float]]


def score_edits(
    model: SceneModel, dataset: Dataset, scene: Scene, settings: RenderSettings, scores: PictureScores
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Scores of one scene in the manipulation test, means over all its views as in uORF.

    The slot to move is the one that covers the object best in the input view: by what is seen
    (``moved_…``), and by uORF's rule, which renders each slot alone (``ref_moved_…``).

    Returns:
        ``(figures, reasons)``: all of ``EDIT_FIGURES``, and why some are null.
    Raises:
        InputError: a file of the test that is there but cannot be used.
    """
    figures: dict[str, float | None] = dict.fromkeys(EDIT_FIGURES)
    reasons: dict[str, str] = {}
    poses = [finite_pose(view) for view in scene.views]
    code = encode_scene(model, scene, settings)

    def measure(what: str, edited: SceneCode, suffix: str) -> None:
        pairs = [
            (
                render_view(model, edited, pose, settings, pinhole=own_pinhole(view, settings)).rgb,
                _picture(view, suffix, settings.size),
            )
            for view, pose in zip(scene.views, poses, strict=True)
        ]
        for name, score in scores.items():
            try:
                figures[f"{what}_{name}"] = float(np.mean([score(got, wanted) for got, wanted in pairs]))
            except MetricUnavailable as reason:
                reasons[f"{what}_{name}"] = str(reason)

    def give_up(what: str, reason: str) -> None:
        for name in scores:
            reasons[f"{what}_{name}"] = reason

    no_move = _missing_for_moving(dataset, scene, settings)
    if no_move is None:
        by_sight, by_reference = slots_to_move(model, code, scene.views[0], poses[0], settings)
        movement = _on_device(read_movement(dataset.movements[scene.id]), code)
        measure("moved", code.move(by_sight, movement), "_moved.png")
        if by_reference == by_sight:
            for name in scores:
                figures[f"ref_moved_{name}"] = figures[f"moved_{name}"]
                if f"moved_{name}" in reasons:
                    reasons[f"ref_moved_{name}"] = reasons[f"moved_{name}"]
        else:
            measure("ref_moved", code.move(by_reference, movement), "_moved.png")
    else:
        give_up("moved", no_move)
        give_up("ref_moved", no_move)

    no_change = _missing(scene, ("_changed.png",)) or _missing(scene, ("_providing_bg.png",), first=True)
    if no_change is None:
        providing = scene.views[0].companion("_providing_bg.png")
        other = encode_scene(model, scene, settings, picture=providing)
        measure("changed", code.with_background(other), "_changed.png")
    else:
        give_up("changed", no_change)
    return figures, reasons


def slots_to_move(
    model: SceneModel,
    code: SceneCode,
    view: View,
    world_from_camera: Float[np.ndarray, "4 4"],
    settings: RenderSettings,
) -> tuple[int, int]:
    """The foreground slots that cover the object to be moved best: by sight, and by uORF's rule.

    Args:
        view: the input view, which has a ``_mask_for_moving.png``.
        world_from_camera: its pose, OpenCV axes.
    """
    wanted = moving_pixels(view, settings.size)
    pinhole = own_pinhole(view, settings)
    rendering = render_view(model, code, world_from_camera, settings, pinhole=pinhole, reference=True)
    assert rendering.reference_labels is not None
    count = code.slots.shape[1]
    return (
        best_slot(rendering.labels, wanted, count)[0],
        best_slot(rendering.reference_labels, wanted, count)[0],
    )


def moving_pixels(view: View, size: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """Which pixels of a view show the object to be moved: all but the lowest grey level of its mask.

    Args:
        view: has a ``_mask_for_moving.png``.
        size: (width, height) of the result.
    """
    path = view.companion("_mask_for_moving.png")
    assert path is not None
    grey = grey_levels(nearest_pixels(read_image(path), size))
    return grey != grey.min()


def read_movement(path: Path) -> Float[np.ndarray, "3"]:
    """How far an object moves, world units: a file of two lines, dx and dy; dz is 0.

    Raises:
        InputError: the file cannot be read or holds something else.
    """
    try:
        dx, dy = (float(word) for word in read_text(path, _MAX_MOVEMENT_BYTES).split())
    except ValueError as error:
        raise InputError(f"{path}: expected two numbers, dx and dy in world units ({error})") from error
    if not np.isfinite([dx, dy]).all():
        raise InputError(f"{path}: expected two finite numbers, found {dx} and {dy}")
    return np.array([dx, dy, 0.0])


def move_object(code: SceneCode, slot: int, dx: float, dy: float) -> SceneCode:
    """Shift one object over the ground by (dx, dy) world units.

    Raises:
        InputError: no such object.
    """
    return code.move(check_slot(code, slot), _on_device(np.array([dx, dy, 0.0]), code))


def delete_object(code: SceneCode, slot: int) -> SceneCode:
    """Take one object out of the scene.

    Raises:
        InputError: no such object.
    """
    return code.delete(check_slot(code, slot))


def copy_object(code: SceneCode, slot: int, dx: float, dy: float) -> SceneCode:
    """Put a second copy of an object (dx, dy) world units beside it, as the scene's last slot.

    Raises:
        InputError: no such object.
    """
    return code.duplicate(check_slot(code, slot), _on_device(np.array([dx, dy, 0.0]), code))


def check_slot(code: SceneCode, slot: int) -> int:
    """The slot, if it is one of a scene's objects.

    Raises:
        InputError: it is the background, or there is no such slot.
    """
    count = code.slots.shape[1]
    if not 1 <= slot < count:
        found = "is the background" if slot == 0 else "does not exist"
        raise InputError(f"slot {slot} {found}; the objects of this scene are slots 1 to {count - 1}")
    return slot


def _on_device(offset: Float[np.ndarray, "3"], code: SceneCode) -> torch.Tensor:
    return torch.tensor(offset, dtype=code.offsets.dtype, device=code.offsets.device)


def _missing_for_moving(dataset: Dataset, scene: Scene, settings: RenderSettings) -> str | None:
    if scene.id not in dataset.movements:
        return "the dataset has no …_movement.txt of the scene"
    lacking = _missing(scene, ("_moved.png",)) or _missing(scene, ("_mask_for_moving.png",), first=True)
    if lacking is None and not moving_pixels(scene.views[0], settings.size).any():
        return "the object to be moved is not seen in the input view"
    return lacking


def _missing(scene: Scene, suffixes: tuple[str, ...], *, first: bool = False) -> str | None:
    """Why the test cannot be made: a file that a view (or the first one) lacks; None when all are there."""
    for view in scene.views[:1] if first else scene.views:
        for suffix in suffixes:
            if view.companion(suffix) is None:
                return f"a view has no …{suffix}"
    return None


def _picture(view: View, suffix: str, size: tuple[int, int]) -> Float32[np.ndarray, "height width 3"]:
    path = view.companion(suffix)
    assert path is not None
    return as_float(resize_by_area(read_image(path), size))
