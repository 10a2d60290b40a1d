"""Silhouettes and what is seen, by hand and by law."""

import numpy as np
import pytest

from generation.plan.visibility import count_pixels, judge, silhouette
from objnerf.dataset.cameras import Intrinsics, look_at

INTRINSICS = Intrinsics(40, 30, 40.0, 40.0)
ABOVE = look_at(np.array([0.0, 0.0, 10.0]), np.zeros(3), up=np.array([0.0, 1.0, 0.0]))


def square(half: float, z: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    vertices = half * np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) + [0, 0, z]
    return vertices, np.array([[0, 1, 2], [0, 2, 3]])


def test_a_square_seen_from_above_covers_its_pixels():
    # Half side 1 at depth 10 with f = 40 spans ±4 pixels around (19.5, 14.5): columns 16…23, rows 11…18.
    vertices, faces = square(1.0)
    covered = silhouette(vertices, faces, INTRINSICS, ABOVE)
    expected = np.zeros((30, 40), dtype=bool)
    expected[11:19, 16:24] = True
    assert np.array_equal(covered, expected)
    assert np.array_equal(silhouette(vertices, faces[:, ::-1].copy(), INTRINSICS, ABOVE), expected)


def test_what_is_outside_the_picture_does_not_count():
    vertices, faces = square(1.0)
    assert not silhouette(vertices + np.array([20.0, 0, 0]), faces, INTRINSICS, ABOVE).any()
    assert silhouette(vertices * 100, faces, INTRINSICS, ABOVE).all()


def test_chunks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    vertices = rng.uniform(-2, 2, (60, 3))
    faces = rng.integers(60, size=(80, 3))
    whole = silhouette(vertices, faces, INTRINSICS, ABOVE)
    monkeypatch.setattr("generation.plan.visibility._CHUNK", 7)
    assert np.array_equal(silhouette(vertices, faces, INTRINSICS, ABOVE), whole)


def test_shares_by_hand():
    # Object 1 has 4 pixels, 3 of them visible; object 2 hides the fourth and has 2, both visible.
    labels = np.array([[[1, 1, 0], [1, 2, 2]]])
    outlines = np.zeros((1, 2, 2, 3), dtype=bool)
    outlines[0, 0, :, :2] = True
    outlines[0, 1, 1, 1:] = True
    seen = judge(labels, outlines)
    assert seen.pixels.tolist() == [[3, 2]]
    assert seen.shares.tolist() == [[pytest.approx(0.75), pytest.approx(1.0)]]
    assert count_pixels(labels, 3).tolist() == [[3, 2, 0]]


def test_an_object_outside_the_picture_has_share_zero():
    seen = judge(np.zeros((2, 3, 3), dtype=np.int64), np.zeros((2, 1, 3, 3), dtype=bool))
    assert seen.shares.tolist() == [[0.0], [0.0]]
