"""The optional parts of the distribution: which extra brings which library.

``pip install objnerf`` brings what the dataset format, the validator, the converters and plots of cameras
need. The heavy libraries come with extras (pyproject.toml), and whoever calls a function whose extra is not
installed gets its name in a message.
"""

import sys

from objnerf.errors import InputError

#: Name of each optional library, as it is imported, and the extra that brings it.
EXTRA_OF = {
    "bpy": "generate",
    "DracoPy": "generate",
    "manifold3d": "generate",
    "mapbox_earcut": "generate",
    "shapely": "generate",
    "safetensors": "train",
    "skimage": "train",
    "sklearn": "train",
    "tensorboard": "train",
    "torch": "train",
    "torchmetrics": "train",
    "cv2": "photo",
    "h5py": "hdf5",
    "pyarrow": "publish",
    "pycocotools": "publish",
    "imageio": "video",
    "imageio_ffmpeg": "video",
    "ray": "cluster",
    "torchvision": "lpips",
    "viser": "viewer",
}

#: Libraries of two extras, distinguished by the package of ours that imports them.
SHARED = {"scipy": {"generation": "generate", "objnerf": "train"}}


class MissingExtraError(InputError, ImportError):
    """An optional library is not installed; the message names the extra that brings it."""


def missing_extra(error: ModuleNotFoundError, purpose: str) -> MissingExtraError | None:
    """What to raise in place of a failed import of an optional library.

    Args:
        error: raised by the import statement.
        purpose: what needs the library, such as "objnerf train".
    Returns:
        The error to raise; None where the library is not an optional one, so that ``error`` is a defect.
    """
    library = (error.name or "").split(".")[0]
    extra = EXTRA_OF.get(library) or SHARED.get(library, {}).get(_importer(error))
    if extra is None:
        return None
    hint = ""
    if library == "bpy" and sys.version_info[:2] != (3, 11):
        version = ".".join(map(str, sys.version_info[:2]))
        hint = f" under Python 3.11, the only one that bpy 4.5 exists for (this is {version})"
    return MissingExtraError(
        f"{purpose} needs {library}, which is not installed: pip install 'objnerf[{extra}]'{hint}"
    )


def _importer(error: ModuleNotFoundError) -> str:
    """The top-level package of ours whose import statement failed."""
    found, trace = "", error.__traceback__
    while trace is not None:
        package = str(trace.tb_frame.f_globals.get("__name__", "")).split(".")[0]
        if package in ("generation", "objnerf"):
            found = package
        trace = trace.tb_next
    return found
