"""What `assets_manifest.yaml` may say, and clear words where it says something else.

The manifest is the one list of everything a dataset may be made of: shape sources, floors, walls, and the
open files that `objnerf assets fetch` can download.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from generation.assets.floors import FLOOR_FAMILIES
from generation.assets.procedural import FAMILIES
from generation.assets.walls import WALL_FAMILIES
from objnerf.dataset.card import what_is_wrong
from objnerf.dataset.untrusted import MAX_YAML_BYTES, Unreadable, parse_yaml, read_bytes
from objnerf.errors import InputError

Name = Annotated[
    str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", description="lower-case letters, digits, . _ -")
]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="64 hexadecimal digits")]
Unit = Literal["m", "cm", "mm", "in", "ft"]
Weight = Annotated[int, Field(ge=1, le=100)]


class _Entry(BaseModel):
    """Common to all entries: a name, and whose it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    licence: str = Field(min_length=2)
    origin: str = ""


class ProceduralShapes(_Entry):
    """Furniture or primitives made by code in `generation/assets/procedural`."""

    kind: Literal["procedural"]
    families: dict[str, Weight] = Field(min_length=1)

    @field_validator("families")
    @classmethod
    def _known(cls, families: dict[str, int]) -> dict[str, int]:
        return _check_families(families, tuple(FAMILIES))


class ShapeNetShapes(_Entry):
    """ShapeNetCore v1 or v2 below a folder of the user's; used when `--shapenet-root` names it."""

    kind: Literal["shapenet"]
    synsets: list[str] = Field(min_length=1, description="names or ids of taxonomy.json")
    stands_for: Name = "furniture"

    @field_validator("synsets", mode="before")
    @classmethod
    def _ids_are_text(cls, synsets: Any) -> Any:
        # YAML reads an unquoted 03001627 as octal or decimal: the leading zero, and with it the id, is lost.
        if isinstance(synsets, list) and any(isinstance(synset, int) for synset in synsets):
            raise ValueError("synset ids must be quoted, as in '03001627': YAML reads them as numbers")
        return synsets


class FolderShapes(_Entry):
    """A folder of mesh files. Without `path` it is the one given by `--meshes`.

    `unit` is that of the files' coordinates, for `--real-scale`. Of furniture libraries of Sweet Home 3D in
    the folder, only models of `library_families` are used; None: all.
    """

    kind: Literal["folder"]
    path: Path | None = None
    up: Literal["auto", "y", "z"] = "auto"
    unit: Unit = "m"
    library_families: list[str] | None = None
    stands_for: Name = "furniture"


class ProceduralSurfaces(_Entry):
    """Floors or walls painted by code in `generation/assets/floors.py` and `walls.py`."""

    kind: Literal["procedural"]
    families: list[str] = Field(min_length=1)


class ImageSurfaces(_Entry):
    """A folder of image textures. Without `path` it is the one given by `--textures`."""

    kind: Literal["images"]
    path: Path | None = None
    tile_size: float = Field(4.0, gt=0, description="side of one tile in world units")


class Download(_Entry):
    """An open file that `objnerf assets fetch` may download."""

    kind: Literal["texture", "mesh"]
    url: str = Field(pattern=r"^https://\S+$", description="https alone: nobody on the way can change it")
    sha256: Sha256
    file: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="a plain file name")
    size_bytes: int = Field(gt=0)


ShapeEntry = Annotated[ProceduralShapes | ShapeNetShapes | FolderShapes, Field(discriminator="kind")]
FloorEntry = Annotated[ProceduralSurfaces | ImageSurfaces, Field(discriminator="kind")]


class SizeLimits(BaseModel):
    """Mesh files beyond these are left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_file_mb: float = Field(100.0, gt=0)
    max_faces: int = Field(500_000, gt=0)


class Manifest(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1]
    shapes: list[ShapeEntry] = Field(min_length=1)
    floors: list[FloorEntry] = Field(min_length=1)
    walls: list[ProceduralSurfaces] = Field(min_length=1)
    downloads: list[Download] = Field(default_factory=list)
    limits: SizeLimits = SizeLimits()

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        for section in ("shapes", "floors", "walls", "downloads"):
            names = [entry.name for entry in getattr(self, section)]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(
                    f"{section}: each name may stand once; {twice[0]!r} stands {names.count(twice[0])} times"
                )
        files = [download.file for download in self.downloads]
        if len(set(files)) < len(files):
            raise ValueError("downloads: two entries would be written to the same `file`")
        for section, known in (("floors", tuple(FLOOR_FAMILIES)), ("walls", tuple(WALL_FAMILIES))):
            for entry in getattr(self, section):
                if isinstance(entry, ProceduralSurfaces):
                    _check_families(dict.fromkeys(entry.families, 1), known)
        return self


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest.

    Raises:
        InputError: it can't be read, is no YAML, or says something that isn't understood; every such place is
            named by its key, with what was expected and what was found.
    """
    try:
        content = parse_yaml(read_bytes(path, MAX_YAML_BYTES).decode("utf-8-sig"), f"asset manifest {path}")
    except (Unreadable, UnicodeDecodeError) as error:
        raise InputError(
            f"asset manifest {path}: can't be read ({error}). Give another with --assets FILE."
        ) from error
    if not isinstance(content, dict):
        found = "nothing" if content is None else f"a {type(content).__name__}"
        raise InputError(
            f"asset manifest {path}: expected the keys format_version, shapes, floors, walls and downloads "
            f"at the top, found {found}."
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise InputError(f"asset manifest {path}:\n" + "\n".join(_complaints(error, content))) from error


def _check_families(families: dict[str, int], known: tuple[str, ...]) -> dict[str, int]:
    unknown = [family for family in families if family not in known]
    if unknown:
        raise ValueError(f"unknown family {unknown[0]!r}; there are: {', '.join(known)}")
    return families


def _complaints(error: ValidationError, content: dict[str, Any]) -> list[str]:
    """One line a fault: key, whose entry, what was expected and found."""
    lines = []
    for fault in error.errors(include_url=False):
        # pydantic inserts the union's tag into the location; a user's file has no such key
        keys: list[str | int] = []
        node: Any = content
        for step in fault["loc"]:
            inside = (isinstance(node, dict) and step in node) or (
                isinstance(node, list) and isinstance(step, int)
            )
            if not inside and isinstance(node, dict) and step == node.get("kind"):
                continue
            keys.append(step)
            node = node[step] if inside else None
        entry = content.get(str(keys[0])) if keys else None
        name = ""
        if (
            len(keys) > 1
            and isinstance(entry, list)
            and isinstance(keys[1], int)
            and isinstance(entry[keys[1]], dict)
        ):
            name = f" (name: {entry[keys[1]].get('name', '?')})"
        where = ".".join(str(key) for key in keys) or "the file"
        message = what_is_wrong(fault)
        if fault["type"] == "extra_forbidden":
            message = "this key is not known here; is it misspelt?"
        elif fault["type"] == "missing":
            message = "this key is needed and is not there"
        found = "" if fault["type"] == "missing" or node is None else f" (found: {str(node)[:60]!r})"
        lines.append(f"  {where}{name}: {message}{found}")
    return lines
