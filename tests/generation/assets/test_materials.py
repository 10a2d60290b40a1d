"""What mesh files say of their colours, as their formats mean it."""

from pathlib import Path

import numpy as np
import pytest

from generation.assets.mesh import PartMaterial
from generation.assets.meshes import companions, load_mesh


def material(data: Path, case: str, name: str) -> PartMaterial:
    (found,) = load_mesh(data / "meshes" / case / name, "y").materials
    return found


def test_base_colour_factors_are_linear(data: Path) -> None:
    """(.2, .05, .02): 1.055 · .2^(1/2.4) - .055 = .4845, and so on: sRGB (124, 63, 39)."""
    found = material(data, "gltf_linear_factor", "model.gltf")
    assert found.colour is not None
    assert np.asarray(found.colour) * 255 == pytest.approx([124, 63, 39], abs=1.5)


def test_a_texture_is_multiplied_by_the_factor(data: Path) -> None:
    """Grey 230 times (1, .2, .2) in linear light: 230, and sRGB of .791 · .2 = .158, which is 110."""
    found = material(data, "gltf_factor_times_texture", "model.gltf")
    assert found.image is not None
    assert found.image.reshape(-1, 3).mean(axis=0) == pytest.approx([230, 110, 110], abs=2)


def test_the_default_material_of_gltf_is_white(data: Path) -> None:
    found = material(data, "gltf_no_material", "model.gltf")
    assert (found.role, found.colour, found.image) == ("own", (1.0, 1.0, 1.0), None)


def test_sixteen_bits_are_scaled(data: Path) -> None:
    """Left half 25 %, right half 75 %."""
    image = material(data, "obj_16bit", "model.obj").image
    assert image is not None
    width = image.shape[1]
    assert image[:, : width // 2].mean() == pytest.approx(64, abs=2)
    assert image[:, width // 2 :].mean() == pytest.approx(191, abs=2)


def test_a_byte_order_mark_hides_no_material(data: Path) -> None:
    assert material(data, "obj_mtl_bom", "model.obj").image is not None


def test_the_texture_that_a_ply_file_names_is_read(data: Path) -> None:
    path = data / "meshes" / "ply_texturefile" / "model.ply"
    assert companions(path) == [("tex.png", path.parent / "tex.png")]
    mesh = load_mesh(path, "z")
    assert mesh.uv is not None
    assert mesh.materials[0].image is not None
