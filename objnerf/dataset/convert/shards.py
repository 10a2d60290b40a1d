"""WebDataset shards: uncompressed tar files that are read from front to back.

A sample is a view, or a whole scene. A view's key is its stem, and ``…_RT.txt`` becomes ``….rt.txt``,
``…_mask.png`` becomes ``….mask.png``, and so on: WebDataset cuts a name at its first dot. The views of a
scene follow one another and never part between two shards. A scene's key is ``sc0002``; its views' files have
the view's number in front (``sc0002.003.rt.txt``), and ``sc0002.stems.txt`` their names, a line each.
``dataset.yaml``, ``scenes/`` and the movements lie beside the shards.
"""

import io
import re
import tarfile
import tempfile
from pathlib import Path

from objnerf.dataset import names
from objnerf.dataset.cameras import REFERENCE_FOCAL_RATIO, Intrinsics
from objnerf.dataset.convert.lenses import Lens
from objnerf.dataset.convert.posed import (
    Blob,
    Companion,
    PosedScenes,
    PosedView,
    Progress,
    checked_pose,
    counted,
    grouped_by_name,
    image_size,
    one_size,
    put,
    put_png,
    scene_folder_name,
    stems_fit,
)
from objnerf.dataset.convert.sidecars import read_sidecars, write_sidecars
from objnerf.dataset.files import read_matrix, read_pinhole, write_matrix, write_pinhole
from objnerf.dataset.untrusted import MAX_COLLECTION_BYTES, Unreadable, open_regular
from objnerf.errors import InputError

#: A shard is closed at the end of the scene that takes it over this size.
SHARD_BYTES = 256 * 2**20

_IMAGE_EXTENSIONS = ("png", "jpg", "jpeg")
_EXTENSION_OF_SUFFIX = {suffix: suffix[1:].lower() for suffix in names.COMPANION_SUFFIXES}
_AMODAL = re.compile(r"amodal(\d{1,6})\.png")
#: Lists the names of a scene's views, where a sample is a scene.
_STEMS = "stems.txt"
_SUFFIX_OF_EXTENSION = {extension: suffix for suffix, extension in _EXTENSION_OF_SUFFIX.items()}


def recognise(folder: Path) -> bool:
    """Whether the folder holds tar files, or is one."""
    return bool(_shards(folder))


def read(folder: Path) -> PosedScenes:
    """Read shards; the images stay where they are until they are written.

    Raises:
        InputError: a damaged or compressed archive, or a sample without image or pose.
    """
    views = []
    for shard in _shards(folder):
        for key, members in _samples(shard).items():
            samples = _views_of_scene(shard, key, members) if _STEMS in members else {key: members}
            views += [_view(shard, stem, found) for stem, found in samples.items()]
    stems = [view.stem for view in views]
    if len(set(stems)) != len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise InputError(f"{folder}: expected every sample once, found {twice} in two shards")
    if not views:
        raise InputError(f"{folder}: expected samples in the shards, found none")
    root = folder.parent if folder.is_file() else folder
    card, scene_cards = read_sidecars(root)
    scenes, keep = grouped_by_name(views, folder.stem)
    size = one_size([view for scene in scenes for view in scene.views])
    notes = []
    if card is None or card.focal_ratio is None:
        notes.append(
            "no dataset.yaml with a focal ratio: a 35 mm lens on a 32 mm wide sensor, at 4:3, was assumed"
        )
    ratio = card.focal_ratio if card is not None and card.focal_ratio is not None else REFERENCE_FOCAL_RATIO
    movements = {
        scene: path
        for path in sorted(root.glob("*_movement.txt"))
        if (scene := names.parse_movement_name(path.name)) is not None
    }
    return PosedScenes(
        scenes,
        Intrinsics.from_focal_ratio(ratio, *size),
        card=card,
        scene_cards=scene_cards,
        movements=movements,
        keep_stems=keep and stems_fit(scenes),
        notes=tuple(notes),
    )


def write_scenes(posed: PosedScenes, folder: Path, progress: Progress) -> list[str]:
    """Write shards whose samples are scenes; otherwise like ``write``."""
    return write(posed, folder, progress, scene_samples=True)


def write(
    posed: PosedScenes,
    folder: Path,
    progress: Progress,
    *,
    shard_bytes: int = SHARD_BYTES,
    scene_samples: bool = False,
) -> list[str]:
    """Write shards of whole scenes; everything of our format finds its place. Equal data gives equal bytes.

    Args:
        shard_bytes: a shard is closed at the end of the scene that takes it over this size.
        scene_samples: a sample is a scene instead of a view.
    """
    n_scenes, shard, scene = len(posed.scenes), 0, 0
    views = counted(posed, progress)
    while scene < n_scenes:
        path = folder / f"shard-{shard:06d}.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
            while scene < n_scenes and archive.offset < shard_bytes:
                stems = []
                for _ in posed.scenes[scene].views:
                    index, _, number, view = next(views)
                    stem = (
                        view.stem
                        if posed.keep_stems
                        else names.make_view_stem(index, scene, number, n_scenes)
                    )
                    if "." in stem:
                        raise InputError(
                            f"{stem}: WebDataset cuts a name at its first dot, so a view's name "
                            "cannot contain one"
                        )
                    stems.append(stem)
                    key = scene_folder_name(scene, n_scenes)
                    _add_view(archive, f"{key}.{number:03d}" if scene_samples else stem, view)
                if scene_samples:
                    _add_member(archive, f"{key}.{_STEMS}", "".join(f"{stem}\n" for stem in stems).encode())
                scene += 1
        shard += 1
    # Past the last view, so that it is counted as well.
    next(views, None)
    write_sidecars(posed, folder)
    for id_, movement in posed.movements.items():
        Blob(movement).copy_to(folder / names.movement_name(id_))
    return []


def _add_view(archive: tarfile.TarFile, prefix: str, view: PosedView) -> None:
    """Add all files of one view, in the order of their extensions; their names begin with ``prefix``."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "file"
        put_png(view.image, path)
        contents = {"png": path.read_bytes()}
        for suffix, companion in view.companions.items():
            put(companion, path)
            contents[_EXTENSION_OF_SUFFIX[suffix]] = path.read_bytes()
        for label, mask in view.amodal.items():
            put(mask, path)
            contents[f"amodal{label}.png"] = path.read_bytes()
        if names.POSE_SUFFIX not in view.companions:
            write_matrix(path, view.world_from_camera)
            contents[_EXTENSION_OF_SUFFIX[names.POSE_SUFFIX]] = path.read_bytes()
        if view.lens is not None:
            write_pinhole(path, view.lens.intrinsics().pinhole)
            contents[_EXTENSION_OF_SUFFIX[names.INTRINSICS_SUFFIX]] = path.read_bytes()
    for extension in sorted(contents):
        _add_member(archive, f"{prefix}.{extension}", contents[extension])


def _add_member(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = 0o644
    archive.addfile(member, io.BytesIO(content))


def _shards(folder: Path) -> list[Path]:
    """The tar files, in the order of their names."""
    if folder.is_file():
        return [folder] if folder.suffix == ".tar" else []
    return sorted(path for path in folder.glob("*.tar") if not path.name.startswith(".tmp-"))


def _samples(shard: Path) -> dict[str, dict[str, Blob]]:
    """Samples of a shard: key to extension to bytes."""
    samples: dict[str, dict[str, Blob]] = {}
    try:
        with (
            open_regular(shard, MAX_COLLECTION_BYTES) as file,
            tarfile.open(fileobj=file, mode="r:") as archive,
        ):
            for member in archive:
                # WebDataset itself passes over names in double underscores.
                if not member.isfile() or re.match(r"__[^/]*__($|/)", member.name):
                    continue
                key, _, extension = member.name.rpartition("/")[2].partition(".")
                samples.setdefault(key, {})[extension.lower()] = Blob(shard, member.offset_data, member.size)
                if member.offset_data + member.size > shard.stat().st_size:
                    raise tarfile.ReadError("unexpected end of data")
    except Unreadable as problem:
        raise InputError(f"{shard}: cannot be read ({problem})") from problem
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise InputError(
            f"{shard}: expected an uncompressed tar file, found something else or a damaged one ({error})"
        ) from error
    return samples


def _views_of_scene(shard: Path, key: str, members: dict[str, Blob]) -> dict[str, dict[str, Blob]]:
    """The views of a sample that is a scene: name to extension to bytes.

    Raises:
        InputError: the views' names and files do not belong together.
    """
    stems = members[_STEMS].read().decode("utf-8", "replace").split()
    views: dict[str, dict[str, Blob]] = {stem: {} for stem in stems}
    for extension, blob in members.items():
        number, _, rest = extension.partition(".")
        if extension == _STEMS:
            continue
        if not number.isdecimal() or int(number) >= len(stems):
            raise InputError(
                f"{shard}, sample {key}: expected files of its {len(stems)} views, found {extension}"
            )
        views[stems[int(number)]][rest] = blob
    return views


def _view(shard: Path, stem: str, members: dict[str, Blob]) -> PosedView:
    where = f"{shard}, sample {stem}"
    image = next((members[extension] for extension in _IMAGE_EXTENSIONS if extension in members), None)
    pose = members.get(_EXTENSION_OF_SUFFIX[names.POSE_SUFFIX])
    if image is None or pose is None:
        raise InputError(
            f"{where}: expected an image (.png) and a camera-to-world matrix (.rt.txt), found "
            f"{', '.join('.' + extension for extension in sorted(members))}"
        )
    with pose.as_file() as path:
        try:
            world_from_camera = checked_pose(read_matrix(path), where)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
    own_camera = _EXTENSION_OF_SUFFIX[names.INTRINSICS_SUFFIX]
    companions: dict[str, Companion] = {
        _SUFFIX_OF_EXTENSION[extension]: blob
        for extension, blob in members.items()
        if extension in _SUFFIX_OF_EXTENSION and extension != own_camera
    }
    amodal: dict[int, Companion] = {
        int(found[1]): blob
        for extension, blob in members.items()
        if (found := _AMODAL.fullmatch(extension)) is not None
    }
    lens = None
    if own_camera in members:
        size = image_size(image)
        with members[own_camera].as_file() as path:
            lens = Lens.pinhole(read_pinhole(path, size).at(*size))
    return PosedView(stem, image, world_from_camera, companions, lens, where, amodal)
