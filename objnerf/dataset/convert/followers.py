"""Our own format as the code of uORF and of SlotLifter reads it, unmodified.

Both read folders like ours and have settings written into them that ours leaves open: what a dataset must be
for them is checked here, so that they never read it wrongly in silence. uORF:
https://github.com/KovenYu/uORF, data/multiscenes_dataset.py; SlotLifter:
https://github.com/YuLiu-LY/SlotLifter, dataset/uorf_dataset.py.
"""

import csv
import re
from pathlib import Path

import numpy as np

from objnerf.dataset import names
from objnerf.dataset.cameras import REFERENCE_FOCAL_RATIO, world_from_azimuth
from objnerf.dataset.convert.masks import mask_of
from objnerf.dataset.convert.posed import (
    Blob,
    PosedScenes,
    PosedView,
    Progress,
    check_one_camera,
    counted,
    put,
    put_png,
)
from objnerf.dataset.convert.sidecars import left_out, write_sidecars
from objnerf.dataset.files import BACKGROUND_COLOUR, grey_levels, write_matrix, write_pinhole
from objnerf.errors import InputError

#: Ids are looked for with four digits; SlotLifter looks for this many.
_MOST_SCENES = {"uORF": 10_000, "SlotLifter": 5_000}
_LIKE_AN_ID = re.compile(r"sc\d{4}")
#: A focal ratio that differs by more shifts a pixel at the rim of a 128-pixel image by about a tenth.
_SAME_RATIO = 2e-3
#: What SlotLifter has instead of options.
_SLOTLIFTER_SCALE = {"near": 6.0, "far": 20.0, "nss_scale": 7.0}


def write_uorf(
    posed: PosedScenes, folder: Path, progress: Progress, *, destination: Path | None = None
) -> list[str]:
    """Write what uORF's loaders read; returns what had to be left out.

    Args:
        destination: where the folder will lie in the end.
    Raises:
        InputError: another lens than uORF's, cameras that differ, scenes with different numbers of views,
            masks whose background it would not find, or ids that it would take for others.
    """
    check_one_camera(posed, "uORF")
    ratio, expected = posed.camera.focal_ratio, REFERENCE_FOCAL_RATIO
    if not np.allclose(ratio, expected, rtol=_SAME_RATIO, atol=0):
        raise InputError(
            f"uORF has its lens written into it, fx / width {expected[0]:.4f} and fy / height "
            f"{expected[1]:.4f} (35 mm on a 32 mm wide sensor at 4:3), and found {ratio[0]:.4f} and "
            f"{ratio[1]:.4f}: it would render other rays than these images show. `--to slotlifter` and "
            "`--to uocf` write a layout that states the lens"
        )
    counts = {len(scene.views) for scene in posed.scenes}
    if len(counts) > 1:
        raise InputError(
            f"uORF reads the same number of views of every scene, and found {min(counts)} to {max(counts)}"
        )
    _check_names(posed, destination or folder, "uORF")
    _write_views(posed, folder, progress, own_intrinsics=False)
    for scene, movement in posed.movements.items():
        Blob(movement).copy_to(folder / names.movement_name(scene))
    write_sidecars(posed, folder)
    return left_out(posed, set(names.COMPANION_SUFFIXES), movements=True)


def write_slotlifter(
    posed: PosedScenes, folder: Path, progress: Progress, *, destination: Path | None = None
) -> list[str]:
    """Write what SlotLifter's loader reads; returns what it has no place for.

    It finds a dataset in ``{subset}/{subset}_train`` and ``…_test`` below its ``dataset_root``, and lists the
    files of scenes in ``files.csv`` with their full paths; where that is missing it writes it, which a
    write-protected folder would not let it.

    Args:
        destination: where the folder will lie in the end.
    Raises:
        InputError: a destination of another name, fewer than two views of a scene, cameras that differ
            within a scene, masks whose background it would not find, or ids that it would take for others.
    """
    destination = (destination or folder).resolve()
    subset = destination.parent.name
    if destination.name not in (f"{subset}_train", f"{subset}_test"):
        split = "test" if posed.card is not None and posed.card.split == "test" else "train"
        name = re.sub(r"_(train|test)$", "", destination.name)
        raise InputError(
            f"{destination}: SlotLifter finds a dataset by its folder's name; expected one such as "
            f"{destination.parent / name / f'{name}_{split}'}"
        )
    for scene in posed.scenes:
        if len(scene.views) < 2:
            raise InputError(f"{scene.name}: SlotLifter trains on two views of a scene or more, found one")
        if len({posed.intrinsics_of(view) for view in scene.views}) > 1:
            raise InputError(
                f"{scene.name}: SlotLifter has one camera for all views of a scene, and found several; "
                "`objnerf convert --undistort` resamples the images to one"
            )
    _check_names(posed, destination, "SlotLifter")
    stems = _write_views(posed, folder, progress, own_intrinsics=True)
    with_list = [[str(destination / f"{stem}.png") for stem in of_scene] for of_scene in stems]
    with (folder / "files.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(with_list)
    write_sidecars(posed, folder)
    return [*left_out(posed, set(names.COMPANION_SUFFIXES)), *_unheeded(posed, destination)]


def _unheeded(posed: PosedScenes, destination: Path) -> list[str]:
    """What the card says and SlotLifter has otherwise."""
    notes = []
    for key, value in _SLOTLIFTER_SCALE.items():
        stated = None if posed.card is None else getattr(posed.card, key)
        if stated is not None and stated != value:
            notes.append(f"{key} {stated:g}: its loader has {value:g} written into it")
    unmasked = any(names.MASK_SUFFIX not in view.companions for view in posed.views)
    if destination.name.endswith("_test") and unmasked and "kitchen" not in destination.parent.name:
        notes.append(
            "test scenes without masks: its loader needs one of every view, or a subset named kitchen…"
        )
    return notes


def _check_names(posed: PosedScenes, destination: Path, program: str) -> None:
    """Ids, which both programs look for anywhere in a file's path, and masks.

    Raises:
        InputError: too many scenes, an id in a folder's name, or a mask that would be misread.
    """
    most = _MOST_SCENES[program]
    if len(posed.scenes) > most:
        raise InputError(
            f"{program} finds {most} scenes at most, and found {len(posed.scenes)}; convert in parts"
        )
    found = _LIKE_AN_ID.search(str(destination.resolve()))
    if found:
        raise InputError(
            f"{destination}: {program} looks for scene ids in the whole path, and would take every file for "
            f"one of scene {found[0]}; choose another name for the folder"
        )
    for view in posed.views:
        mask = mask_of(view)
        if mask is None:
            continue
        levels = np.unique(grey_levels(mask))
        if len(levels) < 2 or levels[1] != grey_levels(np.array(BACKGROUND_COLOUR, np.uint8)):
            raise InputError(
                f"{view.where or view.stem}: {program} takes the second lowest grey level of a mask for the "
                f"background, and found the levels {levels[:4].tolist()} instead of a darker object and the "
                f"background's {BACKGROUND_COLOUR[0]}; `objnerf validate --fix` recolours masks"
            )


def _write_views(
    posed: PosedScenes, folder: Path, progress: Progress, *, own_intrinsics: bool
) -> list[list[str]]:
    """Write images and what stands beside them; returns the views' names, scene by scene."""
    stems: list[list[str]] = [[] for _ in posed.scenes]
    for index, scene, number, view in counted(posed, progress):
        stem = (
            view.stem if posed.keep_stems else names.make_view_stem(index, scene, number, len(posed.scenes))
        )
        stems[scene].append(stem)
        put_png(view.image, folder / f"{stem}.png")
        for suffix, companion in view.companions.items():
            put(companion, folder / f"{stem}{suffix}")
        _write_poses(view, folder / stem)
        if own_intrinsics:
            pinhole = posed.intrinsics_of(view).pinhole
            write_pinhole(folder / f"{stem}{names.INTRINSICS_SUFFIX}", pinhole)
    return stems


def _write_poses(view: PosedView, stem: Path) -> None:
    """Write the pose and the azimuth, unless the view brings them."""
    pose = view.world_from_camera
    if names.POSE_SUFFIX not in view.companions:
        write_matrix(f"{stem}{names.POSE_SUFFIX}", pose)
    if names.AZIMUTH_SUFFIX not in view.companions:
        if np.hypot(*pose[:2, 2]) <= 1e-9:
            raise InputError(
                f"{view.where or view.stem}: expected a camera with an azimuth, found one that looks "
                "straight down or up"
            )
        write_matrix(f"{stem}{names.AZIMUTH_SUFFIX}", world_from_azimuth(pose))
