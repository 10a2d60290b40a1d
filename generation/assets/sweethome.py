"""Furniture libraries of Sweet Home 3D, unpacked: what their catalogues state about the mesh files.

A library (`.sh3f`) is a ZIP archive of OBJ models and a `PluginFurnitureCatalog.properties`, a Java
properties file in Latin-1 with numbered keys (`name#7`, `model#7`, …). Size and orientation of a model
are those of the catalogue, whatever its file holds.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float

from generation.assets.meshes import Fit
from objnerf.dataset.untrusted import Unreadable, read_bytes

CATALOGUE = "PluginFurnitureCatalog.properties"

_MAX_BYTES = 20_000_000

#: What the last word of a name says of the category. In English: the names of the catalogue itself are.
_CATEGORY_WORDS = {
    "chair": "chair chairs armchair armchairs",
    "stool": "stool stools pouf puff footstool",
    "bench": "bench benches",
    "sofa": "sofa sofas couch couches futon loveseat",
    "bed": "bed beds cot crib",
    "table": "table tables",
    "desk": "desk desks",
    "lamp": "lamp lamps",
    "shelf": "shelf shelves bookcase bookcases bookshelf",
    "cabinet": "cabinet cabinets wardrobe cupboard dresser sideboard chest commode buffet nightstand",
}
_CATEGORY_OF = {word: category for category, words in _CATEGORY_WORDS.items() for word in words.split()}

#: Where the part of a name ends that says what the thing is: 'Chair with cushion', 'Sofa 2 seats'.
_END_OF_HEAD = re.compile(r"\b(?:with|without|for|of|in|on|and)\b|[(,;:\d]")

#: The catalogues' words for their licences, as SPDX identifiers.
_SPDX = {
    "creative commons attribution 3.0 united states license": "CC-BY-3.0-US",
    "creative commons attribution 3.0 unported license": "CC-BY-3.0",
    "creative commons attribution 3.0 license": "CC-BY-3.0",
    "public domain": "CC0-1.0",
}


@dataclass(frozen=True)
class LibraryModel:
    """What a catalogue states about one of its mesh files.

    Attributes:
        name: in English, such as 'Coffee table'.
        family: category of furniture that the name ends in, such as 'table'; else the catalogue's own
            category, such as 'living-room'.
        fit: orientation, and size in centimetres.
        elevation_cm: height above the floor at which it hangs; 0 for what stands on the floor.
        licence: of the library; an SPDX identifier where its words are known.
        creator: who made the model, and the library's copyright line.
    """

    name: str
    family: str
    fit: Fit
    elevation_cm: float
    licence: str
    creator: str


def read_libraries(folder: Path, meshes: list[Path]) -> dict[Path, LibraryModel]:
    """The mesh files that catalogues in the folder describe.

    Args:
        folder: the folder that the user gave.
        meshes: the mesh files in it, relative to it.
    """
    places = {parent for mesh in meshes for parent in mesh.parents if (folder / parent / CATALOGUE).is_file()}
    known: dict[Path, LibraryModel] = {}
    for place in sorted(places):
        models = read_catalogue(folder / place / CATALOGUE)
        known.update({place / name: model for name, model in models.items()})
    return {mesh: known[mesh] for mesh in meshes if mesh in known}


def read_catalogue(path: Path) -> dict[PurePosixPath, LibraryModel]:
    """The models of a catalogue by their file, relative to the catalogue's folder.

    A model without a size is left out: its file is a mesh file like any other then. So are all of a catalogue
    that is no text or larger than 20 MB.
    """
    try:
        values = _properties(read_bytes(path, _MAX_BYTES).decode("latin-1"))
    except Unreadable:
        return {}
    licence, _, holders = values.get("license", "").partition("\u00a9")
    licence = licence.replace("Copyright", "").strip()
    models: dict[PurePosixPath, LibraryModel] = {}
    for key, file in values.items():
        name, _, number = key.partition("#")
        if name != "model" or not number:
            continue
        fit = _fit(values, number)
        if fit is None:
            continue
        title = values.get(f"name#{number}", "")
        makers = dict.fromkeys(filter(None, (values.get(f"creator#{number}", ""), holders.strip())))
        models[PurePosixPath(file.lstrip("/"))] = LibraryModel(
            title,
            family_of_name(title) or _slug(values.get(f"category#{number}", "")),
            fit,
            _number(values.get(f"elevation#{number}")) or 0.0,
            _SPDX.get(licence.lower(), licence),
            ", © ".join(makers),
        )
    return models


def family_of_name(name: str) -> str | None:
    """Category of furniture that a name ends in.

    >>> family_of_name("Chair with cushion"), family_of_name("Desk lamp"), family_of_name("Table tennis bat")
    ('chair', 'lamp', None)
    """
    head = _END_OF_HEAD.split(name.lower())[0]
    words = re.findall(r"[a-z]+", head)
    return _CATEGORY_OF.get(words[-1]) if words else None


def _slug(category: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", category.lower())) or "mesh"


def _fit(values: dict[str, str], number: str) -> Fit | None:
    size = [_number(values.get(f"{side}#{number}")) for side in ("width", "height", "depth")]
    width, height, depth = size
    if not (width and height and depth) or min(width, height, depth) <= 0:
        return None
    return Fit((width, height, depth), _rotation(values.get(f"modelRotation#{number}", "")))


def _rotation(text: str) -> tuple[float, ...] | None:
    """Nine numbers, row by row; None where they are no rotation."""
    numbers = [_number(word) for word in text.split()]
    if len(numbers) != 9 or None in numbers:
        return None
    matrix: Float[np.ndarray, "3 3"] = np.array(numbers, dtype=np.float64).reshape(3, 3)
    rigid = np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-2) and np.linalg.det(matrix) > 0
    return tuple(matrix.ravel().tolist()) if rigid else None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _properties(text: str) -> dict[str, str]:
    """Keys and values of a Java properties file."""
    text = re.sub(r"\\\r?\n[ \t]*", "", text)
    values = {}
    for line in text.splitlines():
        stripped = line.strip()
        if stripped and stripped[0] not in "#!":
            key, _, value = stripped.partition("=")
            values[key.strip()] = _unescaped(value.strip())
    return values


def _unescaped(value: str) -> str:
    value = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), value)
    return re.sub(r"\\(.)", r"\1", value)
