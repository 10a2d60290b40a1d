"""Convert between our dataset format and those of other projects (docs/convert.md).

Every format is read into the same value, ``PosedScenes``, and written from it; poses keep their world.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from objnerf.dataset.convert import (
    blenderproc,
    bop,
    coco,
    colmap,
    followers,
    idr,
    kubric,
    llff,
    native,
    nsvf,
    obsurf,
    parquet,
    rgbd,
    shards,
    transforms_json,
    uocf,
)
from objnerf.dataset.convert.fitting import WorldSteps, fitted, with_settings
from objnerf.dataset.convert.matching import matched_pictures
from objnerf.dataset.convert.posed import PosedScenes, Progress, has_scene_folders, no_progress, settled
from objnerf.dataset.convert.undistortion import resized, undistorted
from objnerf.dataset.convert.unread import unread_format
from objnerf.dataset.folders import atomic_folder
from objnerf.errors import InputError

#: How each source format is read. Two names of one reader are two flavours of writing; what no writer has is
#: read only.
_READERS: dict[str, Callable[[Path], PosedScenes]] = {
    "objnerf": native.read,
    "nerfstudio": transforms_json.read,
    "instant-ngp": transforms_json.read,
    "colmap": colmap.read,
    "colmap-binary": colmap.read,
    "obsurf": obsurf.read,
    "uocf": uocf.read,
    "webdataset": shards.read,
    "webdataset-scenes": shards.read,
    "parquet": parquet.read,
    "llff": llff.read,
    "nsvf": nsvf.read,
    "idr": idr.read,
    "scannet": rgbd.read_scannet,
    "7-scenes": rgbd.read_frames,
    "kubric": kubric.read,
    "bop": bop.read,
    "blenderproc": blenderproc.read,
}
_WRITERS: dict[str, Callable[[PosedScenes, Path, Progress], list[str]]] = {
    "objnerf": native.write,
    "nerfstudio": transforms_json.write_nerfstudio,
    "instant-ngp": transforms_json.write_instant_ngp,
    "colmap": colmap.write_text_model,
    "colmap-binary": colmap.write_binary_model,
    "obsurf": obsurf.write,
    "uocf": uocf.write,
    "uorf": followers.write_uorf,
    "slotlifter": followers.write_slotlifter,
    "webdataset": shards.write,
    "webdataset-scenes": shards.write_scenes,
    "parquet": parquet.write,
    "coco": coco.write,
}
#: Targets whose readers expect our world: z up, the ground at 0, the origin in the middle.
_IN_OUR_WORLD = ("objnerf", "uorf", "slotlifter", "webdataset", "webdataset-scenes", "parquet")
#: Programs that find a dataset, or its scenes, by the names of folders.
_NAMED_BY_FOLDER = {"uorf": followers.write_uorf, "slotlifter": followers.write_slotlifter}
#: In this order a folder is asked what it is: what lies in the folder itself counts before sub-folders, and
#: the rarer sign before the commoner one.
_SIGNS: tuple[tuple[str, Callable[[Path], bool]], ...] = (
    ("obsurf", obsurf.recognise),
    ("nerfstudio", transforms_json.recognise),
    ("colmap", colmap.recognise),
    # After COLMAP's model, which LLFF's folders often hold as well and which says more.
    ("llff", llff.recognise),
    ("nsvf", nsvf.recognise),
    ("idr", idr.recognise),
    ("scannet", rgbd.recognise_scannet),
    ("7-scenes", rgbd.recognise_frames),
    ("kubric", kubric.recognise),
    ("bop", bop.recognise),
    ("blenderproc", blenderproc.recognise),
    # After the others: people keep a tar of the images beside their description.
    ("webdataset", shards.recognise),
    ("parquet", parquet.recognise),
    ("uocf", uocf.recognise),
    ("objnerf", native.recognise),
    ("nerfstudio", transforms_json.recognise_nested),
    ("colmap", colmap.recognise_nested),
    ("llff", partial(has_scene_folders, holds_scene=llff.recognise)),
    ("nsvf", partial(has_scene_folders, holds_scene=nsvf.recognise)),
    ("idr", partial(has_scene_folders, holds_scene=idr.recognise)),
    ("scannet", partial(has_scene_folders, holds_scene=rgbd.recognise_scannet)),
    ("7-scenes", partial(has_scene_folders, holds_scene=rgbd.recognise_frames)),
    ("kubric", partial(has_scene_folders, holds_scene=kubric.recognise)),
    ("bop", bop.recognise_nested),
    ("blenderproc", partial(has_scene_folders, holds_scene=blenderproc.recognise)),
)

#: Names of the formats, as ``--from`` takes them.
FORMATS = tuple(_READERS)
#: Those that ``--to`` takes.
TARGETS = tuple(_WRITERS)


@dataclass(frozen=True)
class Conversion:
    """What a conversion did.

    Attributes:
        source_format: given or recognised.
        target_format: given or concluded.
        scenes: how many were written.
        views: how many were written.
        notes: what the user should know about how the source was read.
        left_out: what the target has no place for.
    """

    source_format: str
    target_format: str
    scenes: int
    views: int
    notes: tuple[str, ...]
    left_out: tuple[str, ...]


def recognise(source: str | os.PathLike[str]) -> str:
    """The format of a folder (or of a tar file).

    Raises:
        InputError: nothing is there, or nothing that is known.
    """
    source = Path(source)
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    if source.is_file():
        if shards.recognise(source):
            return "webdataset"
        if transforms_json.recognise(source):
            return "nerfstudio"
        _refuse_unread(source)
        raise InputError(
            f"{source}: expected a folder, a transforms.json or a WebDataset shard (.tar), found another file"
        )
    for name, sign in _SIGNS:
        if sign(source):
            return name
    _refuse_unread(source)
    raise InputError(
        f"{source}: expected a dataset in one of the formats {', '.join(FORMATS)}, recognised none "
        "(docs/convert.md lists them); give the dataset's own folder, or --from"
    )


def _refuse_unread(source: Path) -> None:
    """Refuse a format that is known and not read, by its name."""
    known = unread_format(source)
    if known is not None:
        raise InputError(f"{source}: this is {known.name}, which is not read; {known.advice}")


def convert(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    source_format: str | None = None,
    target_format: str | None = None,
    undistort: bool = False,
    max_size: int | None = None,
    world: WorldSteps | None = None,
    progress: Progress = no_progress,
) -> Conversion:
    """Convert a dataset; the destination appears only when it is complete.

    Args:
        source: a folder, or a single WebDataset shard.
        destination: a new or empty folder.
        source_format: one of ``FORMATS``; recognised when left out.
        target_format: one of ``TARGETS``; from a foreign format it is ours when left out.
        undistort: resample the images to one centred pinhole camera.
        max_size: shrink images whose longer side is over so many pixels.
        world: which steps bring a world into ours; by default those that a captured world needs, and none
            where the source's world means something (``PosedScenes.world``) or the target is not ours.
        progress: called after each view with how many are done and how many there are.
    Raises:
        InputError: the source cannot be read, or the target cannot represent it; nothing is left behind.
    """
    source, destination = Path(source), Path(destination)
    for name, known, does in ((source_format, FORMATS, "read"), (target_format, TARGETS, "written")):
        if name is not None and name not in known:
            what = f"{name} is not {does}" if name in FORMATS + TARGETS else f"{name!r} is not a format"
            raise InputError(f"{what}; expected one of {', '.join(known)}")
    if max_size is not None and max_size < 8:
        raise InputError(f"expected a largest size of at least 8 pixels, got {max_size}")
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    source_format = source_format or recognise(source)
    if target_format is None:
        if source_format == "objnerf" and max_size is None and world is None and not undistort:
            others = ", ".join(name for name in TARGETS if name != "objnerf")
            raise InputError(
                f"{source} is already in the objnerf format; choose the target with --to: {others}"
            )
        target_format = "objnerf"
    if destination.resolve() == source.resolve() or source.resolve() in destination.resolve().parents:
        raise InputError(f"{destination}: expected a folder outside the source {source}")
    with atomic_folder(destination) as folder:
        posed = matched_pictures(_READERS[source_format](source))
        # Between other projects' formats a world stays what it is unless somebody asks.
        ours = target_format in _IN_OUR_WORLD
        posed = fitted(posed, world or (WorldSteps() if ours else WorldSteps(False, False, False)))
        posed = undistorted(posed, max_size) if undistort else settled(posed)
        posed = with_settings(posed if max_size is None else resized(posed, max_size))
        if target_format in _NAMED_BY_FOLDER:
            left_out = _NAMED_BY_FOLDER[target_format](posed, folder, progress, destination=destination)
        else:
            left_out = _WRITERS[target_format](posed, folder, progress)
    notes = (*posed.notes, *obsurf.warnings(posed)) if target_format == "obsurf" else posed.notes
    return Conversion(source_format, target_format, len(posed.scenes), posed.n_views, notes, tuple(left_out))


__all__ = ["FORMATS", "TARGETS", "Conversion", "WorldSteps", "convert", "recognise"]
