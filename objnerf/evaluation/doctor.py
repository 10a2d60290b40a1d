"""What a machine has for each part of the work, and what is missing for what.

Only the standard library is imported before a part is looked at, and looking never raises: a doctor that
needs a healthy patient is of no use.
"""

import importlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

State = Literal["ok", "missing", "broken"]


@dataclass(frozen=True)
class Finding:
    """One part of the machine."""

    name: str
    state: State
    """``missing`` for what can be done without; ``broken`` for what is there and does not work."""
    detail: str


#: Optional packages: name in pip, name in Python, what needs it, the extra that brings it.
OPTIONAL = (
    ("viser", "viser", "the live viewer (objnerf view)", "viewer"),
    ("ray", "ray", "generation on a cluster (objnerf generate --engine ray)", "cluster"),
    (
        "opencv-python-headless",
        "cv2",
        "captures and the photo check (objnerf convert --undistort, validate --photo)",
        "photo",
    ),
    ("torchvision", "torchvision", "LPIPS, and VGG16 weights for the perceptual loss", "lpips"),
    ("imageio-ffmpeg", "imageio_ffmpeg", "MP4 files (objnerf render --out x.mp4)", "video"),
)

#: The system libraries that Blender's module loads and does not bring, with the Debian (Ubuntu) package of
#: each. Headless rendering opens no window, and still none of them may be missing.
SYSTEM_LIBRARIES = {
    "libX11.so.6": "libx11-6",
    "libXext.so.6": "libxext6",
    "libXfixes.so.3": "libxfixes3",
    "libXi.so.6": "libxi6",
    "libXrender.so.1": "libxrender1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libSM.so.6": "libsm6",
    "libICE.so.6": "libice6",
    "libGL.so.1": "libgl1",
}

_BLENDER_START_S = 120.0

#: Packages of the base installation, and those that the two large extras bring beside bpy and torch.
BASE = ("numpy", "pillow", "pydantic", "plotly", "trimesh")
PARTS = {
    "generate": ("DracoPy", "manifold3d", "mapbox_earcut", "scipy", "shapely"),
    "train": ("safetensors", "scikit-image", "scikit-learn", "scipy", "tensorboard", "torchmetrics"),
}


def examine() -> list[Finding]:
    """Look at every part; the result is never empty and looking never raises."""
    looks: list[Callable[..., Finding]] = [
        _python,
        _machine,
        _base,
        _blender,
        partial(_part, "generate"),
        _torch,
        partial(_part, "train"),
        _gpu,
        *(partial(_optional, *entry) for entry in OPTIONAL),
        _lpips_weights,
        _disk,
    ]
    found = []
    for look in looks:
        try:
            found.append(look())
        except Exception as error:  # whatever a half-installed package does when it is imported
            name = look.args[0] if isinstance(look, partial) else look.__name__.strip("_")
            found.append(Finding(name, "broken", _first_line(error)))
    return found


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info[:2] == (3, 11):
        return Finding("Python", "ok", f"{version} at {sys.executable}")
    return Finding(
        "Python", "missing", f"{version}: everything but `generate` works; bpy 4.5 needs Python 3.11"
    )


def _machine() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    detail = (
        f"{os.cpu_count() or 1} CPU cores, {memory.total / 2**30:.0f} GiB of memory, "
        f"{memory.available / 2**30:.0f} GiB free, {platform.system()} {platform.machine()}"
    )
    return Finding("machine", "ok", detail)


def _base() -> Finding:
    versions = {name: _version(name) for name in BASE}
    lacking = [name for name, version in versions.items() if version is None]
    if lacking:
        return Finding("packages", "broken", f"not installed: {', '.join(lacking)}; pip install objnerf")
    return Finding("packages", "ok", ", ".join(f"{name} {version}" for name, version in versions.items()))


def _part(extra: str) -> Finding:
    versions = {name: _version(name) for name in PARTS[extra]}
    lacking = [name for name, version in versions.items() if version is None]
    if lacking:
        detail = f"not installed: {', '.join(lacking)}; pip install 'objnerf[{extra}]'"
        return Finding(f"extra {extra}", "missing", detail)
    detail = ", ".join(f"{name} {version}" for name, version in versions.items())
    return Finding(f"extra {extra}", "ok", detail)


def _blender() -> Finding:
    version = _version("bpy")
    if version is None:
        return Finding(
            "Blender (bpy)",
            "missing",
            "not installed: rendering needs bpy 4.5 (Python 3.11); pip install 'objnerf[generate]'",
        )
    # In a process of its own: Blender does not leave one that it was loaded into.
    code = "import bpy; print('loaded', bpy.app.version_string)"
    try:
        run = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=_BLENDER_START_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finding("Blender (bpy)", "broken", f"{version} did not load within {_BLENDER_START_S:.0f} s")
    if run.returncode == 0 and "loaded" in run.stdout:
        return Finding("Blender (bpy)", "ok", f"{version} loads: `generate` can render on the CPU")
    missing = missing_libraries(run.stderr)
    if missing:
        return Finding("Blender (bpy)", "broken", f"{version} does not load: {_install(missing)}")
    last = run.stderr.strip().splitlines()[-1:] or [f"the process ended with status {run.returncode}"]
    return Finding("Blender (bpy)", "broken", f"{version} does not load: {last[0]}")


def missing_libraries(message: str) -> list[str]:
    """File names of the shared libraries that Blender's module lacks.

    Args:
        message: what importing it said. The loader names only the first library that is missing; where
            `ldd` is there, it names them all.
    """
    named = re.findall(r"([\w.+-]+\.so[\w.]*): cannot open shared object file", message)
    if not named:
        return []
    spec = find_spec("bpy")
    if spec is not None and spec.origin is not None and shutil.which("ldd"):
        # bpy is a package; its code is one library beside the Python file.
        library = Path(spec.origin).parent / "__init__.so"
        listed = subprocess.run(["ldd", str(library)], capture_output=True, text=True, check=False).stdout
        named += re.findall(r"(\S+) => not found", listed)
    return list(dict.fromkeys(named))


def _install(libraries: list[str]) -> str:
    """Which libraries are missing, and the packages that bring them."""
    packages = [SYSTEM_LIBRARIES[name] for name in libraries if name in SYSTEM_LIBRARIES]
    text = f"missing {'library' if len(libraries) == 1 else 'libraries'} {', '.join(libraries)}"
    if packages:
        text += f"; on Debian and Ubuntu: apt-get install {' '.join(packages)}"
    return text


def _torch() -> Finding:
    if _version("torch") is None:
        return Finding(
            "torch",
            "missing",
            "not installed: train, evaluate, render, edit and export need it; pip install 'objnerf[train]'",
        )
    torch = importlib.import_module("torch")
    return Finding("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")


def _gpu() -> Finding:
    if _version("torch") is None:
        return Finding("GPU", "missing", "unknown without torch")
    torch = importlib.import_module("torch")
    if torch.cuda.is_available():
        cards = []
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            cards.append(f"{properties.name} ({properties.total_memory / 2**30:.0f} GiB)")
        return Finding("GPU", "ok", ", ".join(cards))
    if torch.backends.mps.is_available():
        return Finding("GPU", "ok", "Apple (mps)")
    build = "built for CUDA " + torch.version.cuda if torch.version.cuda else "a CPU build"
    return Finding("GPU", "missing", f"none that torch can use (torch is {build}); the full recipes want one")


def _optional(package: str, module: str, purpose: str, extra: str) -> Finding:
    version = _version(package)
    if version is None:
        return Finding(package, "missing", f"not installed: {purpose}; pip install 'objnerf[{extra}]'")
    try:
        importlib.import_module(module)
    except Exception as error:  # a package built for another version of its neighbour
        return Finding(package, "broken", f"{version} does not load ({_first_line(error)}): {purpose}")
    return Finding(package, "ok", f"{version}: {purpose}")


def _lpips_weights() -> Finding:
    if _version("torch") is None:
        return Finding("LPIPS weights", "missing", "unknown without torch")
    from objnerf.evaluation.metrics import alexnet_weights

    path = alexnet_weights()
    if path.is_file():
        return Finding("LPIPS weights", "ok", str(path))
    return Finding("LPIPS weights", "missing", f"no {path}: LPIPS is null without them")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    return Finding("disk", "ok" if free > 1 else "missing", f"{free:.0f} GiB free here")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _first_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 120 else text[:117] + "..."
