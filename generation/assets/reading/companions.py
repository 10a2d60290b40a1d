"""Finding the files that a mesh file names, without leaving the folder that the user gave."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from generation.assets.reading.pieces import UnusableMesh
from objnerf.dataset.untrusted import is_file, opened_picture
from objnerf.errors import InputError

#: Where downloads keep images: ShapeNetCore in images, ShapeNetSem and most shops in textures, Google Scanned
#: Objects in materials/textures.
_IMAGE_FOLDERS = ("images", "textures", "materials/textures", "texture", "maps")


MAX_TEXTURE_SIDE = 1024
"""Larger textures are made smaller: pictures of objects are a few hundred pixels wide."""


@dataclass(frozen=True)
class Surroundings:
    """Where a mesh file lies, and how far from it files may be read.

    Attributes:
        folder: of the file.
        root: the folder that the user gave; nothing outside is read, whatever the file says.
    """

    folder: Path
    root: Path

    @classmethod
    def of(cls, path: Path, root: Path | None = None) -> "Surroundings":
        """Without a root, the folder above the file's is the limit."""
        return cls(path.parent, path.parent.parent if root is None else root)

    def find(self, name: str, below: Path | None = None) -> Path | None:
        """The file of that name: as written, else by its bare name in folders for images near by.

        Backslashes part folders too; upper and lower case count as the same where nothing fits exactly.

        Args:
            name: as it stands in the file.
            below: the folder it is relative to; None for the mesh file's.
        """
        folder = self.folder if below is None else below
        written = PurePosixPath(name.strip().replace("\\", "/"))
        bare = written.name
        if not bare or "\0" in name:
            return None
        nearby = [base / subfolder / bare for base in (folder, folder.parent) for subfolder in _IMAGE_FOLDERS]
        candidates = [folder / written, folder / bare, *nearby]
        limit = self.root.resolve()
        for spelt in (_exactly, _any_case):
            for candidate in candidates:
                found = spelt(candidate)
                if found is not None and found.resolve().is_relative_to(limit):
                    return found
        return None

    def why_missing(self, name: str, below: Path | None = None) -> str:
        """The reason for which `find` found nothing."""
        written = (self.folder if below is None else below) / name.strip().replace("\\", "/")
        if "\0" not in name and is_file(written):
            return f"its file {name!r} lies outside of {self.root}, the folder that was given"
        return f"its file {name!r} is missing"


def decoded(content: bytes, name: str) -> Image.Image:
    """A texture from the bytes of a file.

    Raises:
        UnusableMesh: they are no image that can be read.
    """
    try:
        with opened_picture(content, "the file") as image:
            return image.copy()
    except InputError as error:
        # Pillow names the place in memory that it read from, which helps nobody
        unknown = "cannot identify" in str(error)
        reason = "it is no image of a known format" if unknown else str(error)
        raise UnusableMesh(f"its texture {name!r} can't be read ({reason})") from error


def _exactly(path: Path) -> Path | None:
    return path if is_file(path) else None


def _any_case(path: Path) -> Path | None:
    """The file as it would be found where case doesn't count: files made on Windows rely on it."""
    place = Path(path.anchor)
    for step in path.parts[1:] if path.anchor else path.parts:
        exact = place / step
        try:
            if step == ".." or exact.exists():
                place = exact
                continue
            alike = sorted(entry for entry in place.iterdir() if _folded(entry.name) == _folded(step))
        except OSError:  # a folder that may not be read, or a name too long
            return None
        if not alike:
            return None
        place = alike[0]
    return place if place.is_file() else None


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
