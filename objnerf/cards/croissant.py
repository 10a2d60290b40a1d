"""A dataset as Croissant metadata: JSON-LD that search engines, hubs and loaders read.

Croissant 1.0 with the vocabulary for responsible AI, https://docs.mlcommons.org/croissant/docs/croissant-spec.html.
A file set names its members by patterns, one a shape of name (``[0-9]`` for every digit), since loaders match
them against whole paths and ``*`` would take images in sub-folders as well.
"""

import glob
import re
from collections.abc import Iterable
from typing import Any

from objnerf.dataset import names
from objnerf.dataset.index import Dataset

#: The context that the specification prescribes.
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "conformsTo": "dct:conformsTo",
} | {
    word: f"cr:{word}"
    for word in (
        *("citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject"),
        *("fileSet", "format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path"),
        *("recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator", "source"),
        *("subField", "transform"),
    )
}

_PNG, _TEXT, _NPY = "image/png", "text/plain", "application/x-npy"
#: Companions of a view: the file set's name, its media type, what it holds.
_COMPANIONS = {
    names.POSE_SUFFIX: ("poses", _TEXT, "4x4 camera-to-world matrices, OpenCV axes"),
    names.AZIMUTH_SUFFIX: ("azimuths", _TEXT, "3x3 rotations from the views' azimuth frames to the world"),
    names.INTRINSICS_SUFFIX: ("intrinsics", _TEXT, "3x3 intrinsics in shares of the images' size"),
    names.MASK_SUFFIX: ("masks", _PNG, "instance masks in flat colours"),
    names.DEPTH_SUFFIX: ("depths", _NPY, "planar depth in world units, float32, height x width x 1"),
}
#: Of these file sets the records hold the content.
_RECORDS = {"views": "sc:ImageObject", "masks": "sc:ImageObject", "poses": "sc:Text", "intrinsics": "sc:Text"}


def croissant(
    dataset: Dataset,
    facts: dict[str, Any],
    responsible: dict[str, str | list[str]],
    checksums: tuple[str, int, str],
) -> dict[str, Any]:
    """The metadata of a dataset.

    Args:
        dataset: what it describes.
        facts: schema.org's properties: name, description, license, url, datePublished, version, citeAs, ….
        responsible: properties of the vocabulary for responsible AI, without prefix.
        checksums: path, size in bytes and SHA-256 of the table that has those of all files.
    """
    path, size, digest = checksums
    sets = list(_file_sets(dataset))
    table = {
        "@type": "cr:FileObject",
        "@id": "checksums",
        "name": "checksums",
        "description": "path, size in bytes and SHA-256 of every file",
        "contentUrl": path,
        "contentSize": f"{size} B",
        "encodingFormat": "text/csv",
        "sha256": digest,
    }
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        **facts,
        **{f"rai:{key}": value for key, value in responsible.items()},
        "distribution": [table, *sets],
        "recordSet": [_file_records(), *(_records(entry) for entry in sets if entry["@id"] in _RECORDS)],
    }


def _file_sets(dataset: Dataset) -> Iterable[dict[str, Any]]:
    views = list(dataset.views())
    yield _file_set("views", _PNG, "the views' images, 8-bit RGB", (f"{view.stem}.png" for view in views))
    for suffix, (name, media, text) in _COMPANIONS.items():
        files = [f"{view.stem}{suffix}" for view in views if suffix in view.companions]
        if files:
            yield _file_set(name, media, text, files)
    edits = [f"{v.stem}{suffix}" for v in views for suffix in names.EDIT_SUFFIXES if suffix in v.companions]
    if edits:
        yield _file_set("edits", _PNG, "images and masks of the scene-manipulation test", edits)
    if dataset.scene_cards:
        files = [f"scenes/{name}" for name in dataset.scene_cards]
        yield _file_set("scenes", "application/json", "objects, poses, cameras of each scene", files)


def _file_set(id_: str, media: str, description: str, files: Iterable[str]) -> dict[str, Any]:
    patterns = {re.sub(r"\d", "[0-9]", glob.escape(name)) for name in files}
    return {
        "@type": "cr:FileSet",
        "@id": id_,
        "name": id_,
        "description": description,
        "encodingFormat": media,
        "includes": sorted(patterns),
    }


def _records(file_set: dict[str, Any]) -> dict[str, Any]:
    """A record a file: its name without suffix, and its content."""
    id_ = file_set["@id"]
    suffix = next((key for key, (name, _, _) in _COMPANIONS.items() if name == id_), ".png")
    source = {"fileSet": {"@id": id_}}
    stem = source | {
        "extract": {"fileProperty": "filename"},
        "transform": {"regex": f"^(.*){re.escape(suffix)}$"},
    }
    return _record_set(
        id_,
        file_set["description"],
        _field(id_, "stem", "the view's name", "sc:Text", stem),
        _field(
            id_,
            "content",
            file_set["description"],
            _RECORDS[id_],
            source | {"extract": {"fileProperty": "content"}},
        ),
    )


def _file_records() -> dict[str, Any]:
    columns = {
        "path": ("path of a file in the dataset", "sc:Text"),
        "bytes": ("its size", "sc:Integer"),
        "sha256": ("its SHA-256", "sc:Text"),
    }
    fields = [
        _field(
            "files",
            name,
            text,
            kind,
            {"fileObject": {"@id": "checksums"}, "extract": {"column": name}},
        )
        for name, (text, kind) in columns.items()
    ]
    return _record_set("files", "every file with its checksum", *fields)


def _record_set(id_: str, description: str, *fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        # Ids are unique in the whole file, and the file sets have the plain names.
        "@id": f"{id_}-records",
        "name": id_,
        "description": description,
        "key": {"@id": fields[0]["@id"]},
        "field": list(fields),
    }


def _field(of: str, name: str, description: str, kind: str, source: dict[str, Any]) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{of}-records/{name}",
        "name": name,
        "description": description,
        "dataType": kind,
        "source": source,
    }
