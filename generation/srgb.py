"""Scene-linear light as 8-bit sRGB: Blender's "Standard" view, without dithering."""

import numpy as np
from jaxtyping import Float, Float32, UInt8


def linear_from_srgb(srgb: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Scene-linear values of sRGB ones in [0, 1] (IEC 61966-2-1)."""
    linear: np.ndarray = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return linear


def srgb_from_linear(linear: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """sRGB of scene-linear values, clipped to [0, 1]; the inverse of `linear_from_srgb`."""
    clipped = np.clip(linear, 0.0, 1.0)
    srgb: np.ndarray = np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * clipped ** (1 / 2.4) - 0.055)
    return srgb


def quantised(linear: Float32[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """8-bit sRGB without dithering."""
    return np.rint(srgb_from_linear(linear.astype(np.float64)) * 255.0).astype(np.uint8)
