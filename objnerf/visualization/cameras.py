"""One call for an image of cameras in any of the four formats."""

import os
from collections.abc import Callable
from pathlib import Path

from objnerf.errors import InputError
from objnerf.visualization.camera_plot import CameraPlot
from objnerf.visualization.html import write_html
from objnerf.visualization.image import write_png
from objnerf.visualization.mesh import write_glb, write_ply

_WRITERS: dict[str, Callable[[CameraPlot, Path], Path]] = {
    ".html": write_html,
    ".glb": write_glb,
    ".ply": write_ply,
    ".png": write_png,
}

CAMERA_SUFFIXES = tuple(_WRITERS)

#: The formats that show what the cameras saw.
WITH_THUMBNAILS = (".html", ".glb")


def write_cameras(plot: CameraPlot, path: str | os.PathLike[str]) -> Path:
    """Write a plot as the suffix of `path` says: `.html`, `.glb`, `.ply` or `.png`. Atomic.

    Raises:
        InputError: another suffix.
    """
    path = Path(path)
    check_suffix(path)
    return _WRITERS[path.suffix.lower()](plot, path)


def check_suffix(path: Path) -> None:
    """Refuse a path whose suffix is no format for cameras, before any work is done.

    Raises:
        InputError: as said.
    """
    if path.suffix.lower() not in _WRITERS:
        found = path.suffix or "a name without suffix"
        raise InputError(
            f"{path}: the suffix chooses the format; expected one of {', '.join(CAMERA_SUFFIXES)}, "
            f"found {found}"
        )
