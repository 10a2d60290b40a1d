"""Real sizes, mixtures and colours of mesh files in plans."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh

from generation.assets.catalogue import Catalogue
from generation.plan.plan import AssetPool, PlacementError, ScenePlan, fit_request, plan_scene
from generation.plan.request import build_request
from objnerf.errors import InputError

Load = Callable[..., Catalogue]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """A catalogue of boxes of these sizes (in the files' unit), with the options given."""

    def make(*sizes: tuple[float, float, float], **options: object) -> Catalogue:
        folder = tmp_path / "meshes"
        folder.mkdir(exist_ok=True)
        for number, size in enumerate(sizes):
            trimesh.creation.box(extents=size).export(folder / f"box{number}.obj")
        return Catalogue.load(meshes=folder, cache_dir=tmp_path / "cache", **options)  # type: ignore[arg-type]

    return make


def some_plan(catalogue: Catalogue, preset: str = "room-diverse", **values: object) -> ScenePlan:
    request, _ = fit_request(build_request(preset, scenes=40, backgrounds=3, **values), catalogue)  # type: ignore[arg-type]
    pool = AssetPool.draw(catalogue, request)
    for scene in range(40):
        try:
            return plan_scene(request, pool, scene)
        except PlacementError:
            continue
    raise AssertionError("no scene of forty could be planned")


@pytest.mark.parametrize(("unit", "factor"), [("m", 1), ("cm", 100), ("mm", 1000), ("in", 1 / 0.0254)])
def test_real_sizes_by_hand(load: Load, unit: str, factor: float) -> None:
    """A box of .3 x .4 x 1.2 m has a diagonal of 1.3 m: 2.8 world units a metre make 3.64."""
    catalogue = load((0.3 * factor, 1.2 * factor, 0.4 * factor), unit=unit)
    for item in some_plan(catalogue, real_scale=True).objects:
        assert item.scale == pytest.approx(3.64, rel=1e-5)
        assert item.size == pytest.approx((0.84, 1.12, 3.36), rel=1e-5)


def test_furniture_made_by_code_knows_its_size() -> None:
    """Chairs are about 1.2 m across, beds 2.7, whatever their scale in a scene."""
    catalogue = Catalogue.load()
    for family, low, high in (("chair", 0.9, 1.6), ("bed", 2.1, 3.3)):
        metres = [catalogue.metres(shape) for shape in catalogue.shapes(family, 20, seed=0)]
        assert all(value is not None and low < value < high for value in metres)


def test_what_does_not_fit_in_its_real_size_is_named(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    catalogue = load((0.5, 1.0, 0.5), (2, 5, 2), (0.05, 0.05, 0.05))
    request, (note,) = fit_request(
        build_request("room-diverse", scenes=1, backgrounds=3, real_scale=True), catalogue
    )
    assert request.shapes == 1
    assert note.endswith(": 1, of the 1200 requested. All are used")
    reasons = {asset.id: asset.reason for asset in catalogue.dropped}
    # 5 m are 14 units high, in a box of 4.5
    assert reasons["meshes/box1.obj"].startswith(
        "too large for the locality box: its diagonal of 5.74 m is 16.1"
    )
    assert reasons["meshes/box2.obj"].startswith("too small to be seen: its diagonal of 0.0866 m is 0.242")
    assert "left out meshes/box1.obj" in caplog.text
    assert [shape.id for shape in AssetPool.draw(catalogue, request).shapes] == ["meshes/box0.obj"]


def test_a_wrong_unit_is_told(load: Load) -> None:
    catalogue = load((50, 100, 50), (40, 90, 40))
    with pytest.raises(
        InputError, match=r"none of the 2 files that stand in for 'furniture' can be used; .* --unit"
    ):
        fit_request(build_request("room-diverse", scenes=1, real_scale=True), catalogue)


def test_solids_have_no_real_size() -> None:
    with pytest.raises(InputError, match=r"the real size of primitives/cube/.* is unknown"):
        fit_request(build_request("clevr-567", scenes=1, real_scale=True), Catalogue.load())


def test_without_real_scale_units_change_nothing(load: Load) -> None:
    first, second = (some_plan(load((0.5, 1, 0.5), unit=unit)) for unit in ("m", "cm"))
    unlike = {"objects": {"__all__": {"shape": {"params"}}}}
    assert first.model_dump(exclude=unlike) == second.model_dump(exclude=unlike)


def test_the_upward_axis_is_what_was_said(load: Load) -> None:
    """OBJ is y-up, unless it is said to be z-up: a post of 1 x 3 x 1 stands, or lies along y."""
    for up, tallest in ((None, 2), ("y", 2), ("z", 1)):
        catalogue = load((1, 3, 1), up=up)
        (shape,) = catalogue.shapes("furniture", 1, seed=0)
        assert int(np.argmax(catalogue.extent(shape).size)) == tallest
        assert shape.params["up"] == (up or "y")


def test_files_and_shapes_made_by_code_come_in_turn(load: Load) -> None:
    catalogue = load((1, 1, 1), (1, 2, 1), (1, 3, 1), mixed=True)
    shapes = catalogue.offered_shapes("furniture", 1200, seed=0)
    assert [shape.kind for shape in shapes] == ["folder", "procedural"] * 3
    assert catalogue.offered_shapes("furniture", 3, seed=0) == shapes[:3]
    assert [shape for shape in shapes if shape.kind == "procedural"] == Catalogue.load().shapes(
        "furniture", 3, 0
    )
    _, notes = fit_request(build_request("room-diverse", scenes=1), catalogue)
    assert "and as many procedural ones: 6, of the 1200 requested" in notes[0]


def test_mixtures_stay_even_where_some_do_not_fit(load: Load) -> None:
    catalogue = load((0.5, 1, 0.5), (9, 9, 9), mixed=True)
    request, _ = fit_request(build_request("room-diverse", scenes=1, real_scale=True), catalogue)
    assert [shape.kind for shape in AssetPool.draw(catalogue, request).shapes] == ["folder", "procedural"]


def test_a_mixture_without_files_is_refused() -> None:
    with pytest.raises(InputError, match="--mix puts shapes made by code beside those of files"):
        fit_request(build_request("room-diverse", scenes=1), Catalogue.load(mixed=True))


def test_room_chair_recolours_files_and_others_do_when_asked(load: Load) -> None:
    catalogue = load((1, 1, 1))
    chairs = some_plan(catalogue, "room-chair").objects
    tints = {item.tint for item in chairs}
    assert len(tints) == len(chairs)
    assert all(item.tint == item.materials["paint"].colour for item in chairs)
    assert {item.tint for item in some_plan(catalogue).objects} == {None}
    assert None not in {item.tint for item in some_plan(catalogue, recolour=True).objects}
    assert {item.tint for item in some_plan(catalogue, "room-chair", recolour=False).objects} == {None}


def test_shapes_made_by_code_have_their_materials_and_no_tint() -> None:
    assert {item.tint for item in some_plan(Catalogue.load(), "room-chair", shapes=1).objects} == {None}
