"""Arithmetic of pictures: sRGB, and the reduction of oversampled ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.render.oversampling import OVERSAMPLING, reduce_picture
from generation.srgb import linear_from_srgb, quantised, srgb_from_linear


@given(st.integers(0, 255))
def test_every_8_bit_value_comes_back(value):
    linear = np.full((1, 1, 3), linear_from_srgb(np.array(value / 255.0)), dtype=np.float32)
    assert quantised(linear).tolist() == [[[value] * 3]]


def test_srgb_by_hand():
    # IEC 61966-2-1: 0.5 → ((0.5 + 0.055) / 1.055)^2.4 = 0.21404; the straight part ends at 0.04045 / 12.92.
    assert linear_from_srgb(np.array([0.5, 0.04045])) == pytest.approx([0.21404, 0.0031308], abs=1e-5)
    assert srgb_from_linear(np.array([-1.0, 0.0, 1.0, 7.0])).tolist() == pytest.approx([0, 0, 1, 1])


def test_reducing_keeps_what_is_even_and_what_is_linear():
    assert OVERSAMPLING == 2
    even = np.full((12, 16, 3), 0.25, dtype=np.float32)
    assert reduce_picture(even) == pytest.approx(np.full((6, 8, 3), 0.25))
    # Oversampled pixel j lies at (j + 0.5) / 2 - 0.5 in final pixels: a ramp there is a ramp here, unshifted.
    ramp = np.tile((((np.arange(16) + 0.5) / 2) - 0.5)[None, :, None], (12, 1, 3)).astype(np.float32)
    assert reduce_picture(ramp)[:, 1:-1] == pytest.approx(np.tile(np.arange(1, 7)[None, :, None], (6, 1, 3)))


def test_reducing_is_the_pixel_filter():
    # A single bright pixel: its weights in both directions are those of the window, 0 beyond 1.5 pixels.
    bright = np.zeros((16, 16, 3), dtype=np.float32)
    bright[8, 8] = 1.0
    small = reduce_picture(bright)[..., 0]
    assert small.sum() * OVERSAMPLING**2 == pytest.approx(1.0, abs=0.02)
    assert np.argwhere(small > 1e-6).min() >= 3
    assert np.argwhere(small > 1e-6).max() <= 5
    assert small[4, 4] == small.max()
