"""Open Image Denoise, called directly: the library that bpy brings, without Blender's fixed cost an image.

Blender's own denoising sets up a device and compiles the network for every image. One device and one filter
a process, run on one thread, make the cost proportional to the pixels, and the result repeatable.
"""

import ctypes
from pathlib import Path

import bpy
import numpy as np
from jaxtyping import Float32

from objnerf.errors import WorkError

# From oidn.h of version 2, the stable C interface.
_DEVICE_TYPE_CPU = 1
_FORMAT_FLOAT3 = 3
_QUALITY_FAST, _QUALITY_BALANCED = 4, 5


def _library_path() -> Path:
    home = Path(bpy.utils.resource_path("LOCAL")).parent
    patterns = (
        "lib/libOpenImageDenoise.so.2*",
        "lib/libOpenImageDenoise.2*.dylib",
        "**/OpenImageDenoise.dll",
    )
    for pattern in patterns:
        for path in sorted(home.glob(pattern)):
            return path
    raise WorkError(f"bpy at {home} was built without its Open Image Denoise library; reinstall bpy 4.5")


def _load() -> ctypes.CDLL:
    library = ctypes.CDLL(str(_library_path()))
    pointer, size, text = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p
    signatures: dict[str, tuple[object, list[object]]] = {
        "oidnNewDevice": (pointer, [ctypes.c_int]),
        "oidnSetDeviceInt": (None, [pointer, text, ctypes.c_int]),
        "oidnSetDeviceBool": (None, [pointer, text, ctypes.c_bool]),
        "oidnCommitDevice": (None, [pointer]),
        "oidnGetDeviceError": (ctypes.c_int, [pointer, ctypes.POINTER(text)]),
        "oidnNewFilter": (pointer, [pointer, text]),
        "oidnSetSharedFilterImage": (None, [pointer, text, pointer, ctypes.c_int, *[size] * 5]),
        "oidnSetFilterInt": (None, [pointer, text, ctypes.c_int]),
        "oidnSetFilterBool": (None, [pointer, text, ctypes.c_bool]),
        "oidnCommitFilter": (None, [pointer]),
        "oidnExecuteFilter": (None, [pointer]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Denoiser:
    """Denoises images of one size, guided by normals, on one thread."""

    def __init__(self, width: int, height: int, *, fast: bool = False) -> None:
        """`fast`: the smallest network, in a third of the time: good enough for what is small."""
        self._oidn = _load()
        self._device = self._oidn.oidnNewDevice(_DEVICE_TYPE_CPU)
        self._oidn.oidnSetDeviceInt(self._device, b"numThreads", 1)
        self._oidn.oidnSetDeviceBool(self._device, b"setAffinity", False)
        self._oidn.oidnCommitDevice(self._device)
        shape = (height, width, 3)
        names = ("color", "albedo", "normal", "output")
        # The library wants albedo beside normals. One grey everywhere says: what is denoised is not surface.
        self._images = {name: np.ones(shape, dtype=np.float32) for name in names}
        # A pinhole camera and things that stand still: the guides' only noise is that of a pixel's own
        # edge, so they count as clean. Cleaning them first gains nothing and costs five times as much.
        self._filter = self._oidn.oidnNewFilter(self._device, b"RT")
        for name, image in self._images.items():
            self._oidn.oidnSetSharedFilterImage(
                self._filter, name.encode(), image.ctypes.data, _FORMAT_FLOAT3, width, height, 0, 0, 0
            )
        self._oidn.oidnSetFilterBool(self._filter, b"hdr", True)
        self._oidn.oidnSetFilterBool(self._filter, b"cleanAux", True)
        self._oidn.oidnSetFilterInt(self._filter, b"quality", _QUALITY_FAST if fast else _QUALITY_BALANCED)
        self._oidn.oidnCommitFilter(self._filter)
        self._check()

    def __call__(
        self,
        light: Float32[np.ndarray, "height width 3"],
        normal: Float32[np.ndarray, "height width 3"],
    ) -> Float32[np.ndarray, "height width 3"]:
        """Scene-linear light without noise.

        Raises:
            ValueError: the images have another size than the denoiser.
            WorkError: the library failed.
        """
        for name, image in (("color", light), ("normal", normal)):
            if image.shape != self._images[name].shape:
                raise ValueError(f"expected {name} of shape {self._images[name].shape}, got {image.shape}")
            self._images[name][...] = image
        self._oidn.oidnExecuteFilter(self._filter)
        self._check()
        return self._images["output"].copy()

    def _check(self) -> None:
        message = ctypes.c_char_p()
        if self._oidn.oidnGetDeviceError(self._device, ctypes.byref(message)) != 0:
            text = (message.value or b"unknown error").decode(errors="replace")
            raise WorkError(f"Open Image Denoise failed: {text}")
