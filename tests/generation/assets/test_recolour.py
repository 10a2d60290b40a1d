"""Mesh files in another colour: the given one on average, with the light and dark of the file."""

from dataclasses import replace

import numpy as np
import pytest

from generation.assets.mesh import PartMaterial, ShapeMesh
from generation.assets.procedural.solids import assemble, box
from generation.assets.recolour import recoloured
from generation.srgb import linear_from_srgb

TARGET = (0.78, 0.16, 0.14)


def mesh_of(*materials: PartMaterial) -> ShapeMesh:
    """Equal boxes in a row, one a material."""
    mesh = assemble([box("paint", (2 * number, 0, 0.5), (1, 1, 1)) for number in range(len(materials))])
    return replace(mesh, materials=materials)


@pytest.mark.parametrize("colour", [(1.0, 1.0, 1.0), (0.2, 0.5, 0.1), (0.0, 0.0, 0.0), None])
def test_a_mesh_of_one_colour_gets_the_given_one(colour: tuple[float, float, float] | None) -> None:
    (found,) = recoloured(mesh_of(PartMaterial("own", colour)), TARGET).materials
    assert found.colour == pytest.approx(TARGET, abs=1e-6)


def test_darker_parts_stay_darker_by_as_much() -> None:
    """Linear grey .2 and .6: a mean of .4, so half and one and a half of the target's linear colour."""
    grey = [1.055 * value ** (1 / 2.4) - 0.055 for value in (0.2, 0.6)]
    parts = [PartMaterial("own", (value, value, value)) for value in grey]
    dark, light = (
        linear_from_srgb(np.array(part.colour)) for part in recoloured(mesh_of(*parts), TARGET).materials
    )
    target = linear_from_srgb(np.array(TARGET))
    assert dark == pytest.approx(0.5 * target, rel=1e-6)
    assert light == pytest.approx(1.5 * target, rel=1e-6)


def test_a_texture_stays_visible() -> None:
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    image[:2], image[2:] = (120, 90, 60), (30, 60, 90)
    (found,) = recoloured(mesh_of(PartMaterial("own", None, image)), TARGET).materials
    assert found.image is not None
    linear = linear_from_srgb(found.image / 255)
    assert linear.mean(axis=(0, 1)) == pytest.approx(linear_from_srgb(np.array(TARGET)), rel=0.03)
    assert (found.image[:2, :, 0] > found.image[2:, :, 0] + 20).all()
    # one hue: the ratio of the channels is the target's wherever it is light enough to tell
    ratio = linear[0, 0] / linear[0, 0, 0]
    assert ratio == pytest.approx(
        linear_from_srgb(np.array(TARGET)) / linear_from_srgb(np.array(0.78)), abs=0.01
    )


def test_a_light_spot_does_not_darken_the_rest() -> None:
    """Nine black pixels and a white one: the white one would have to be ten times as light as the mean."""
    image = np.zeros((1, 10, 3), dtype=np.uint8)
    image[0, 0] = 255
    (found,) = recoloured(mesh_of(PartMaterial("own", None, image)), (0.3, 0.3, 0.3)).materials
    assert found.image is not None
    # 2.5 times linear .0732 is .183, which is sRGB .465
    assert found.image[0, 0].tolist() == [119, 119, 119]


def test_parts_made_by_code_keep_their_roles() -> None:
    mesh = assemble([box("wood", (0, 0, 1), (1, 1, 1))])
    assert recoloured(mesh, TARGET) is mesh
    mixed = mesh_of(PartMaterial("wood"), PartMaterial("own", (0.1, 0.1, 0.1)))
    wood, own = recoloured(mixed, TARGET).materials
    assert wood == mixed.materials[0]
    assert own.colour == pytest.approx(TARGET, abs=1e-6)
