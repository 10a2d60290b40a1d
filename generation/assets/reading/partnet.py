"""Objects of PartNet-Mobility: a folder with `mobility.urdf` and one OBJ file a part.

At rest all parts stand in one frame (y up), whatever the joints between them say.
"""

import re
from pathlib import Path

from generation.assets.reading import obj
from generation.assets.reading.pieces import Reading, UnusableMesh

DESCRIPTION = "mobility.urdf"
_PARTS = "textured_objs"


def parts(path: Path) -> list[Path]:
    """The OBJ files that the description names, or all where it names none, sorted."""
    text = path.read_text(encoding="utf-8", errors="replace")
    named = {
        path.parent / name.strip() for name in re.findall(r"<mesh[^>]*\bfilename\s*=\s*[\"']([^\"']+)", text)
    }
    folder = path.parent / _PARTS
    found = sorted(folder.glob("*.obj"))
    return [part for part in found if part in named] or found


def companions(path: Path, root: Path | None = None) -> list[tuple[str, Path | None]]:
    """The parts, and what each of them names."""
    named: dict[str, Path | None] = {}
    for part in parts(path):
        named[f"{_PARTS}/{part.name}"] = part
        named.update({f"{_PARTS}/{name}": found for name, found in obj.companions(part, root)})
    return list(named.items())


def read_object(path: Path, root: Path | None = None) -> Reading:
    """All parts of an object.

    Raises:
        UnusableMesh: there are none, or one of them can't be used.
    """
    pieces, notes = [], {}
    for part in parts(path):
        try:
            reading = obj.read_obj(part, root)
        except UnusableMesh as error:
            raise UnusableMesh(f"its part {part.name}: {error}") from error
        pieces += reading.pieces
        notes.update(dict.fromkeys(reading.notes))
    if not pieces:
        raise UnusableMesh(f"{_PARTS} beside it holds no OBJ files")
    return Reading(pieces, tuple(notes))
