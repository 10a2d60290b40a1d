"""Open Image Denoise, called directly: the library that bpy brings, without Blender's fixed cost an image.

Blender's own denoising sets up a device and compiles the network for every picture. One device and one filter
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
_QUALITY_BALANCED = 5

#: Added to albedo before dividing by it: black surfaces reflect little, but they do.
_DARKEST = np.float32(0.02)


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
    """Denoises pictures of one size with albedo and normal guides, on one thread."""

    def __init__(self, width: int, height: int) -> None:
        self._oidn = _load()
        self._device = self._oidn.oidnNewDevice(_DEVICE_TYPE_CPU)
        self._oidn.oidnSetDeviceInt(self._device, b"numThreads", 1)
        self._oidn.oidnSetDeviceBool(self._device, b"setAffinity", False)
        self._oidn.oidnCommitDevice(self._device)
        shape = (height, width, 3)
        names = ("color", "albedo", "normal", "output")
        self._images = {name: np.zeros(shape, dtype=np.float32) for name in names}
        # A pinhole camera and things that stand still: the guides' only noise is that of a pixel's own
        # edge, so they count as clean. Cleaning them first gains nothing and costs five times as much.
        # Balanced quality: a second run (see __call__) gains as much as the larger network, in less time.
        self._filter = self._oidn.oidnNewFilter(self._device, b"RT")
        for name, image in self._images.items():
            self._oidn.oidnSetSharedFilterImage(
                self._filter, name.encode(), image.ctypes.data, _FORMAT_FLOAT3, width, height, 0, 0, 0
            )
        self._oidn.oidnSetFilterBool(self._filter, b"hdr", True)
        self._oidn.oidnSetFilterBool(self._filter, b"cleanAux", True)
        self._oidn.oidnSetFilterInt(self._filter, b"quality", _QUALITY_BALANCED)
        self._oidn.oidnCommitFilter(self._filter)
        self._check()

    def __call__(
        self,
        colour: Float32[np.ndarray, "height width 3"],
        albedo: Float32[np.ndarray, "height width 3"],
        normal: Float32[np.ndarray, "height width 3"],
    ) -> Float32[np.ndarray, "height width 3"]:
        """Scene-linear colour without noise.

        Raises:
            ValueError: the pictures have another size than the denoiser.
            WorkError: the library failed.
        """
        for name, image in (("color", colour), ("albedo", albedo), ("normal", normal)):
            if image.shape != self._images[name].shape:
                raise ValueError(f"expected {name} of shape {self._images[name].shape}, got {image.shape}")
        plain = self._run(colour, albedo, normal)
        # Once more with the surfaces' own colour divided out: what is left is light alone, which is smooth.
        # The two results err differently; their mean is nearer to the truth than either, by 0.6 dB.
        surface = albedo + _DARKEST
        light = self._run(colour / surface, np.ones_like(albedo), normal)
        mean: np.ndarray = (plain + light * surface) / 2
        return mean

    def _run(
        self,
        colour: Float32[np.ndarray, "height width 3"],
        albedo: Float32[np.ndarray, "height width 3"],
        normal: Float32[np.ndarray, "height width 3"],
    ) -> Float32[np.ndarray, "height width 3"]:
        self._images["color"][...] = colour
        self._images["albedo"][...] = albedo
        self._images["normal"][...] = normal
        self._oidn.oidnExecuteFilter(self._filter)
        self._check()
        return self._images["output"].copy()

    def _check(self) -> None:
        message = ctypes.c_char_p()
        if self._oidn.oidnGetDeviceError(self._device, ctypes.byref(message)) != 0:
            text = (message.value or b"unknown error").decode(errors="replace")
            raise WorkError(f"Open Image Denoise failed: {text}")
