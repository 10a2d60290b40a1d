"""uOCF's folders: like ours, with the intrinsics beside every view.

``{index:05d}_sc{scene:04d}_az{view:02d}.png``, ``…_RT.txt`` (camera-to-world, OpenCV axes, as here),
``…_intrinsics.txt`` (a 3×3 or 4×4 matrix with fx / width and fy / height on the diagonal and the principal
point's offset from the centre in half widths and half heights), ``…_mask.png`` (flat colours on black). Its
depth maps are another network's guesses in no unit, and are not read.
"""

import re
from pathlib import Path

import numpy as np

from objnerf.dataset import names
from objnerf.dataset.convert.lenses import Lens
from objnerf.dataset.convert.masks import (
    MOST_FOREIGN_COLOURS,
    by_grey,
    colours_of,
    first_in_every_view,
    mask_of,
    object_numbers,
    png_writer,
)
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
    put,
    put_png,
)
from objnerf.dataset.convert.sidecars import left_out, read_sidecars, write_sidecars
from objnerf.dataset.files import (
    BACKGROUND_COLOUR,
    OBJECT_COLOURS,
    read_mask,
    read_pinhole,
    write_matrix,
    write_pinhole,
)
from objnerf.dataset.index import View, scan_dataset
from objnerf.errors import InputError

#: What tells its views from those of our own format, which may have intrinsics beside them as well.
_STEM = re.compile(r".*_sc\d{4}_az\d{2}(_dist\d)?")

_DEPTHS = ("_depth.pfm", "_depth.png")
_CARRIED = {names.MASK_SUFFIX, names.DEPTH_SUFFIX, names.AZIMUTH_SUFFIX, names.POSE_SUFFIX}


def recognise(folder: Path) -> bool:
    """Whether views with intrinsics beside them lie in the folder."""
    return any(
        view.intrinsics_path is not None and _STEM.fullmatch(view.stem) is not None
        for view in scan_dataset(folder).views()
    )


def read(folder: Path) -> PosedScenes:
    """Read such a folder; the scenes are distinguished by the ids in the names, and numbered from 0.

    Raises:
        InputError: a view without usable pose or intrinsics.
    """
    dataset = scan_dataset(folder)
    notes = []
    scenes = []
    strays_as_depth = {f"{view.stem}{suffix}" for view in dataset.views() for suffix in _DEPTHS}
    for scene in dataset.scenes.values():
        # Depth images carry a view's name and one word more, and would be taken for views.
        members = [view for view in scene.views if f"{view.stem}.png" not in strays_as_depth]
        masks = _palette_masks(members)
        views = []
        for view in members:
            lens = _lens(view)
            companions: dict[str, Companion] = {
                suffix: Blob(view.root / f"{view.stem}{suffix}")
                for suffix in sorted(view.companions & _CARRIED)
            }
            if view.stem in masks:
                companions[names.MASK_SUFFIX] = masks[view.stem]
            pose = checked_pose(view.pose(), str(view.pose_path))
            where = str(view.image_path)
            views.append(PosedView(view.stem, Blob(view.image_path), pose, companions, lens, where))
        scenes.append(PosedScene(f"sc{scene.id:04d}", tuple(views)))
    if not any(scene.views for scene in scenes):
        raise InputError(f"{folder}: expected views named like 00000_sc0000_az00.png, found none")
    ids = list(dataset.scenes)
    if ids != list(range(len(ids))):
        notes.append(f"the scenes {ids[0]} to {ids[-1]} were renumbered from 0")
    if any(name.endswith(_DEPTHS) for name in (*dataset.others, *dataset.strays)) or any(
        f"{view.stem}.png" in strays_as_depth for view in dataset.views()
    ):
        notes.append("depth as .pfm or .png was left out: its unit is unknown")
    card, scene_cards = read_sidecars(folder)
    return PosedScenes(tuple(scenes), card=card, scene_cards=scene_cards, notes=tuple(notes))


def write(posed: PosedScenes, folder: Path, progress: Progress) -> list[str]:
    """Write such a folder; returns what had to be left out.

    Raises:
        InputError: more scenes or views than its names have digits for.
    """
    if len(posed.scenes) > 10_000 or max(len(scene.views) for scene in posed.scenes) > 100:
        raise InputError(
            "uOCF's names have four digits for the scene and two for the view, which this dataset of "
            f"{len(posed.scenes)} scenes needs more of; convert it in parts"
        )
    black: dict[str, Companion] = {}
    for index, scene, number, view in counted(posed, progress):
        stem = f"{index:05d}_sc{scene:04d}_az{number:02d}"
        if number == 0:
            black = _black_masks(posed.scenes[scene])
        put_png(view.image, folder / f"{stem}.png")
        write_pinhole(folder / f"{stem}{names.INTRINSICS_SUFFIX}", posed.intrinsics_of(view).pinhole)
        if names.POSE_SUFFIX not in view.companions:
            write_matrix(folder / f"{stem}{names.POSE_SUFFIX}", view.world_from_camera)
        for suffix in sorted(_CARRIED & view.companions.keys()):
            companion = black[view.stem] if suffix == names.MASK_SUFFIX else view.companions[suffix]
            put(companion, folder / f"{stem}{suffix}")
    write_sidecars(posed, folder)
    return left_out(posed, _CARRIED)


def _lens(view: View) -> Lens:
    """The camera of one view."""
    path = view.root / f"{view.stem}{names.INTRINSICS_SUFFIX}"
    if not path.is_file():
        raise InputError(f"{path}: expected the view's intrinsics, found no such file")
    size = image_size(Blob(view.image_path))
    return Lens.pinhole(read_pinhole(path, size).at(*size))


def _palette_masks(views: list[View]) -> dict[str, Companion]:
    """The masks of a scene in our colours, by stem: uOCF's background is the darkest colour.

    Colours of our own palette stay as they are when the first, blue, is among them; otherwise the objects are
    numbered from it by their grey levels.
    """
    masks = {view.stem: read_mask(view.mask_path) for view in views if view.mask_path is not None}
    if not masks:
        return {}
    seen = [{tuple(c) for c in np.unique(mask.reshape(-1, 3), axis=0).tolist()} for mask in masks.values()]
    _, *objects = sorted(set().union(*seen), key=by_grey)
    foreign = set(objects) - set(OBJECT_COLOURS)
    if len(objects) > len(OBJECT_COLOURS) or len(foreign) > MOST_FOREIGN_COLOURS:
        raise InputError(
            f"{views[0].mask_path}: expected masks of at most {MOST_FOREIGN_COLOURS} flat colours on black, "
            f"found {len(objects) + 1}; are their edges anti-aliased?"
        )
    if set(objects) <= set(OBJECT_COLOURS) and OBJECT_COLOURS[0] in objects:
        places = {colour: OBJECT_COLOURS.index(colour) + 1 for colour in objects}
    else:
        places = {colour: n for n, colour in enumerate(first_in_every_view(objects, seen), start=1)}
    recoloured: dict[str, Companion] = {}
    for stem, mask in masks.items():
        numbers = np.zeros(mask.shape[:2], dtype=np.int64)
        for colour, place in places.items():
            numbers[(mask == np.array(colour, np.uint8)).all(axis=-1)] = place
        recoloured[stem] = png_writer(colours_of(numbers, stem))
    return recoloured


def _black_masks(scene: PosedScene) -> dict[str, Companion]:
    """The masks of a scene on black, by stem: uOCF takes the darkest colour for the background."""
    masks = {view.stem: mask for view in scene.views if (mask := mask_of(view)) is not None}
    if not masks:
        return {}
    numbered = object_numbers(list(masks.values()), scene.name)
    black: dict[str, Companion] = {}
    for stem, numbers in zip(masks, numbered, strict=True):
        colours = colours_of(numbers, stem)
        colours[(colours == np.array(BACKGROUND_COLOUR, np.uint8)).all(axis=-1)] = 0
        black[stem] = png_writer(colours)
    return black
