"""Images at another size: nothing moves, and colours that mean something are never mixed."""

import numpy as np

from objnerf.dataset.files import mask_from_labels
from objnerf.dataset.resize import nearest_pixels, resize_by_area


def test_area_means_by_hand():
    """4 × 2 to 2 × 1: means of 2 × 2 pixels. (0+4+8+12)/4 = 6, (16+20+24+28)/4 = 22."""
    image = np.array([[0, 4, 16, 20], [8, 12, 24, 28]], np.uint8)[..., None].repeat(3, axis=-1)
    assert resize_by_area(image, (2, 1))[0, :, 0].tolist() == [6, 22]
    assert resize_by_area(image, (4, 2)) is image
    # 3 to 2 columns: a new pixel covers one and a half old ones. (2·0 + 30)/3 = 10, (30 + 2·60)/3 = 50.
    row = np.array([[0, 30, 60]], np.uint8)[..., None].repeat(3, axis=-1)
    assert resize_by_area(row, (2, 1))[0, :, 0].tolist() == [10, 50]


def test_resizing_keeps_the_edges():
    """A ramp stays the same ramp over the picture's extent: pixel centres move by half a pixel's difference.

    Value at x (edges at -0.5 and 31.5) is 8 x; of 32 columns 8 remain, whose centres lie at 4 i + 1.5.
    """
    ramp = (8 * np.arange(32)).astype(np.uint8)[None, :, None].repeat(4, 0).repeat(3, -1)
    assert resize_by_area(ramp, (8, 4))[0, :, 0].tolist() == [8 * (4 * i) + 12 for i in range(8)]


def test_nearest_pixels_by_hand():
    """5 to 3 columns: centres at (2 i + 1) / 6 of the width, in the old columns 0.83, 2.5 and 4.17."""
    row = np.arange(5)[None]
    assert nearest_pixels(row, (3, 1)).tolist() == [[0, 2, 4]]
    assert nearest_pixels(row, (5, 1)) is row
    # 2 to 4: every old pixel twice.
    assert nearest_pixels(np.array([[7, 9]]), (4, 2)).tolist() == [[7, 7, 9, 9]] * 2


def test_masks_keep_their_colours():
    mask = mask_from_labels(np.arange(48).reshape(6, 8) % 4)
    small = nearest_pixels(mask, (5, 3))
    assert small.shape == (3, 5, 3)
    colours = {tuple(pixel) for pixel in mask.reshape(-1, 3).tolist()}
    assert {tuple(pixel) for pixel in small.reshape(-1, 3).tolist()} <= colours
