"""Meshes of objects: closed, in place, coloured, and readable as glTF."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from objnerf.dataset.card import SceneScale
from objnerf.evaluation.meshes import ground_mesh, slot_meshes, surface_level, write_meshes
from objnerf.models.scene import SceneCode, SceneModel
from objnerf.rendering.volume import SlotSamples

GEOMETRY = SceneScale(near=6.0, far=20.0, nss_scale=7.0, obj_scale=4.5, focal_ratio=(1.1, 1.5))


@dataclass(frozen=True)
class Ball:
    middle: tuple[float, float, float]
    radius: float
    colour: tuple[float, float, float]


class Balls(SceneModel):
    """A scene of solid balls on a green ground; their edges are as sharp as said, per world unit."""

    def __init__(self, *balls: Ball, sharpness: float = 40.0) -> None:
        super().__init__(GEOMETRY)
        self.balls, self.sharpness = balls, sharpness

    def decode(self, code: SceneCode, points: torch.Tensor, *, locality: bool) -> SlotSamples:
        solid = 200.0
        density = torch.zeros(1, 1 + len(self.balls), points.shape[1])
        colour = torch.zeros(1, 1 + len(self.balls), points.shape[1], 3)
        density[:, 0] = solid * (points[..., 2] <= 0)
        colour[:, 0] = torch.tensor([0.1, 0.6, 0.1])
        for slot, ball in enumerate(self.balls, start=1):
            middle = torch.tensor(ball.middle) + code.offsets[0, slot]
            distance = (points - middle).norm(dim=-1)
            density[:, slot] = solid * torch.sigmoid((ball.radius - distance) * self.sharpness)
            colour[:, slot] = torch.tensor(ball.colour)
        return SlotSamples(density, colour)


def _code(slots: int) -> SceneCode:
    return SceneCode(
        slots=torch.zeros(1, slots, 2),
        field_from_world=torch.eye(4)[None],
        offsets=torch.zeros(1, slots, 3),
        active=torch.ones(1, slots, dtype=torch.bool),
    )


BALLS = Balls(
    Ball((-2.0, 1.0, 1.2), 1.0, (0.8, 0.1, 0.1)),
    Ball((2.0, -0.5, 0.5), 0.8, (0.1, 0.1, 0.9)),  # half sunk into the ground
)


def test_a_ball_is_a_closed_ball_in_its_place():
    first, second = slot_meshes(BALLS, _code(3), resolution=64)
    assert (first.slot, second.slot) == (1, 2)
    solid = trimesh.Trimesh(first.vertices, first.faces)
    assert solid.is_watertight
    assert solid.volume > 0  # faces look outwards
    # Seen from outside, half of the light passes beside the ball a little outside of the radius.
    assert solid.centroid == pytest.approx([-2.0, 1.0, 1.2], abs=0.03)
    extent = np.ptp(first.vertices, axis=0) / 2
    assert extent == pytest.approx(np.full(3, extent.mean()), rel=0.03)
    assert extent.mean() == pytest.approx(1.0, abs=0.15)
    assert np.abs(first.colours.astype(int) - [204, 26, 26]).max() <= 1


def test_a_ball_with_soft_edges_is_as_large_as_it_is_seen():
    """Where a ray beside its middle lets half of the light pass, there the mesh ends."""
    soft = Balls(Ball((0.0, 0.0, 2.0), 1.0, (0.5, 0.5, 0.5)), sharpness=12.0)
    (mesh,) = slot_meshes(soft, _code(2), resolution=64)
    beside, along = np.linspace(0.8, 1.6, 161), np.linspace(-3, 3, 1201)
    distance = np.hypot(beside[:, None], along)
    density = 200 / GEOMETRY.depth_range / (1 + np.exp(12 * (distance - 1)))
    absorbed = density.sum(1) * (along[1] - along[0])
    seen = beside[np.argmin(np.abs(absorbed - np.log(2)))]
    assert np.ptp(mesh.vertices, axis=0) / 2 == pytest.approx(np.full(3, seen), rel=0.05)


def _ball(inside: float, softness: float) -> np.ndarray:
    """Density on a grid of 40³ points around a ball with a radius of 10."""
    z, y, x = np.indices((40, 40, 40)) - 19.5
    return inside / (1 + np.exp((np.sqrt(x * x + y * y + z * z) - 10) / softness))


def test_the_surface_of_a_dense_object_is_at_the_usual_level():
    assert surface_level(_ball(5.0, 0.1), 0.7, 1.0) == pytest.approx(0.7)


def test_a_thick_object_that_is_half_transparent_has_a_surface():
    """.1 everywhere within 10: a ray sees it if its chord exceeds ln 2 / .1, that is within √(100 - 3.5²) of
    the middle. A density of .7 is nowhere; the level is below .1."""
    fog = _ball(0.1, 0.5)
    level = surface_level(fog, 0.7, 1.0)
    assert 0.02 < level < 0.1
    area = (fog.max(0) >= level).sum()
    assert area == pytest.approx(np.pi * (100 - 3.5**2), rel=0.08)


def test_the_level_does_not_depend_on_the_unit_of_length():
    fog = _ball(0.1, 1.5)
    assert surface_level(fog * 8, 0.7 * 8, 1 / 8) == pytest.approx(8 * surface_level(fog, 0.7, 1.0))


def test_an_object_that_nothing_shows_keeps_the_usual_level():
    assert surface_level(_ball(1e-4, 0.5), 0.7, 1.0) == pytest.approx(0.7)


def test_what_is_sunk_into_the_ground_is_closed_there():
    second = slot_meshes(BALLS, _code(3), resolution=64, slots=[2])[0]
    solid = trimesh.Trimesh(second.vertices, second.faces)
    assert solid.is_watertight
    assert second.vertices[:, 2].min() > -0.05
    assert second.vertices[:, 2].max() == pytest.approx(1.3, abs=0.15)


def test_moved_objects_are_exported_where_they_stand():
    code = _code(3).move(1, torch.tensor([1.0, -2.0, 0.0]))
    mesh = slot_meshes(BALLS, code, resolution=64, slots=[1])[0]
    assert trimesh.Trimesh(mesh.vertices, mesh.faces).centroid == pytest.approx([-1.0, -1.0, 1.2], abs=0.05)


def test_objects_that_are_absent_or_empty_have_no_mesh():
    assert [mesh.slot for mesh in slot_meshes(BALLS, _code(3).delete(1), resolution=48)] == [2]
    air = Balls(Ball((0.0, 0.0, 1.0), -3.0, (1.0, 1.0, 1.0)))
    assert slot_meshes(air, _code(2), resolution=32) == []


def test_the_ground_is_a_closed_slab_below_zero():
    ground = ground_mesh(BALLS, _code(3), resolution=16)
    solid = trimesh.Trimesh(ground.vertices, ground.faces, process=False)
    assert solid.is_watertight
    assert solid.volume > 0
    assert ground.vertices[:, 2].max() == 0
    assert np.abs(ground.colours.astype(int) - [26, 153, 26]).max() <= 1


def test_the_file_holds_every_object_in_its_place_and_colour(tmp_path: Path):
    meshes = [*slot_meshes(BALLS, _code(3), resolution=48), ground_mesh(BALLS, _code(3), resolution=8)]
    path = write_meshes(meshes, tmp_path / "deep" / "scene.glb")
    scene = trimesh.load_scene(path)
    assert {"object_1", "object_2", "ground"} <= set(scene.graph.nodes)
    matrix, name = scene.graph["object_1"]
    loaded = scene.geometry[name]
    placed = trimesh.transform_points(loaded.vertices, matrix)
    # glTF is y up: world (x, y, z) lies at (x, z, -y).
    assert placed.mean(0) == pytest.approx([-2.0, 1.2, -1.0], abs=0.06)
    # Vertex colours are linear: sRGB 0.8 is 0.604, 0.1 is 0.01.
    assert np.abs(loaded.visual.vertex_colors[:, :3].astype(int) - [154, 3, 3]).max() <= 2
    assert not list(tmp_path.rglob("*.tmp*"))
