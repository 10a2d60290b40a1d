"""Textures of mesh files, as 8-bit arrays."""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from generation.srgb import linear_from_srgb, srgb_from_linear
from objnerf.dataset.files import eight_bits


def pixels_of(image: Image.Image, max_side: int) -> UInt8[np.ndarray, "height width 4"]:
    """RGBA with at most `max_side` pixels a side, the aspect kept. Colours under transparent pixels stay."""
    rgba = eight_bits(image).convert("RGBA")
    # one after the other: Pillow would weigh the colours by their opacity, and lose those that have none
    colour, alpha = rgba.convert("RGB"), rgba.getchannel("A")
    colour.thumbnail((max_side, max_side))
    alpha.thumbnail((max_side, max_side))
    pixels: np.ndarray = np.dstack([np.asarray(colour), np.asarray(alpha)])
    return pixels


def multiplied(
    pixels: UInt8[np.ndarray, "height width 3"], factor: Float[np.ndarray, "3"]
) -> UInt8[np.ndarray, "height width 3"]:
    """An sRGB image times a factor in linear light."""
    linear = linear_from_srgb(np.arange(256) / 255)
    tables = [np.rint(srgb_from_linear(linear * share) * 255).astype(np.uint8) for share in factor]
    return np.stack([table[pixels[..., channel]] for channel, table in enumerate(tables)], axis=-1)


def mean_colour(pixels: UInt8[np.ndarray, "height width 3"]) -> tuple[float, float, float]:
    """Mean of an sRGB image in linear light, as sRGB in [0, 1]."""
    linear = linear_from_srgb(np.arange(256) / 255)[pixels].reshape(-1, 3).mean(axis=0)
    return rounded(srgb_from_linear(linear))


def rounded(colour: Float[np.ndarray, "3"]) -> tuple[float, float, float]:
    """A colour in [0, 1], without the last bits of a machine's power function."""
    red, green, blue = np.round(np.clip(colour, 0, 1), 9).tolist()
    return red, green, blue
