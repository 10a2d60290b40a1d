"""Parquet tables with the images in them, a row a view: what the hubs show and `datasets` opens.

``data/{split}-00000-of-00003.parquet``; a scene's rows follow one another and are one row group. Columns:
``stem``, ``scene``, ``view``, ``image``, ``world_from_camera`` (4x4, OpenCV axes), ``intrinsics`` (3x3,
pixels, integer pixel centres), ``mask``, ``depth`` (rows of columns, world units) and ``objects``, what
``scenes/*.json`` says of them with their amodal masks. Images are structs of ``bytes`` and ``path``. Needs
the extra publish.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from objnerf.dataset import names
from objnerf.dataset.convert.annotations import SceneAnnotations, scene_annotations
from objnerf.dataset.convert.lenses import Lens
from objnerf.dataset.convert.parquet_footer import read_group_sizes
from objnerf.dataset.convert.posed import (
    Blob,
    Companion,
    Computed,
    PosedScene,
    PosedScenes,
    PosedView,
    Progress,
    checked_pose,
    counted,
    depth_map,
    image_size,
    put,
    stems_fit,
)
from objnerf.dataset.convert.sidecars import left_out, read_sidecars, write_sidecars
from objnerf.dataset.untrusted import MAX_COLLECTION_BYTES, Unreadable, open_regular
from objnerf.errors import InputError

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

#: A file is closed after the scene that takes it over this size.
FILE_BYTES = 400 * 2**20

#: Limits of a row group, which is a scene: values of one column (of depth, those of 128 images in full HD),
#: and bytes unpacked.
_MAX_VALUES = 1 << 28
_MAX_GROUP_BYTES = 1 << 32

_IMAGE = {"_type": "Image"}
_NUMBER = {"dtype": "float64", "_type": "Value"}
_MATRIX = [[_NUMBER]]
#: The columns as `datasets` names their types, in the metadata where it looks for them.
_FEATURES = {
    "stem": {"dtype": "string", "_type": "Value"},
    "scene": {"dtype": "int32", "_type": "Value"},
    "view": {"dtype": "int32", "_type": "Value"},
    "image": _IMAGE,
    "world_from_camera": _MATRIX,
    "intrinsics": _MATRIX,
    "mask": _IMAGE,
    "depth": [[{"dtype": "float32", "_type": "Value"}]],
    "objects": [
        {
            "label": {"dtype": "int32", "_type": "Value"},
            "category": {"dtype": "string", "_type": "Value"},
            "asset": {"dtype": "string", "_type": "Value"},
            "visible": _NUMBER,
            "position": [_NUMBER],
            "yaw": _NUMBER,
            "size": [_NUMBER],
            "amodal": _IMAGE,
        }
    ],
}
_NEEDED = ("stem", "scene", "view", "image", "world_from_camera", "intrinsics")


def recognise(folder: Path) -> bool:
    """Whether Parquet files lie in the folder, or in ``data`` in it."""
    return bool(_files(folder))


def write(posed: PosedScenes, folder: Path, progress: Progress, *, file_bytes: int = FILE_BYTES) -> list[str]:
    """Write tables of whole scenes; returns what they have no place for.

    Args:
        file_bytes: a file is closed after the scene that takes it over this size.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema()
    (folder / "data").mkdir()
    paths: list[Path] = []
    rows: list[dict[str, Any]] = []
    writer = None
    annotations = SceneAnnotations({}, {}, {})
    try:
        for index, scene, number, view in counted(posed, progress):
            if number == 0:
                annotations = scene_annotations(posed, scene)
            source = posed.scenes[scene].views[number].stem
            stem = (
                view.stem
                if posed.keep_stems
                else names.make_view_stem(index, scene, number, len(posed.scenes))
            )
            rows.append(_row(posed, view, stem, scene, number, annotations, source))
            if number + 1 < len(posed.scenes[scene].views):
                continue
            if writer is None:
                paths.append(folder / "data" / f"{len(paths)}.parquet")
                writer = pq.ParquetWriter(paths[-1], schema, compression="zstd")
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            rows = []
            if paths[-1].stat().st_size >= file_bytes:
                writer.close()
                writer = None
    finally:
        if writer is not None:
            writer.close()
    split = "train" if posed.card is None or posed.card.split is None else posed.card.split
    for number, path in enumerate(paths):
        path.rename(path.with_name(f"{split}-{number:05d}-of-{len(paths):05d}.parquet"))
    write_sidecars(posed, folder)
    return left_out(posed, {names.MASK_SUFFIX, names.DEPTH_SUFFIX}, amodal=True)


def read(folder: Path) -> PosedScenes:
    """Read tables that have our columns; images stay in the files until they are written.

    Raises:
        InputError: a file is none, lacks columns, or holds a row that cannot be used.
    """
    card, scene_cards = read_sidecars(folder)
    by_scene: dict[int, list[tuple[int, PosedView]]] = {}
    for path in _files(folder):
        for scene, number, view in _views(path):
            by_scene.setdefault(scene, []).append((number, view))
    if not by_scene:
        raise InputError(f"{folder}: expected rows in the tables, found none")
    notes = []
    ids = sorted(by_scene)
    if ids != list(range(len(ids))):
        notes.append(f"the scenes {ids[0]} to {ids[-1]} were renumbered from 0")
    scenes = tuple(
        PosedScene(f"sc{id_:04d}", tuple(view for _, view in sorted(by_scene[id_], key=lambda item: item[0])))
        for id_ in ids
    )
    return PosedScenes(
        scenes, card=card, scene_cards=scene_cards, keep_stems=stems_fit(scenes), notes=tuple(notes)
    )


def _row(
    posed: PosedScenes,
    view: PosedView,
    stem: str,
    scene: int,
    number: int,
    annotations: SceneAnnotations,
    source: str,
) -> dict[str, Any]:
    camera = posed.intrinsics_of(view)
    depth = view.companions.get(names.DEPTH_SUFFIX)
    labels = sorted({*annotations.objects, *view.amodal})
    return {
        "stem": stem,
        "scene": scene,
        "view": number,
        "image": _picture(view.image, f"{stem}.png"),
        "world_from_camera": view.world_from_camera.tolist(),
        "intrinsics": [[camera.fx, 0.0, camera.cx], [0.0, camera.fy, camera.cy], [0.0, 0.0, 1.0]],
        "mask": _picture(view.companions.get(names.MASK_SUFFIX), f"{stem}{names.MASK_SUFFIX}"),
        "depth": None if depth is None else list(depth_map(depth)),
        "objects": [_object(view, stem, label, annotations, source) for label in labels],
    }


def _object(
    view: PosedView, stem: str, label: int, annotations: SceneAnnotations, source: str
) -> dict[str, Any]:
    card = annotations.objects.get(label)
    return {
        "label": label,
        "category": annotations.category(label),
        "asset": None if card is None else card.asset,
        "visible": annotations.visible.get((source, label)),
        "position": None if card is None else card.position,
        "yaw": None if card is None else card.yaw,
        "size": None if card is None else card.size,
        "amodal": _picture(view.amodal.get(label), names.amodal_name(stem, label)),
    }


def _picture(companion: Companion | None, path: str) -> dict[str, Any] | None:
    """A file as `datasets` stores images."""
    if companion is None:
        return None
    if isinstance(companion, Computed):
        companion = companion.encoded()
    if not isinstance(companion, Blob):
        companion = _written(companion)
    return {"bytes": companion.read(), "path": path}


def _written(write_file: Callable[[Path], None]) -> Blob:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.png"
        put(write_file, path)
        return Blob(path, content=path.read_bytes())


def _views(path: Path) -> Iterator[tuple[int, int, PosedView]]:
    """The views of one file with their scenes and numbers; images are fetched when they are asked for."""
    read = object()
    with _opened(path) as file:
        columns = set(file.schema_arrow.names)
        missing = [name for name in _NEEDED if name not in columns]
        if missing:
            raise InputError(
                f"{path}: expected the columns {', '.join(_NEEDED)}, found none named {', '.join(missing)}"
            )
        small = ["stem", "scene", "view", "world_from_camera", "intrinsics"]
        _check_groups(path)
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=small).to_pylist()
            present = file.read_row_group(group, columns=[c for c in ("mask", "depth") if c in columns])
            for number, row in enumerate(table):
                where = f"{path}, row group {group}, row {number}"
                if not isinstance(row["stem"], str) or not row["stem"]:
                    raise InputError(f"{where}: expected a name as stem, found {row['stem']!r}")
                for column in ("scene", "view"):
                    if not isinstance(row[column], int) or row[column] < 0:
                        raise InputError(f"{where}: expected a number as {column}, found {row[column]!r}")
                yield row["scene"], row["view"], _view(path, group, number, row, present, read)


@contextmanager
def _opened(path: Path) -> "Iterator[pyarrow.parquet.ParquetFile]":
    """A Parquet file; every failure to read it names it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open_regular(path, MAX_COLLECTION_BYTES) as stream, pq.ParquetFile(stream) as file:
            yield file
    except Unreadable as problem:
        raise InputError(f"{path}: cannot be read as Parquet ({problem})") from problem
    except (pa.ArrowException, OSError, ValueError, TypeError, LookupError, MemoryError) as error:
        # pyarrow raises all of these for damaged files; the others come of values of another type than ours.
        raise InputError(
            f"{path}: expected a Parquet file like ours, found a damaged or another one "
            f"({' '.join(str(error).split())})"
        ) from error


def _check_groups(path: Path) -> None:
    """Refuse row groups that unpack to more than a scene can be: a few bytes can stand for gigabytes."""
    with open_regular(path, MAX_COLLECTION_BYTES) as stream:
        sizes = read_group_sizes(stream)
    for group, size in enumerate(sizes):
        if max(size.rows, size.values) > _MAX_VALUES or size.unpacked > _MAX_GROUP_BYTES:
            raise ValueError(f"row group {group} unpacks to {size.values} values in {size.unpacked} bytes")


def _view(
    path: Path, group: int, number: int, row: dict[str, Any], present: "pyarrow.Table", read: object
) -> PosedView:
    where = f"{path}, row group {group}, row {number}"
    cell = partial(_cell, path, group, number, read)
    image = Blob(path, content=partial(_bytes, cell, "image", where))
    matrix = np.array(row["intrinsics"], dtype=np.float64)
    if matrix.shape != (3, 3) or not (np.isfinite(matrix).all() and matrix[0, 0] > 0 and matrix[1, 1] > 0):
        raise InputError(
            f"{where}: expected 3x3 intrinsics with positive focal lengths, found {matrix.tolist()}"
        )
    lens = Lens("PINHOLE", *image_size(image), matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2], ())
    companions: dict[str, Companion] = {}
    if "mask" in present.column_names and present["mask"][number].as_py() is not None:
        companions[names.MASK_SUFFIX] = Blob(path, content=partial(_bytes, cell, "mask", where))
    if "depth" in present.column_names and present["depth"][number].is_valid:
        companions[names.DEPTH_SUFFIX] = Computed(path, partial(_depth, cell, where))
    amodal: dict[int, Companion] = {}
    for place, item in enumerate(cell().get("objects") or ()):
        if item["amodal"] is None:
            continue
        if not isinstance(item["label"], int) or item["label"] < 1:
            raise InputError(f"{where}: expected labels of objects from 1 on, found {item['label']!r}")
        amodal[item["label"]] = Blob(path, content=partial(_amodal_bytes, cell, place, where))
    pose = checked_pose(row["world_from_camera"], where)
    return PosedView(row["stem"], image, pose, companions, lens, where, amodal)


def _bytes(cell: Callable[[], dict[str, Any]], column: str, where: str) -> bytes:
    return _checked_bytes(cell()[column], f"{where}, column {column}")


def _amodal_bytes(cell: Callable[[], dict[str, Any]], place: int, where: str) -> bytes:
    return _checked_bytes(cell()["objects"][place]["amodal"], f"{where}, object {place}")


def _checked_bytes(picture: Any, where: str) -> bytes:
    content = picture.get("bytes") if isinstance(picture, dict) else None
    if not isinstance(content, bytes):
        raise InputError(f"{where}: expected an image as bytes, found {type(content).__name__}")
    return content


def _depth(cell: Callable[[], dict[str, Any]], where: str) -> Float32[np.ndarray, "height width"]:
    try:
        depth = np.array(cell()["depth"], dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: expected depth as rows of numbers, {error}") from error
    if depth.ndim != 2:
        raise InputError(f"{where}: expected depth as rows of numbers, found the shape {depth.shape}")
    return depth


def _cell(path: Path, group: int, number: int, read: object) -> dict[str, Any]:
    return _group(path, group, read)[number]


@lru_cache(maxsize=8)
def _group(path: Path, group: int, read: object) -> list[dict[str, Any]]:
    """The rows of a row group: a scene. A few are kept, since the views of a scene are asked for in a row.

    ``read`` stands for one reading of the file, which may be another one the next time.
    """
    with _opened(path) as file:
        rows: list[dict[str, Any]] = file.read_row_group(group).to_pylist()
    return rows


def _files(folder: Path) -> list[Path]:
    for place in (folder / "data", folder):
        if place.is_dir() and (found := sorted(place.glob("*.parquet"))):
            return found
    return []


def _schema() -> "pyarrow.Schema":
    import pyarrow as pa

    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    numbers = pa.list_(pa.float64())
    item = pa.struct(
        [
            ("label", pa.int32()),
            ("category", pa.string()),
            ("asset", pa.string()),
            ("visible", pa.float64()),
            ("position", numbers),
            ("yaw", pa.float64()),
            ("size", numbers),
            ("amodal", picture),
        ]
    )
    columns = [
        ("stem", pa.string()),
        ("scene", pa.int32()),
        ("view", pa.int32()),
        ("image", picture),
        ("world_from_camera", pa.list_(numbers)),
        ("intrinsics", pa.list_(numbers)),
        ("mask", picture),
        ("depth", pa.list_(pa.list_(pa.float32()))),
        ("objects", pa.list_(item)),
    ]
    return pa.schema(columns, metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})})
