"""Pre-flight of assets that are files: each is looked at once, and the verdict remembered by its content.

A verdict also holds the shape's bounding box and footprint, so that planning needs no mesh to be read again.
"""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from generation.assets import meshes, textures
from generation.assets.mesh import Extent, ShapeMesh
from generation.assets.meshes import (
    READER_VERSION,
    Fit,
    Front,
    Limits,
    Up,
    content_sha256,
    importer_of,
    load_mesh,
)
from generation.assets.reading.blender import cache_dir as default_cache_dir
from generation.assets.reading.pieces import UnusableMesh
from generation.assets.textures import UnusableTexture, is_seamless, read_texture, square_copies
from objnerf.dataset.files import atomic_path
from objnerf.errors import WorkError

logger = logging.getLogger(__name__)

_VERSION = 3
"""Raised when verdicts of an earlier version of this file no longer hold."""


@dataclass(frozen=True)
class Verdict:
    """What is known of a file.

    Attributes:
        sha256: of its content, companions included; empty where it can't be read at all.
        reason: why it can't be used; None where it can.
        size: bounding box of a shape, diagonal 1.
        footprint: corners of its convex hull seen from above.
        diagonal: of a shape's bounding box, in the file's unit.
        faces: number of triangles of a shape.
        mirrored: of a texture: its edges don't go together, so it is to be mirrored.
        across, down: of a texture: how many copies of it make about a square.
        notes: what a shape's file says and the shape doesn't show.
    """

    sha256: str
    reason: str | None = None
    size: tuple[float, float, float] | None = None
    footprint: tuple[tuple[float, float], ...] | None = None
    diagonal: float = 1.0
    faces: int = 0
    mirrored: bool = False
    across: int = 1
    down: int = 1
    notes: tuple[str, ...] = ()

    @property
    def extent(self) -> Extent:
        """Bounding box and footprint of a usable shape."""
        assert self.size is not None
        assert self.footprint is not None
        return Extent(np.array(self.size), np.array(self.footprint), self.diagonal)


class Inspector:
    """Looks at files, and remembers what it saw.

    Hashes are remembered by path, size and time of change, verdicts by hash; so a file is read in full once.
    A cache that can't be written is done without.
    """

    def __init__(self, cache_dir: Path | None = None, limits: Limits | None = None) -> None:
        self._folder = (cache_dir or default_cache_dir()) / "assets"
        self._limits = limits or Limits()

    def shape(
        self, path: Path, up: Up, front: Front = "+z", root: Path | None = None, fit: Fit | None = None
    ) -> Verdict:
        """Verdict about a mesh file; nothing outside of `root` is read."""
        if not path.is_file():
            return Verdict("", "the file is not there")
        if path.stat().st_size > self._limits.max_file_mb * 1e6:
            # not even hashed: it may have any size
            size_mb = path.stat().st_size / 1e6
            return Verdict(
                "", f"the file has {size_mb:.1f} MB, more than the limit of {self._limits.max_file_mb:g} MB"
            )
        try:
            sha256 = self._hash(path, root)
        except UnusableMesh as error:
            return Verdict("", str(error))
        except OSError as error:
            return Verdict("", f"can't be read ({error})")
        fitted = () if fit is None else (asdict(fit),)
        key = _key(
            "shape", sha256, up, front, asdict(self._limits), READER_VERSION, importer_of(path), *fitted
        )
        known = self._recall(key)
        if known is not None:
            return known
        try:
            mesh = load_mesh(path, up, front, self._limits, root, fit)
            footprint = mesh.footprint()
        except (UnusableMesh, ValueError) as error:
            verdict = Verdict(sha256, str(error))
        else:
            width, depth, height = mesh.size.tolist()
            corners = tuple((float(x), float(y)) for x, y in footprint)
            verdict = Verdict(
                sha256,
                None,
                (width, depth, height),
                corners,
                mesh.diagonal,
                len(mesh.faces),
                notes=mesh.notes,
            )
        self._remember(key, verdict)
        return verdict

    def texture(self, path: Path) -> Verdict:
        """Verdict about an image."""
        try:
            sha256 = self._hash(path)
        except OSError as error:
            return Verdict("", f"can't be read ({error})")
        key = _key("texture", sha256)
        known = self._recall(key)
        if known is not None:
            return known
        try:
            image = read_texture(path)
            across, down = square_copies(image.width, image.height)
            verdict = Verdict(sha256, mirrored=not is_seamless(image), across=across, down=down)
        except UnusableTexture as error:
            verdict = Verdict(sha256, str(error))
        self._remember(key, verdict)
        return verdict

    def _hash(self, path: Path, root: Path | None = None) -> str:
        """Hash of a mesh with its companions, or of an image."""
        is_mesh = path.suffix.lower() not in textures.SUFFIXES
        place = _key("place", str(path.absolute()), str(root))
        known = self._read("files", place)
        if known is not None and all(_stamp(Path(name)) == stamp for name, stamp in known["stamps"].items()):
            return str(known["sha256"])
        if not is_mesh:
            sha256, files = hashlib.sha256(path.read_bytes()).hexdigest(), [path]
        else:
            named = meshes.companions(path, root)
            sha256 = content_sha256(path, root)
            # a missing companion is stamped too, so that it is seen when it appears; so are folders, in which
            # another file may come to fit better
            files = [path, *(found if found is not None else path.parent / name for name, found in named)]
            files += dict.fromkeys(file.parent for file in files)
        self._write(
            "files",
            place,
            {"sha256": sha256, "stamps": {str(file.absolute()): _stamp(file) for file in files}},
        )
        return sha256

    def _recall(self, key: str) -> Verdict | None:
        known = self._read("verdicts", key)
        if known is None:
            return None
        try:
            size, footprint, notes = known.pop("size"), known.pop("footprint"), known.pop("notes")
            return Verdict(
                **known,
                notes=tuple(notes),
                size=None if size is None else tuple(size),
                footprint=None if footprint is None else tuple((x, y) for x, y in footprint),
            )
        except (KeyError, TypeError, ValueError):
            return None

    def _remember(self, key: str, verdict: Verdict) -> None:
        self._write("verdicts", key, asdict(verdict))

    def _path(self, kind: str, key: str) -> Path:
        return self._folder / kind / key[:2] / f"{key}.json"

    def _read(self, kind: str, key: str) -> dict | None:
        try:
            content = json.loads(self._path(kind, key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    def _write(self, kind: str, key: str, content: dict) -> None:
        path = self._path(kind, key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(content), encoding="utf-8")
        except OSError as error:
            logger.debug("verdict not remembered at %s: %s", path, error)


def load_checked(
    path: Path,
    asset_id: str,
    sha256: str,
    up: Up,
    front: Front,
    limits: Limits,
    root: Path,
    fit: Fit | None = None,
) -> ShapeMesh:
    """The mesh of an asset, if its files are still those it was planned with.

    Raises:
        WorkError: they are gone, changed or can't be used.
    """
    try:
        if content_sha256(path, root) != sha256:
            raise WorkError(
                f"asset {asset_id}: {path} is not the file that the scene was planned with "
                "(checksums differ)."
            )
        return load_mesh(path, up, front, limits, root, fit)
    except (OSError, UnusableMesh) as error:
        raise WorkError(f"asset {asset_id}: {path}: {error}") from error


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps([_VERSION, *parts], sort_keys=True).encode()).hexdigest()


def _stamp(path: Path) -> list[int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]
