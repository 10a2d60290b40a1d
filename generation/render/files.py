"""Write a finished scene: every file atomically, the scene's JSON last, as the sign that it is complete."""

from pathlib import Path

import numpy as np
from PIL import Image

from generation.plan.plan import ScenePlan
from generation.render.renderer import EditPictures, RenderedScene, ViewPictures
from objnerf.dataset import files, names
from objnerf.dataset.cameras import world_from_azimuth
from objnerf.dataset.card import scene_card_path


def write_scene(root: Path, rendered: RenderedScene) -> None:
    """Write the files of a scene below `root`.

    Args:
        root: folder of the dataset.
        rendered: the scene.
    Raises:
        OSError: the disk is full or cannot be written; the scene's JSON is then not there.
    """
    for view, pictures in zip(rendered.plan.views, rendered.views, strict=True):
        _write_view(root, rendered.plan, view.stem, view.matrix(), pictures)
    if rendered.plan.edits is not None:
        for view, edit in zip(rendered.plan.views, rendered.edits, strict=True):
            _write_edit(root, view.stem, edit)
        dx, dy = rendered.plan.edits.movement
        files.write_text(root / names.movement_name(rendered.plan.scene), f"{dx!r}\n{dy!r}\n")
    path = scene_card_path(root, rendered.plan.scene, _digits(rendered.plan))
    files.write_text(path, rendered.plan.model_dump_json(indent=1) + "\n")


def _digits(plan: ScenePlan) -> int:
    """Width of scene ids in the dataset, as the views' names have it."""
    name = names.parse_view_name(f"{plan.views[0].stem}.png")
    assert name is not None
    return name.digits


def _write_view(
    root: Path, plan: ScenePlan, stem: str, world_from_camera: np.ndarray, pictures: ViewPictures
) -> None:
    passes = plan.render.passes
    geometry = pictures.geometry
    files.write_matrix(root / f"{stem}{names.POSE_SUFFIX}", world_from_camera)
    files.write_matrix(root / f"{stem}{names.AZIMUTH_SUFFIX}", world_from_azimuth(world_from_camera))
    if "mask" in passes:
        files.write_image(root / f"{stem}{names.MASK_SUFFIX}", files.mask_from_labels(geometry.labels))
    if "depth" in passes:
        files.write_depth(root / f"{stem}{names.DEPTH_SUFFIX}", geometry.depth)
    if "normal" in passes:
        with files.atomic_path(root / "normal" / f"{stem}.npy") as path, path.open("wb") as file:
            np.save(file, geometry.normal)
    if "albedo" in passes:
        files.write_image(root / "albedo" / f"{stem}.png", pictures.albedo)
    if "amodal" in passes:
        for label, outline in enumerate(pictures.silhouettes, start=1):
            whole = outline | (geometry.labels == label)
            with files.atomic_path(root / names.amodal_name(stem, label)) as path:
                Image.fromarray(whole.astype(np.uint8) * 255).save(path, format="PNG")
    files.write_image(root / f"{stem}.png", pictures.image)


def _write_edit(root: Path, stem: str, edit: EditPictures) -> None:
    files.write_image(root / f"{stem}_moved.png", edit.moved)
    files.write_image(root / f"{stem}_changed.png", edit.changed)
    files.write_image(root / f"{stem}_providing_bg.png", edit.providing)
    for suffix, wanted in (
        ("_mask_for_moving.png", edit.moving_object),
        ("_mask_for_bg.png", edit.foreground),
        ("_mask_for_providing_bg.png", edit.providing_foreground),
    ):
        # In these masks uORF takes the *lowest* grey level for what is not meant, so that the blue
        # of a first object would be it: one white, whatever the object.
        colours = np.array([files.BACKGROUND_COLOUR, (255, 255, 255)], dtype=np.uint8)
        files.write_image(root / f"{stem}{suffix}", colours[wanted.astype(np.int64)])
