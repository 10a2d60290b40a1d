"""Every procedural shape is sound, and no two look the same."""

from dataclasses import fields, replace

import numpy as np
import pytest
import trimesh

from generation.assets import procedural
from generation.assets.asset_sheets import draw_shape, rasterise
from generation.assets.catalogue import Catalogue, ShapeAsset, build_mesh
from generation.assets.mesh import ROLES, ShapeMesh, normalised
from generation.assets.procedural import bed, bench, cabinet, chair, desk, lamp, shelf, sofa, stool, table
from generation.assets.procedural.solids import (
    assemble,
    beam,
    box,
    cushion,
    frustum,
    lathe,
    panel,
    plate,
    rounded_rectangle,
    slab,
    standing,
    superellipse,
    tube,
)

FURNITURE = [name for name in procedural.FAMILIES if name not in ("cube", "sphere", "cylinder")]


def assert_sound(mesh: ShapeMesh) -> None:
    """Finite, in the frame of a shape, and every part closed with outward normals."""
    assert np.isfinite(mesh.vertices).all()
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    assert low[2] == 0
    np.testing.assert_allclose(low[:2], -high[:2], atol=1e-6)
    assert np.linalg.norm(high - low) == pytest.approx(1, abs=1e-6)
    assert set(mesh.roles) <= set(ROLES)
    for part in range(len(mesh.materials)):
        faces = mesh.faces[mesh.part_of_face == part]
        body = trimesh.Trimesh(mesh.vertices, faces, process=False)
        assert body.is_watertight, (part, mesh.roles[part])
        assert body.is_winding_consistent, (part, mesh.roles[part])
        assert body.volume > 0, (part, mesh.roles[part], body.volume)


@pytest.mark.parametrize("family", procedural.FAMILIES)
def test_drawn_shapes_are_sound(family: str) -> None:
    kind = procedural.FAMILIES[family]
    for number in range(40 if family in FURNITURE else 1):
        assert_sound(assemble(kind.draw(np.random.default_rng(number)).build()))


@pytest.mark.parametrize(
    ("family", "parameter", "options"),
    [
        ("chair", "base", chair.BASES),
        ("chair", "back", chair.BACKS),
        ("chair", "arms", chair.ARMS),
        ("table", "top", table.TOPS),
        ("table", "base", table.BASES),
        ("stool", "seat", stool.SEATS),
        ("stool", "base", stool.BASES),
        ("sofa", "arms", sofa.ARMS),
        ("sofa", "back", sofa.BACKS),
        ("sofa", "feet", sofa.FEET),
        ("lamp", "kind", lamp.KINDS),
        ("lamp", "shade", lamp.SHADES),
        ("shelf", "kind", shelf.KINDS),
        ("bed", "kind", bed.KINDS),
        ("bed", "head", bed.HEADS),
        ("cabinet", "layout", cabinet.LAYOUTS),
        ("cabinet", "feet", cabinet.FEET),
        ("cabinet", "handle", cabinet.HANDLES),
        ("desk", "left", desk.SUPPORTS),
        ("bench", "seat", bench.SEATS),
        ("bench", "base", bench.BASES),
        ("bench", "back", bench.BACKS),
    ],
)
def test_every_choice_makes_a_sound_shape(family: str, parameter: str, options: tuple[str, ...]) -> None:
    for number, option in enumerate(dict.fromkeys(options)):
        drawn = procedural.FAMILIES[family].draw(np.random.default_rng(100 + number))
        assert_sound(assemble(replace(drawn, **{parameter: option}).build()))  # type: ignore[type-var]


@pytest.mark.parametrize("family", procedural.FAMILIES)
def test_a_shape_is_its_parameters(family: str) -> None:
    """The record of a shape, through JSON, gives the same triangles to the bit."""
    (asset,) = Catalogue.load().shapes(family, 1, seed=3)
    again = ShapeAsset.model_validate_json(asset.model_dump_json())
    first, second = build_mesh(asset), build_mesh(again)
    assert first.vertices.tobytes() == second.vertices.tobytes()
    assert first.faces.tobytes() == second.faces.tobytes()
    assert first.roles == second.roles
    kind = procedural.FAMILIES[family]
    assert set(asset.params) == {field.name for field in fields(kind)}  # type: ignore[arg-type]


def silhouettes(mesh: ShapeMesh, size: int = 40) -> np.ndarray:
    """Outline of a shape from the front, the side and above, all at one scale."""
    views = []
    for axes in ([0, 2, 1], [1, 2, 0], [0, 1, 2]):
        points = mesh.vertices[:, axes] * [size, size, 1] + [size / 2, 0 if axes[1] == 2 else size / 2, 0]
        views.append(rasterise(points, mesh.faces, size)[0] >= 0)
    return np.stack(views).ravel()


def overlaps(shapes: list[ShapeAsset]) -> np.ndarray:
    """Shared share of the outlines of every two shapes; 0 of a shape with itself."""
    outlines = np.stack([silhouettes(build_mesh(shape)) for shape in shapes]).astype(np.float64)
    shared = outlines @ outlines.T
    area = outlines.sum(axis=1)
    overlap: np.ndarray = shared / (area[:, None] + area[None] - shared)
    np.fill_diagonal(overlap, 0)
    return overlap


def test_shapes_are_visibly_different() -> None:
    """Among 200 shapes of the default source no two have nearly the same outlines from three sides."""
    shapes = Catalogue.load().shapes("furniture", 200, seed=0)
    overlap = overlaps(shapes)
    worst = np.unravel_index(overlap.argmax(), overlap.shape)
    assert overlap.max() < 0.97, (shapes[worst[0]], shapes[worst[1]])
    # and most pairs have less than half in common
    assert np.median(overlap) < 0.5


@pytest.mark.slow
def test_twelve_hundred_shapes_are_visibly_different() -> None:
    """Boxes have the outlines of other boxes: where outlines agree, what is inside them differs.

    Measured as the mean difference of grey levels between pictures of 64 pixels in one colour.
    """
    shapes = Catalogue.load().shapes("furniture", 1200, seed=0)
    alike = np.argwhere(np.triu(overlaps(shapes)) > 0.94)
    assert len(alike) < 60

    def picture(shape: ShapeAsset) -> np.ndarray:
        mesh = build_mesh(shape)
        return draw_shape(mesh, [(0.7, 0.7, 0.7)] * len(mesh.materials), 64).astype(np.float64)

    for first, second in alike:
        difference = np.abs(picture(shapes[first]) - picture(shapes[second])).mean()
        assert difference > 2, (shapes[first].id, shapes[second].id)


def test_solids_have_the_volume_that_geometry_says() -> None:
    """A wrong cap, a hole or an inward normal would change these."""

    def volume(part: object) -> float:
        return float(trimesh.Trimesh(part.vertices, part.faces, process=False).volume)  # type: ignore[attr-defined]

    # 2 · 3 · 4 = 24; a broken edge of 1e-3 of half the smallest side takes next to nothing
    assert volume(box("wood", (1, 2, 3), (2, 3, 4))) == pytest.approx(24, rel=1e-5)
    # a box all of round edges is a ball in the limit: 4/3 π
    assert volume(cushion("wood", (0, 0, 0), (2, 2, 2), 0.999, segments=12)) == pytest.approx(4.19, rel=0.03)
    # a 64-gon of radius 1 has the area 32 sin(2π/64) = 3.1365
    assert volume(frustum("wood", (0, 0, 0), (0, 0, 2), 1.0, sides=64)) == pytest.approx(6.273, rel=1e-3)
    # a leaning bar with level ends has base area times height: 0.5² · 3
    assert volume(beam("wood", (0, 0, 0), (1, 0.5, 3), (0.5, 0.5))) == pytest.approx(0.75)
    # a lying bar: its length √5 times 0.2 · 0.3
    assert volume(beam("wood", (0, 0, 1), (1, 2, 1), (0.2, 0.3))) == pytest.approx(np.sqrt(5) * 0.06)
    # a cone: 1/3 of base 16 sin(2π/32) times height 3
    assert volume(lathe("wood", [(0, 0), (1, 0), (0, 3)], sides=32)) == pytest.approx(16 * np.sin(np.pi / 16))
    assert volume(slab("wood", rounded_rectangle(2, 3, 0), 0, 0.5)) == pytest.approx(3)
    assert volume(slab("wood", superellipse(2, 2, 2, points=200), 0, 1)) == pytest.approx(np.pi, rel=1e-3)
    # a flat sheet of 2 × 1 and thickness 0.1
    x, z = np.meshgrid(np.linspace(-1, 1, 5), np.linspace(0, 1, 4))
    assert volume(panel("wood", np.stack([x, np.zeros_like(x), z], axis=-1), 0.1)) == pytest.approx(0.2)
    # a frame: a square of 4 with a hole of 2, 0.5 thick: (16 - 4) · 0.5
    from shapely.geometry import box as rectangle

    frame = rectangle(-2, -2, 2, 2).difference(rectangle(-1, -1, 1, 1))
    assert volume(plate("wood", frame, 0, 0.5)) == pytest.approx(6)
    assert volume(standing(plate("wood", frame, 0, 0.5))) == pytest.approx(6)
    # a ring by Pappus: cross-section (½ · 12 sin 30° · 0.1² = 0.03) times 2π · 1, to the polygon's accuracy
    turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    loop = np.column_stack([np.cos(turn), np.sin(turn), np.zeros(64)])
    assert volume(tube("wood", loop, 0.1, sides=12, closed=True)) == pytest.approx(0.03 * 2 * np.pi, rel=0.01)


def test_moved_turned_mirrored_parts_stay_sound() -> None:
    part = box("wood", (1, 2, 3), (1, 2, 3), 0.1)
    for changed in (
        part.moved(1, 2, 3),
        part.turned("z", 30),
        part.mirrored("x"),
        part.turned("y", -75, (1, 0, 0)),
    ):
        body = trimesh.Trimesh(changed.vertices, changed.faces, process=False)
        assert body.is_watertight
        assert body.volume == pytest.approx(trimesh.Trimesh(part.vertices, part.faces, process=False).volume)
    # a quarter turn about z takes x to y
    np.testing.assert_allclose(
        box("wood", (1, 0, 0), (1, 1, 1)).turned("z", 90).vertices.mean(axis=0), [0, 1, 0], atol=1e-9
    )


def test_normalised_by_hand() -> None:
    """A box of 3 × 4 × 12 has the diagonal 13."""
    corners = np.array([[10.0, 20.0, 30.0], [13.0, 24.0, 42.0]])
    placed = normalised(corners)
    np.testing.assert_allclose(placed, [[-1.5 / 13, -2 / 13, 0], [1.5 / 13, 2 / 13, 12 / 13]], atol=1e-7)


@pytest.mark.parametrize("corners", [np.zeros((2, 3)), np.array([[0, 0, 0], [np.nan, 1, 1]])])
def test_degenerate_points_are_refused(corners: np.ndarray) -> None:
    with pytest.raises(ValueError, match="diagonal"):
        normalised(corners)
