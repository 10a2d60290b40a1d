"""Formats that Blender imports: made into GLB once, in a process of its own, and remembered by their content.

The process sees copies of the file and of the images near it in a folder of its own, runs no scripts of the
file and no drivers, and ends after a while whatever happens.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from urllib.parse import quote

import generation
from generation.assets.reading import gltf
from generation.assets.reading.pieces import Reading, UnusableMesh
from objnerf.dataset.files import atomic_path

SUFFIXES = (".fbx", ".dae", ".usd", ".usda", ".usdc", ".usdz", ".blend")

VERSION = 1
"""Raised when the importer gives another result for the same file and Blender."""

_IMAGES = (".png", ".jpg", ".jpeg", ".tga", ".tif", ".tiff", ".bmp", ".webp", ".exr", ".hdr", ".dds")
#: Layers that a USD file is made of, beside images.
_LAYERS = (".usd", ".usda", ".usdc")
_FOLDERS = ("", "textures", "images", "texture", "maps", "materials/textures")
_TIMEOUT_S = 180.0


@cache
def importer() -> str | None:
    """Which Blender imports, and with which version of this module; None without Blender."""
    try:
        return f"bpy {importlib.metadata.version('bpy')}, importer {VERSION}"
    except importlib.metadata.PackageNotFoundError:
        return None


def companions(path: Path, root: Path | None = None) -> list[tuple[str, Path | None]]:
    """Images (for USD also layers) in the file's folder and in folders for images beside and above it.

    Where the names in a file can be read, only those that it holds.
    """
    limit = (path.parent.parent if root is None else root).resolve()
    suffixes = _IMAGES + (_LAYERS if path.suffix.lower() in _LAYERS else ())
    text = path.read_bytes() if path.suffix.lower() in (".fbx", ".dae", ".usda") else None
    named: dict[str, Path | None] = {}
    for base in ("", ".."):
        for name in _FOLDERS if not base else _FOLDERS[1:]:
            folder = path.parent / base / name
            if not folder.is_dir() or not folder.resolve().is_relative_to(limit):
                continue
            for file in sorted(folder.iterdir()):
                fits = file.suffix.lower() in suffixes and file != path and file.is_file()
                if fits and (text is None or _mentions(text, file.name)):
                    named.setdefault(os.path.relpath(file, path.parent), file)
    return list(named.items())


def _mentions(text: bytes, name: str) -> bool:
    return name.encode() in text or quote(name).encode() in text


def read_imported(path: Path, root: Path | None = None) -> Reading:
    """Triangles of a file that Blender imports, y up.

    Raises:
        UnusableMesh: there is no Blender, or it can't import the file in time.
    """
    version = importer()
    if version is None:
        raise UnusableMesh(
            f"{path.suffix} files are read by Blender, which is not installed: pip install bpy"
        )
    files = companions(path, root)
    digest = hashlib.sha256(f"{version}{path.suffix.lower()}".encode())
    for file in (path, *(found for _, found in files if found is not None)):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    with contextlib.ExitStack() as stack:
        folder = cache_dir() / "imported"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            # a cache that can't be written is done without
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="objnerf-import-")))
        kept = folder / f"{digest.hexdigest()}.glb"
        notes = kept.with_suffix(".json")
        # the notes come last: their being there says that both are whole
        if not notes.is_file():
            with atomic_path(notes) as new_notes, atomic_path(kept) as new:
                new_notes.write_text(json.dumps(convert(path, files, new)), encoding="utf-8")
        reading = gltf.read_gltf(kept)
        return Reading(reading.pieces, (*json.loads(notes.read_text(encoding="utf-8")), *reading.notes))


def convert(path: Path, files: list[tuple[str, Path | None]], target: Path) -> list[str]:
    """Import a file in a process of its own and write it as GLB.

    Args:
        path: of one of SUFFIXES, or another format that Blender imports.
        files: what goes with it, by its place relative to the file's folder.
        target: the GLB.
    Returns:
        What Blender could not take over.
    Raises:
        UnusableMesh: it can't be imported, or not in time.
    """
    with tempfile.TemporaryDirectory(prefix="objnerf-import-") as name:
        # the file's own folder lies two deep, so that '../textures' stays inside
        stage = Path(name) / "root" / "folder"
        stage.mkdir(parents=True)
        source = stage / f"model{path.suffix.lower()}"
        shutil.copyfile(path, source)
        for relative, found in files:
            if found is not None:
                copy = Path(os.path.normpath(stage / relative))
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(found, copy)
        result = Path(name) / "model.glb"
        package = str(Path(generation.__file__).resolve().parents[1])
        search_path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
        try:
            done = subprocess.run(
                [sys.executable, "-m", "generation.render.importer", str(source), str(result)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TIMEOUT_S,
                env={**os.environ, "PYTHONPATH": search_path},
                cwd=stage,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise UnusableMesh(f"Blender took more than {_TIMEOUT_S:g} s to import it") from None
        report = result.with_suffix(".json")
        if not report.is_file():
            words = done.stderr.decode(errors="replace").strip().splitlines()
            last = f": {words[-1][:200]}" if words else ""
            raise UnusableMesh(f"Blender can't import it (status {done.returncode}{last})")
        said = json.loads(report.read_text(encoding="utf-8"))
        if "error" in said:
            raise UnusableMesh(f"Blender can't import it ({said['error']})")
        shutil.copyfile(result, target)
        return [str(note) for note in said["notes"]]


def cache_dir() -> Path:
    """Where what was looked at is remembered: $OBJNERF_CACHE, else the user's cache folder."""
    named = os.environ.get("OBJNERF_CACHE")
    if named:
        return Path(named)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "objnerf"
    except RuntimeError:
        # a container whose user has no entry and no HOME
        return Path(tempfile.gettempdir()) / f"objnerf-{os.getuid()}"
