"""Images at another size, without a shift: the outer edges stay where they are.

So the focal ratio and the principal point's share of the size are the same at every size.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Shaped, UInt8
from PIL import Image


def resize_by_area(
    image: UInt8[np.ndarray, "height width 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "new_height new_width 3"]:
    """An image at (width, height) ``size``: each new pixel is the mean of the area that it covers.

    Where a side grows, pixels are interpolated linearly. In both cases the image's outer edges stay put.
    """
    height, width = image.shape[:2]
    if (width, height) == size:
        return image
    if size[0] > width or size[1] > height:
        return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    if width % size[0] == 0 and height % size[1] == 0:
        return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
    # Pillow's box takes or leaves whole pixels; where new edges cut old pixels they count in part.
    rows, columns = _area_weights(height, size[1]), _area_weights(width, size[0])
    lower = (rows @ image.reshape(height, -1).astype(np.float32)).reshape(size[1], width, 3)
    return np.rint(columns @ lower).astype(np.uint8)


@lru_cache(maxsize=16)
def _area_weights(old: int, new: int) -> Float32[np.ndarray, "new old"]:
    """Share of each of ``old`` pixels in each of ``new`` ones that cover the same line."""
    edges = np.arange(new + 1) * old / new
    pixels = np.arange(old)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (overlap.clip(min=0) * new / old).astype(np.float32)


def nearest_pixels(
    image: Shaped[np.ndarray, "height width *channels"], size: tuple[int, int]
) -> Shaped[np.ndarray, "new_height new_width *channels"]:
    """An image at (width, height) ``size``: each new pixel is the old one that holds its centre.

    For what has no mean: the colours of masks, labels, depths and normals.
    """
    height, width = image.shape[:2]
    if (width, height) == size:
        return image
    rows = (2 * np.arange(size[1]) + 1) * height // (2 * size[1])
    columns = (2 * np.arange(size[0]) + 1) * width // (2 * size[0])
    return image[rows[:, None], columns]
