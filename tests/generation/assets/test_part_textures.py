"""Textures of furniture: they keep the colour that was drawn, tile, and run along the parts."""

import numpy as np
import pytest

from generation.assets.mesh import ShapeMesh
from generation.assets.part_textures import box_uv, paint_texture, part_offset, tile_size
from generation.assets.procedural.solids import assemble, box, lathe

KINDS = ("wood", "weave", "stripes", "check", "brushed")


@pytest.mark.parametrize("kind", KINDS)
def test_a_texture_keeps_its_colour_and_varies_about_it(kind: str) -> None:
    colour = (0.6, 0.4, 0.2)
    for seed in range(4):
        picture = paint_texture(kind, colour, seed, 128) / 255
        np.testing.assert_allclose(picture.mean(axis=(0, 1)), colour, atol=0.005)
        # the hue is kept, the tone varies: to the eye, and not as far as black or white
        np.testing.assert_allclose(picture[..., 0] * 2 / 3, picture[..., 1], atol=0.005)
        assert 0.01 < picture[..., 0].std() < 0.2
        assert picture.max() < 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("colour", [(0.95, 0.9, 0.85), (0.02, 0.02, 0.02), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)])
def test_near_white_and_near_black_the_mean_is_kept_and_contrast_given_up(
    kind: str, colour: tuple[float, float, float]
) -> None:
    picture = paint_texture(kind, colour, 3, 128) / 255
    np.testing.assert_allclose(picture.mean(axis=(0, 1)), colour, atol=0.003)


@pytest.mark.parametrize("kind", KINDS)
def test_a_texture_tiles_and_follows_its_seed(kind: str) -> None:
    first, again, other = (paint_texture(kind, (0.5, 0.5, 0.5), seed, 128) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 1
    values = first.astype(np.float64)
    for axis in (0, 1):
        inside = np.abs(np.diff(values, axis=axis)).mean(axis=(1 - axis, 2))
        seam = np.abs(np.take(values, 0, axis=axis) - np.take(values, -1, axis=axis)).mean()
        assert seam <= 1.2 * inside.max() + 1


def areas(corners: np.ndarray) -> np.ndarray:
    """Of triangles in the plane or in space."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    gram = (first**2).sum(-1) * (second**2).sum(-1) - (first * second).sum(-1) ** 2
    return np.sqrt(np.maximum(gram, 0)) / 2


def test_boards_are_laid_out_true_to_size_with_the_grain_along_them() -> None:
    """A board along x, a post along z: u is the long way on the four long sides of each."""
    mesh = assemble([box("wood", (0, 0, 1), (8, 2, 1)), box("wood", (0, 0, 5), (1, 2, 8))])
    uv = box_uv(mesh)
    # up to the slanted faces of broken edges, a millionth of the whole
    np.testing.assert_allclose(areas(uv), areas(mesh.vertices[mesh.faces]), atol=2e-6)
    corners = mesh.vertices[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = np.abs(normals).argmax(axis=1)
    for part, along in ((0, 0), (1, 2)):
        sides = (mesh.part_of_face == part) & (facing != along)
        np.testing.assert_array_equal(uv[sides, :, 0], corners[sides, :, along])


def test_round_parts_lose_at_most_what_the_tilt_costs() -> None:
    mesh: ShapeMesh = assemble([lathe("wood", [(0, 0), (2, 0), (1, 3), (0, 3)])])
    ratio = areas(box_uv(mesh)) / areas(mesh.vertices[mesh.faces])
    assert ratio.min() >= 1 / np.sqrt(3) - 1e-6
    assert ratio.max() <= 1 + 1e-6


def test_parts_begin_at_different_places() -> None:
    offsets = np.stack([part_offset(part) for part in range(40)])
    gaps = np.abs(offsets[:, None, 0] - offsets[None, :, 0]) + np.eye(40)
    assert gaps.min() > 0.01
    assert ((offsets >= 0) & (offsets < 1)).all()
    assert all(tile_size(kind) > 0 for kind in KINDS)
