"""Our own format (docs/format.md), as a source and as a target."""

from pathlib import Path

import numpy as np

from objnerf.dataset import names
from objnerf.dataset.cameras import world_from_azimuth
from objnerf.dataset.card import SCENE_FOLDER, read_scene_card, write_card
from objnerf.dataset.convert.lenses import Lens
from objnerf.dataset.convert.posed import (
    Blob,
    Companion,
    PosedScene,
    PosedScenes,
    PosedView,
    Progress,
    checked_pose,
    counted,
    image_size,
    one_size,
    put,
    put_png,
)
from objnerf.dataset.convert.sidecars import card_of
from objnerf.dataset.files import write_matrix, write_pinhole
from objnerf.dataset.index import open_dataset, scan_dataset
from objnerf.errors import InputError


def recognise(folder: Path) -> bool:
    """Whether views of our format lie in the folder."""
    return bool(scan_dataset(folder).scenes)


def read(folder: Path) -> PosedScenes:
    """Read a dataset of our format.

    Raises:
        InputError: a view without a usable pose, scene ids with holes, or images of several sizes.
    """
    dataset = open_dataset(folder)
    ids = sorted(dataset.scenes)
    if ids != list(range(len(ids))):
        missing = next(id_ for id_ in range(ids[-1] + 1) if id_ not in dataset.scenes)
        raise InputError(
            f"{folder}: expected scene IDs from 0 without gaps, found {len(ids)} scenes without {missing}; "
            "`objnerf validate --fix` renumbers them"
        )
    own_cameras = dataset.has_own_intrinsics
    default = dataset.default_pinhole()
    amodal = _amodal_masks(folder)
    scenes = []
    for id_, scene in dataset.scenes.items():
        views = []
        for view in scene.views:
            companions: dict[str, Companion] = {
                suffix: Blob(view.root / f"{view.stem}{suffix}")
                for suffix in sorted(view.companions - {names.INTRINSICS_SUFFIX})
            }
            pose = checked_pose(view.pose(), str(view.pose_path))
            image = Blob(view.image_path)
            lens = None
            if own_cameras:
                lens = Lens.pinhole((view.pinhole() or default).at(*image_size(image)))
            where = str(view.image_path)
            masks = amodal.get(view.stem, {})
            views.append(PosedView(view.stem, image, pose, companions, lens, where, masks))
        scenes.append(PosedScene(f"sc{id_:04d}", tuple(views)))
    card = dataset.card()
    notes = []
    if (card is None or card.focal_ratio is None) and not own_cameras:
        notes.append(
            "the source has no focal ratio: a 35 mm lens on a 32 mm wide sensor, at 4:3, was assumed"
        )
    others = [*dataset.others, *dataset.strays, *dataset.orphans]
    others = [name for name in others if name != names.AMODAL_FOLDER or not amodal]
    if others:
        named = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        notes.append(f"not part of the format, and not taken over: {named}")
    return PosedScenes(
        scenes=tuple(scenes),
        intrinsics=default.at(*one_size([view for scene in scenes for view in scene.views])),
        card=card,
        scene_cards={name: folder / SCENE_FOLDER / name for name in dataset.scene_cards},
        movements=dataset.movements,
        keep_stems=True,
        notes=tuple(notes),
    )


def _amodal_masks(folder: Path) -> dict[str, dict[int, Companion]]:
    """The amodal masks of a dataset, by stem and label."""
    masks: dict[str, dict[int, Companion]] = {}
    for path in sorted((folder / names.AMODAL_FOLDER).glob("*.png")):
        found = names.parse_amodal_name(path.name)
        if found is not None:
            masks.setdefault(found[0], {})[found[1]] = Blob(path)
    return masks


def write(posed: PosedScenes, folder: Path, progress: Progress) -> list[str]:
    """Write a dataset of our format into an empty folder; returns what had to be left out."""
    stems = set()
    n_scenes = len(posed.scenes)
    for index, scene, number, view in counted(posed, progress):
        stem = view.stem if posed.keep_stems else names.make_view_stem(index, scene, number, n_scenes)
        stems.add(stem)
        put_png(view.image, folder / f"{stem}.png")
        for suffix, companion in view.companions.items():
            put(companion, folder / f"{stem}{suffix}")
        for label, mask in view.amodal.items():
            (folder / names.AMODAL_FOLDER).mkdir(exist_ok=True)
            put(mask, folder / names.amodal_name(stem, label))
        if names.POSE_SUFFIX not in view.companions:
            write_matrix(folder / f"{stem}{names.POSE_SUFFIX}", view.world_from_camera)
        if view.lens is not None:
            write_pinhole(folder / f"{stem}{names.INTRINSICS_SUFFIX}", view.lens.intrinsics().pinhole)
        if names.AZIMUTH_SUFFIX not in view.companions and np.hypot(*view.world_from_camera[:2, 2]) > 1e-9:
            azimuth = world_from_azimuth(view.world_from_camera)
            write_matrix(folder / f"{stem}{names.AZIMUTH_SUFFIX}", azimuth)
    for scene, movement in posed.movements.items():
        Blob(movement).copy_to(folder / names.movement_name(scene))
    write_card(folder, card_of(posed))
    return _write_scene_cards(posed, folder, stems)


def _write_scene_cards(posed: PosedScenes, folder: Path, stems: set[str]) -> list[str]:
    """Take over the scenes' descriptions, unless they speak of views by names that are no more."""
    if not posed.scene_cards:
        return []
    for path in posed.scene_cards.values():
        if not {view.stem for view in read_scene_card(path).views} <= stems:
            return ["the scenes' descriptions (scenes/*.json), since the views have new names"]
    (folder / SCENE_FOLDER).mkdir()
    for name, path in posed.scene_cards.items():
        Blob(path).copy_to(folder / SCENE_FOLDER / name)
    return []
