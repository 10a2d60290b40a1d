"""Downloads that the manifest allows: verified by checksum, resumed where they broke off, never half."""

import contextlib
import hashlib
import json
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any

from generation.assets.manifest import Download, Manifest
from objnerf.dataset.files import atomic_path
from objnerf.errors import InputError, WorkError

logger = logging.getLogger(__name__)

_TIMEOUT_S = 30.0
_CHUNK = 1 << 16
LICENCES = "licences.json"
"""Beside downloaded files: licence, origin and checksum by file name; read with --meshes and --textures."""


def choose_downloads(manifest: Manifest, names: Sequence[str]) -> list[Download]:
    """The downloads of these names; all of them for no names.

    Raises:
        InputError: a name that isn't there, or a manifest without downloads.
    """
    known = {download.name: download for download in manifest.downloads}
    unknown = [name for name in names if name not in known]
    if unknown or not known:
        offered = ", ".join(known) or "none"
        raise InputError(f"the manifest has no download {(unknown or ['at all'])[0]!r}; it has: {offered}.")
    return [known[name] for name in names] if names else list(known.values())


def fetch(download: Download, folder: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """Download a file into a folder, unless it is already there and whole.

    Args:
        download: what, from where, and its checksum.
        folder: where to; made if need be.
        progress: called with (bytes so far, bytes in all).
    Returns:
        The file.
    Raises:
        WorkError: the server can't be reached or refuses, or what it sends is not what the manifest says.
    """
    target = folder / download.file
    partial = folder / f".{download.file}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if target.is_file() and _sha256(target) == download.sha256:
            _note_licence(folder, download)
            return target
        _receive(download, partial, progress)
        found = _sha256(partial)
        if found != download.sha256:
            partial.unlink()
            raise WorkError(
                f"{download.name}: {download.url} sent a file with checksum {found}, and the manifest "
                f"says {download.sha256}. It was thrown away. Check the URL; change the "
                "manifest only if you trust what is there."
            )
        os.replace(partial, target)
        _note_licence(folder, download)
    except (urllib.error.URLError, HTTPException, TimeoutError) as error:
        reason = getattr(error, "reason", error)
        raise WorkError(
            f"{download.name}: {download.url} can't be downloaded ({reason}). Run the command again to go on "
            "where it broke off."
        ) from error
    except OSError as error:
        raise WorkError(f"{download.name}: can't be written to {folder} ({error}).") from error
    return target


class _SecureRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to anything else."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if req.type == "https" and not newurl.lower().startswith("https://"):
            raise urllib.error.URLError(f"it redirects to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _receive(download: Download, partial: Path, progress: Callable[[int, int], None] | None) -> None:
    """Fill `partial`, from where an earlier try left off if the server can."""
    have = partial.stat().st_size if partial.is_file() else 0
    if have > download.size_bytes:
        partial.unlink()
        have = 0
    if have == download.size_bytes:
        return
    headers = {"User-Agent": "objnerf", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(download.url, headers=headers)
    opener = urllib.request.build_opener(_SecureRedirects)
    with opener.open(request, timeout=_TIMEOUT_S) as response:
        if have and response.status != 206:
            # this server sends everything again
            have = 0
        with partial.open("ab" if have else "wb") as file:
            while chunk := response.read(_CHUNK):
                have += len(chunk)
                if have > download.size_bytes:
                    file.close()
                    partial.unlink()
                    raise WorkError(
                        f"{download.name}: {download.url} sends more than the {download.size_bytes} "
                        "bytes that the manifest says; stopped."
                    )
                file.write(chunk)
                if progress is not None:
                    progress(have, download.size_bytes)
    if have < download.size_bytes:
        raise TimeoutError(f"the connection ended after {have} of {download.size_bytes} bytes")


def _note_licence(folder: Path, download: Download) -> None:
    notes = read_licences(folder)
    notes[download.file] = {
        "name": download.name,
        "licence": download.licence,
        "origin": download.origin or download.url,
        "sha256": download.sha256,
    }
    with atomic_path(folder / LICENCES) as temporary:
        temporary.write_text(json.dumps(notes, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_licences(folder: Path) -> dict[str, dict[str, str]]:
    """Licences noted beside downloaded files, by file name; empty where there is no such note."""
    notes: dict[str, dict[str, str]] = {}
    with contextlib.suppress(OSError, ValueError):
        content = json.loads((folder / LICENCES).read_text(encoding="utf-8"))
        if isinstance(content, dict):
            notes = {name: note for name, note in content.items() if isinstance(note, dict)}
    return notes


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
