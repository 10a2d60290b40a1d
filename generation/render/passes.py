"""Take pictures: exact labels, depth and normals from one sample; surfaces and light from many.

The exact pass has its one sample at the centre of each pixel, so nothing is anti-aliased. Passes leave
Blender as an uncompressed 32-bit EXR in a temporary folder: the only door that loses nothing.
"""

import contextlib
import errno
import math
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
from jaxtyping import Float32, Integer

from generation.render.materials import DIFFUSE_COLOUR
from generation.render.oversampling import OVERSAMPLING
from objnerf.errors import WorkError

_BUNDLED = os.path.join(bpy.utils.system_resource("PYTHON"), "lib", f"python3.{sys.version_info.minor}")
if _BUNDLED not in sys.path:
    # At the end: Blender's own copies must not hide ours.
    sys.path.append(os.path.join(_BUNDLED, "site-packages"))
import OpenImageIO as oiio  # type: ignore[import-not-found]  # noqa: E402  (comes with bpy)

#: With less room than this for temporary files, a failed render is a full disk.
_LEAST_FREE_BYTES = 16 * 2**20


@dataclass(frozen=True)
class GeometryPass:
    """What one view shows, at pixel centres.

    Attributes:
        labels: 0 for the background, i for object i.
        depth: planar z-depth, world units.
        normal: unit surface normals, world axes, towards the camera.
    """

    labels: Integer[np.ndarray, "height width"]
    depth: Float32[np.ndarray, "height width"]
    normal: Float32[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class SurfacePass:
    """What surfaces look like without light, in one view; scene-linear, oversampled.

    Attributes:
        colour: their own.
        diffuse: as far as it scatters light: black for metals.
    """

    colour: Float32[np.ndarray, "height width 3"]
    diffuse: Float32[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class LightPass:
    """Scene-linear colour of one view before denoising, in two parts that add up to it; oversampled.

    Attributes:
        scattered: by surfaces, in their own colour.
        rest: mirrored, or from the sky.
        diffuse: that colour, of the very samples that `scattered` comes from.
        normal: guide of the denoiser.
    """

    scattered: Float32[np.ndarray, "height width 3"]
    rest: Float32[np.ndarray, "height width 3"]
    diffuse: Float32[np.ndarray, "height width 3"]
    normal: Float32[np.ndarray, "height width 3"]


def render_geometry(scene: bpy.types.Scene, folder: Path) -> GeometryPass:
    """One sample at every pixel's centre, at the camera's present pose.

    Args:
        scene: from `build_scene`, showing surfaces: labels and depth need no light.
        folder: for the temporary file.
    """
    cycles = scene.cycles
    cycles.samples, cycles.seed = 1, 0
    cycles.pixel_filter_type, cycles.filter_width = "BOX", 0.01
    channels = _render(scene, folder)
    return GeometryPass(
        labels=np.rint(channels["IndexOB.X"]).astype(np.int64),
        depth=channels["Depth.Z"],
        normal=_stack(channels, "Normal", "XYZ"),
    )


def render_surfaces(scene: bpy.types.Scene, folder: Path, samples: int, seed: int) -> SurfacePass:
    """Colours of surfaces with `samples` samples a pixel of the final image; the scene shows surfaces."""
    channels = _render_oversampled(scene, folder, samples, seed)
    return SurfacePass(_stack(channels, "Combined", "RGB"), _stack(channels, DIFFUSE_COLOUR, "RGB"))


def render_light(scene: bpy.types.Scene, folder: Path, samples: int, seed: int) -> LightPass:
    """Light with `samples` samples a pixel of the final image; the scene shows light."""
    channels = _render_oversampled(scene, folder, samples, seed)
    # Blender divides these passes by the colour with which it shades.
    scattered = _stack(channels, "DiffCol", "RGB") * (
        _stack(channels, "DiffDir", "RGB") + _stack(channels, "DiffInd", "RGB")
    )
    return LightPass(
        scattered=scattered,
        rest=_stack(channels, "Combined", "RGB") - scattered,
        diffuse=_stack(channels, DIFFUSE_COLOUR, "RGB"),
        normal=_stack(channels, "Denoising Normal", "XYZ"),
    )


def _render_oversampled(
    scene: bpy.types.Scene, folder: Path, samples: int, seed: int
) -> dict[str, Float32[np.ndarray, "tall wide"]]:
    """An image `OVERSAMPLING` times as large each way, with as many fewer samples a pixel.

    Without a pixel filter: the denoiser then sees edges where they are. `reduce_picture` makes it small.
    """
    cycles, render = scene.cycles, scene.render
    cycles.samples, cycles.seed = math.ceil(samples / OVERSAMPLING**2), seed % 2**31
    cycles.pixel_filter_type, cycles.filter_width = "BOX", 1.0
    width, height = render.resolution_x, render.resolution_y
    render.resolution_x, render.resolution_y = OVERSAMPLING * width, OVERSAMPLING * height
    try:
        return _render(scene, folder)
    finally:
        render.resolution_x, render.resolution_y = width, height


def _stack(
    channels: dict[str, Float32[np.ndarray, "height width"]], name: str, parts: str
) -> Float32[np.ndarray, "height width 3"]:
    return np.stack([channels[f"{name}.{part}"] for part in parts], axis=-1)


def _render(scene: bpy.types.Scene, folder: Path) -> dict[str, Float32[np.ndarray, "height width"]]:
    """Render and read back: channels by their name without the view layer's."""
    path = folder / "passes.exr"
    scene.render.filepath = str(path)
    try:
        bpy.ops.render.render(write_still=True, scene=scene.name)
    except RuntimeError as error:
        if shutil.disk_usage(folder).free < _LEAST_FREE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise WorkError(f"Blender rendered nothing: {error}") from error
    source = oiio.ImageInput.open(str(path))
    if source is None:
        raise WorkError(f"Blender's passes cannot be read: {oiio.geterror()}")
    with contextlib.closing(source):
        names = source.spec().channelnames
        pixels = source.read_image("float")
    path.unlink()
    return {
        name.split(".", 1)[1]: np.ascontiguousarray(pixels[..., i], dtype=np.float32)
        for i, name in enumerate(names)
    }
