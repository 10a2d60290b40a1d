"""Mesh files of the user's in the real Blender: every picture of a view shows what the file says."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from generation.assets.catalogue import Catalogue
from generation.jobs.local import LocalWorker
from generation.jobs.tasks import AssetFolders, Task, WorkerSetup
from generation.plan.plan import AssetPool, PlacementError, ScenePlan, plan_scene
from generation.plan.request import DEFAULT_PASSES, build_request
from objnerf.dataset import open_dataset

CASES = (
    *("gltf_linear_factor", "gltf_alpha_mask", "gltf_texture_transform", "gltf_metal", "gltf_emissive"),
    *("ply_vertex_colours", "obj_inside_out"),
)


@dataclass(frozen=True)
class View:
    """What was written of one view."""

    image: np.ndarray
    labels: np.ndarray
    depth: np.ndarray
    normal: np.ndarray
    albedo: np.ndarray
    amodal: np.ndarray


def empty_room() -> ScenePlan:
    """A view of a small room, whose objects are to be replaced."""
    request = build_request(
        "room-diverse",
        scenes=len(CASES),
        views=1,
        size=(64, 48),
        samples=4,
        shapes=2,
        backgrounds=1,
        passes=(*DEFAULT_PASSES, "normal", "albedo", "amodal"),
    )
    pool = AssetPool.draw(Catalogue.load(), request)
    for attempt in range(20):
        try:
            return plan_scene(request, pool, 0, attempt)
        except PlacementError:
            continue
    raise AssertionError("no plan in twenty attempts")


@pytest.fixture(scope="module")
def views(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, View]:
    """Each case alone in the middle of the same room, large and turned by some 30°."""
    out = tmp_path_factory.mktemp("looks")
    folders = AssetFolders(meshes=data / "meshes")
    shapes = {shape.id.split("/")[1]: shape for shape in folders.load().offered_shapes("meshes", 100, 0)}
    room = empty_room()
    worker = LocalWorker(WorkerSetup(assets=folders, out=out))
    try:
        for number, case in enumerate(CASES):
            shape = shapes[case]
            item = room.objects[0].model_copy(
                update={
                    "asset": shape.id,
                    "shape": shape,
                    "position": (0.0, 0.0, 0.0),
                    "yaw": 0.5,
                    "scale": 6.0,
                }
            )
            view = room.views[0].model_copy(update={"stem": f"sc{number:04d}_az000"})
            plan = room.model_copy(update={"scene": number, "objects": (item,), "views": (view,)})
            result = worker.run(Task(scene=number, plan=plan), limit_s=300)
            assert result.kind == "done", result.error
    finally:
        worker.close()
    return {
        case: View(
            view.image(),
            view.labels(),
            view.depth()[..., 0] if view.depth().ndim == 3 else view.depth(),
            np.load(out / "normal" / f"{view.stem}.npy"),
            np.asarray(Image.open(out / "albedo" / f"{view.stem}.png")),
            np.asarray(Image.open(out / "amodal" / f"{view.stem}_object1.png")) > 0,
        )
        for case, view in zip(CASES, open_dataset(out).views(), strict=True)
    }


def test_what_is_cut_out_is_in_no_picture(views: dict[str, View]) -> None:
    """Masks, depth, normals, albedo and amodal masks look through the holes; the solid cube does not."""
    solid = views["gltf_linear_factor"]
    holed = views["gltf_alpha_mask"]
    there, all_of_it = holed.labels > 0, solid.labels > 0
    assert 0.2 < (there & all_of_it).sum() / all_of_it.sum() < 0.75
    # the amodal mask is of a rasteriser of its own
    assert (there != holed.amodal).sum() <= 0.05 * there.sum()
    through = all_of_it & ~there
    assert (holed.depth[through] > solid.depth[through] + 1e-3).all()
    # behind the holes is the room, nowhere nothing: unit normals, and colours that aren't the disc's green
    assert np.linalg.norm(holed.normal[through], axis=1) == pytest.approx(1, abs=1e-3)
    red, green, _ = np.moveaxis(holed.albedo.astype(int), -1, 0)
    inner = (
        there & np.roll(there, 1, 0) & np.roll(there, -1, 0) & np.roll(there, 1, 1) & np.roll(there, -1, 1)
    )
    assert (green[inner] > 120).all()
    assert (red[inner] < 60).all()


@pytest.mark.parametrize(
    ("case", "colour"),
    [
        ("gltf_linear_factor", (124, 63, 39)),
        ("gltf_texture_transform", (220, 30, 30)),
        ("gltf_metal", (243, 203, 124)),
    ],
)
def test_albedo_is_what_the_file_says(views: dict[str, View], case: str, colour: tuple) -> None:
    view = views[case]
    inside = view.labels > 0
    assert np.median(view.albedo[inside], axis=0) == pytest.approx(colour, abs=4)


def test_emission_shines_and_is_no_albedo(views: dict[str, View]) -> None:
    view = views["gltf_emissive"]
    inside = view.labels > 0
    red, green, blue = np.median(view.image[inside], axis=0)
    assert green > 200 > 120 > max(red, blue)
    assert np.median(view.albedo[inside], axis=0).max() == 0


def test_colours_of_vertices_run_across_faces(views: dict[str, View]) -> None:
    view = views["ply_vertex_colours"]
    inside = view.labels > 0
    assert len(np.unique(view.albedo[inside] // 32, axis=0)) > 30


def test_normals_of_an_inside_out_cube_face_the_camera(views: dict[str, View]) -> None:
    view = views["obj_inside_out"]
    above = view.normal[view.labels > 0]
    assert set(np.round(above[:, 2], 3)) <= {0.0, 1.0, -0.0}
