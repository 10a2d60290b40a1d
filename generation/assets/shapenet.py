"""ShapeNetCore v1 and v2 below a folder of the user's: which synsets and models are there.

Nothing is ever copied out of that folder: a dataset holds ids and checksums. Meshes are y-up with the front
along -z; boxes are computed from the vertices, since those of v2 are not centred as their description says.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from objnerf.dataset.untrusted import read_json
from objnerf.errors import InputError

# The furniture synsets, for trees without taxonomy.json (v1's model-only downloads).
_KNOWN = {
    "03001627": "chair",
    "04379243": "table",
    "04256520": "sofa,couch,lounge",
    "03636649": "lamp",
    "02933112": "cabinet",
    "02828884": "bench",
    "02818832": "bed",
    "02871439": "bookshelf",
    "03337140": "file,file cabinet,filing cabinet",
}


@dataclass(frozen=True)
class Synset:
    """A category.

    Attributes:
        id: eight digits of WordNet.
        names: its synonyms, the usual one first.
        children: ids of narrower categories.
    """

    id: str
    names: tuple[str, ...]
    children: tuple[str, ...] = ()


@dataclass(frozen=True)
class Model:
    """One mesh.

    Attributes:
        synset: the category whose folder it lies in.
        id: name of its folder.
        file: of the OBJ, below the root that was given, '/'-separated.
    """

    synset: Synset
    id: str
    file: str


def find_release(root: Path) -> Path:
    """The folder that holds the synsets: `root`, or ShapeNetCore.v2 or .v1 in it.

    Raises:
        InputError: there are no synset folders.
    """
    for folder in (root, root / "ShapeNetCore.v2", root / "ShapeNetCore.v1"):
        if folder.is_dir() and any(_is_synset_folder(path) for path in folder.iterdir()):
            return folder
    archives = sorted(path.name for path in root.glob("*.zip")) if root.is_dir() else []
    if archives:
        raise InputError(
            f"--shapenet-root {root}: holds {archives[0]}, as ShapeNet is downloaded; unpack it and give "
            "the folder that then holds folders named by synset ids such as 03001627."
        )
    raise InputError(
        f"--shapenet-root {root}: expected ShapeNetCore v1 or v2, that is folders named by synset ids such "
        "as 03001627, here or in ShapeNetCore.v2; found none. Give the folder that ShapeNetCore was unpacked "
        "to."
    )


def read_taxonomy(release: Path) -> dict[str, Synset]:
    """Synsets by id: of taxonomy.json where there is one, and of folders it does not know.

    Raises:
        InputError: taxonomy.json is there and can't be read.
    """
    synsets = {number: Synset(number, _names(names)) for number, names in _KNOWN.items()}
    path = release / "taxonomy.json"
    if path.is_file():
        try:
            for entry in read_json(path):
                number = str(entry["synsetId"])
                children = tuple(str(child) for child in entry.get("children", ()))
                synsets[number] = Synset(number, _names(str(entry.get("name", number))), children)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}: expected a list of entries with synsetId, name and children ({error!r}). "
                "Restore the file from the download, or remove it to go by folder names."
            ) from error
    for folder in release.iterdir():
        if _is_synset_folder(folder):
            synsets.setdefault(folder.name, Synset(folder.name, (folder.name,)))
    return synsets


def choose_synsets(release: Path, wanted: Iterable[str]) -> list[Synset]:
    """Synsets by name or id, and the narrower ones below them, of which there are folders.

    Raises:
        InputError: a name that the taxonomy doesn't know, or none of them is there.
    """
    taxonomy = read_taxonomy(release)
    present = {path.name for path in release.iterdir() if _is_synset_folder(path)}
    chosen: dict[str, Synset] = {}
    for name in wanted:
        matches = [s for s in taxonomy.values() if name == s.id or name.lower() in s.names]
        if not matches:
            known = ", ".join(sorted(taxonomy[number].names[0] for number in present if number in taxonomy))
            raise InputError(f"ShapeNet below {release} knows no synset {name!r}; it holds: {known}.")
        waiting = [synset.id for synset in matches]
        seen: set[str] = set()
        while waiting:
            number = waiting.pop(0)
            if number in seen:
                continue
            seen.add(number)
            if number in taxonomy:
                waiting += taxonomy[number].children
            if number in present:
                chosen.setdefault(number, taxonomy[number])
    if not chosen:
        raise InputError(
            f"ShapeNet below {release}: none of the synsets {', '.join(wanted)} is there; found the folders "
            f"{', '.join(sorted(present))}."
        )
    return list(chosen.values())


def find_models(root: Path, synset: Synset) -> list[Model]:
    """All models of a synset, sorted by id: v2's models/model_normalized.obj, v1's model.obj.

    A folder without either is listed with the file it should have, so that a check names it.
    """
    release = find_release(root)
    models = []
    for folder in sorted((release / synset.id).iterdir()):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        candidates = (folder / "models" / "model_normalized.obj", folder / "model.obj")
        file = next(
            (path for path in candidates if path.is_file()), candidates[(folder / "models").is_dir() - 1]
        )
        models.append(Model(synset, folder.name, file.relative_to(root).as_posix()))
    return models


def _names(names: str) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in names.split(",") if name.strip())


def _is_synset_folder(path: Path) -> bool:
    return len(path.name) == 8 and path.name.isdigit() and path.is_dir()
