"""The manifest, and the lists of assets that come of it."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from generation.assets import catalogue as catalogue_module
from generation.assets.catalogue import (
    Catalogue,
    FloorAsset,
    ShapeAsset,
    build_mesh,
    default_manifest_path,
    floor_texture,
    wall_texture,
)
from generation.assets.inventory import describe
from generation.assets.manifest import read_manifest
from objnerf.errors import InputError


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.load()


def test_shapes_are_different_and_a_longer_list_begins_with_the_shorter(catalogue: Catalogue) -> None:
    shapes = catalogue.shapes("furniture", 1200, seed=0)
    assert len({shape.id for shape in shapes}) == 1200
    assert len({shape.sha256 for shape in shapes}) == 1200
    assert catalogue.shapes("furniture", 30, seed=0) == shapes[:30]
    families = [shape.family for shape in shapes]
    assert len(set(families)) >= 8
    # chairs have weight 4 of 24: 200 of 1200, and even the first few shapes are of many families
    assert families.count("chair") == 200
    assert len(set(families[:12])) >= 8


def test_the_seed_chooses_and_zero_is_a_seed(catalogue: Catalogue) -> None:
    first, again, other = (catalogue.shapes("chair", 20, seed) for seed in (0, 0, 1))
    assert first == again
    assert not {shape.id for shape in first} & {shape.id for shape in other}


def test_primitives_are_three(catalogue: Catalogue) -> None:
    shapes = catalogue.shapes("primitives", 3, seed=0)
    assert [shape.family for shape in shapes] == ["cube", "sphere", "cylinder"]
    assert shapes == catalogue.shapes("primitives", 3, seed=7)
    with pytest.raises(InputError, match="offers 3"):
        catalogue.shapes("primitives", 4, seed=0)


def test_primitives_have_their_proportions(catalogue: Catalogue) -> None:
    cube, sphere, cylinder = (build_mesh(shape) for shape in catalogue.shapes("primitives", 3, seed=0))
    # a cube of diagonal 1 has sides 1/√3; so has the box of a ball, and that of a cylinder as high as wide
    for mesh in (cube, sphere, cylinder):
        np.testing.assert_allclose(mesh.size, 1 / np.sqrt(3), rtol=1e-3)
    radius = np.linalg.norm(sphere.vertices - [0, 0, sphere.size[2] / 2], axis=1)
    np.testing.assert_allclose(radius, sphere.size[2] / 2, rtol=1e-3)


def test_extent_is_that_of_the_mesh_and_is_remembered(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = catalogue.shapes("table", 1, seed=5)[0]
    mesh, extent = build_mesh(shape), catalogue.extent(shape)
    np.testing.assert_array_equal(extent.size, mesh.size)
    assert extent.footprint[:, 0].max() == pytest.approx(mesh.size[0] / 2, abs=1e-6)
    following = np.roll(extent.footprint, -1, axis=0)
    area = 0.5 * (extent.footprint[:, 0] * following[:, 1] - following[:, 0] * extent.footprint[:, 1]).sum()
    assert 0 < area <= mesh.size[0] * mesh.size[1] + 1e-9
    monkeypatch.setattr(catalogue_module, "build_mesh", None)
    assert catalogue.extent(shape) is extent


@pytest.mark.parametrize(("source", "count"), [("spaceship", 1), ("furniture", 0)])
def test_bad_requests_for_shapes(catalogue: Catalogue, source: str, count: int) -> None:
    with pytest.raises(InputError, match=r"no shape source 'spaceship'; .*chair|at least 1"):
        catalogue.shapes(source, count, seed=0)


def test_unknown_family_or_parameters_in_a_record(catalogue: Catalogue) -> None:
    (shape,) = catalogue.shapes("chair", 1, seed=0)
    with pytest.raises(InputError, match="unknown shape family 'throne'"):
        build_mesh(shape.model_copy(update={"family": "throne"}))
    with pytest.raises(InputError, match="another version"):
        build_mesh(shape.model_copy(update={"params": {"legs": 4}}))
    with pytest.raises(InputError, match="checksum"):
        build_mesh(shape.model_copy(update={"params": shape.params | {"leg": 9.0}}))
    (floor,) = catalogue.floors(1)
    with pytest.raises(InputError, match="checksum"):
        floor_texture(floor.model_copy(update={"params": floor.params | {"count": 3}}), 16)
    with pytest.raises(InputError, match="unknown floor family 'lava'"):
        floor_texture(floor.model_copy(update={"family": "lava"}), 16)
    with pytest.raises(InputError, match="expected palette, count and seed"):
        floor_texture(floor.model_copy(update={"params": {}}), 16)


def coarse(texture: np.ndarray, cells: int = 16) -> np.ndarray:
    """Mean and spread of colour in each of 16 × 16 squares."""
    step = len(texture) // cells
    blocks = texture.astype(np.float64).reshape(cells, step, cells, step, 3).swapaxes(1, 2)
    blocks = blocks.reshape(cells, cells, step * step, 3)
    return np.concatenate([blocks.mean(axis=2), blocks.std(axis=2)], axis=-1)


def test_fifty_floors_differ_to_the_eye(catalogue: Catalogue) -> None:
    floors = catalogue.floors(50)
    assert len({floor.id for floor in floors}) == len({floor.sha256 for floor in floors}) == 50
    assert catalogue.floors(7) == floors[:7]
    looks = np.stack([coarse(floor_texture(floor, 128)).ravel() for floor in floors])
    distance = np.abs(looks[:, None] - looks[None]).mean(axis=-1) + 1e3 * np.eye(50)
    worst = np.unravel_index(distance.argmin(), distance.shape)
    # of 255 grey levels
    assert distance.min() > 6, (floors[worst[0]].id, floors[worst[1]].id, distance.min())


def test_surfaces_tile(catalogue: Catalogue) -> None:
    """Across the seam a texture jumps no more than it does somewhere inside."""
    surfaces = [(floor.id, floor_texture(floor, 256)) for floor in catalogue.floors(52)]
    surfaces += [(wall.id, wall_texture(wall, 256)) for wall in catalogue.walls(16)]
    for name, texture in surfaces:
        values = texture.astype(np.float64)
        for axis in (0, 1):
            # mean jump between neighbouring rows (columns): a row at a joint jumps most
            inside = np.abs(np.diff(values, axis=axis)).mean(axis=(1 - axis, 2))
            seam = np.abs(np.take(values, 0, axis=axis) - np.take(values, -1, axis=axis)).mean()
            assert seam <= 1.2 * inside.max() + 1.0, (name, axis, seam, inside.max())


def test_a_floor_is_its_record_and_looks_the_same_at_every_size(catalogue: Catalogue) -> None:
    for floor in catalogue.floors(26)[::5]:
        again = FloorAsset.model_validate_json(floor.model_dump_json())
        texture = floor_texture(floor, 256)
        np.testing.assert_array_equal(texture, floor_texture(again, 256))
        half = floor_texture(floor, 128).astype(np.float64)
        shrunk = texture.reshape(128, 2, 128, 2, 3).mean(axis=(1, 3))
        assert np.abs(half - shrunk).mean() < 16, floor.id


def test_floors_do_not_repeat_when_palettes_run_out(catalogue: Catalogue) -> None:
    floors = catalogue.floors(400)
    looks = {(floor.family, floor.params["palette"], floor.params["count"]) for floor in floors}
    assert len(looks) == 400


def test_walls_differ(catalogue: Catalogue) -> None:
    walls = catalogue.walls(40)
    assert len({(wall.family, wall.params["palette"], wall.params["count"]) for wall in walls}) == 40


def test_describe_names_every_entry_and_licence(catalogue: Catalogue) -> None:
    text = describe(catalogue)
    for word in (
        "furniture",
        "chair 17 %",
        "shapenet",
        "not given (--shapenet-root",
        "herringbone",
        "MIT",
        "CC0",
    ):
        assert word in text


def test_describe_counts_files(manifest: Path, mesh_folder: Path, shapenet_root: Path) -> None:
    text = describe(Catalogue.load(manifest, shapenet_root=shapenet_root, meshes=mesh_folder))
    assert "chair 7, table 1" in text
    assert "8 files, not yet looked at: chair 1, mesh 7" in text


def test_check_names_what_is_wrong(manifest: Path, mesh_folder: Path, tmp_path: Path) -> None:
    catalogue = Catalogue.load(manifest, meshes=mesh_folder, cache_dir=tmp_path / "cache")
    seen: list[tuple[int, int, str]] = []
    results = catalogue.check(lambda *note: seen.append(note))
    bad = {result.id: result.reason for result in results if result.reason is not None}
    assert set(bad) == {"meshes/flat.ply", "meshes/fine.glb", "meshes/broken.glb", "meshes/empty.obj"}
    assert seen[-1][:2] == (len(results), len(results))
    assert any(result.source == "furniture" for result in results)


def test_default_manifest_is_found_from_a_wheel_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = default_manifest_path()
    assert top.name == "assets_manifest.yaml"
    installed = tmp_path / "site-packages" / "generation" / "assets"
    installed.mkdir(parents=True)
    monkeypatch.setattr(catalogue_module.importlib.resources, "files", lambda _: installed)
    with pytest.raises(InputError, match="not found"):
        default_manifest_path()
    shutil.copy(top, installed / "assets_manifest.yaml")
    assert default_manifest_path() == installed / "assets_manifest.yaml"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("format_version: 1", "format_version: 2"), r"format_version: .*1.*found: '2'"),
        (
            ("{chair: 1, table: 1}", "{throne: 1}"),
            r"shapes\.0\.families \(name: furniture\): unknown family 'throne'",
        ),
        (("{chair: 1, table: 1}", "{chair: 0}"), r"shapes\.0\.families\.chair .*greater than or equal to 1"),
        (("name: furniture, kind", "name: furniture, wheels: 4, kind"), r"shapes\.0\.wheels .*misspelt"),
        (("kind: shapenet,", "kind: shapnet,"), r"shapes\.2 \(name: shapenet\).*'shapnet'"),
        (("synsets: [chair, table]", "synsets: [03001627]"), r"shapes\.2\.synsets .*quoted"),
        ((", licence: my own, tile_size", ", tile_size"), r"floors\.1\.licence \(name: textures\): .*needed"),
        (("tile_size: 3", "tile_size: -1"), r"floors\.1\.tile_size .*greater than 0.*'-1'"),
        (("[planks, checker]", "[planks, lava]"), r"unknown family 'lava'; there are: planks"),
        (("name: primitives", "name: furniture"), r"'furniture' stands 2 times"),
        (("shapes:", "shapes: ["), "expected YAML"),
    ],
)
def test_a_manifest_that_says_something_else(manifest: Path, change: tuple[str, str], complaint: str) -> None:
    text = manifest.read_text()
    assert change[0] in text
    manifest.write_text(text.replace(*change))
    with pytest.raises(InputError, match=complaint) as caught:
        read_manifest(manifest)
    assert str(manifest) in str(caught.value)


def test_a_manifest_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    with pytest.raises(InputError, match="can't be read"):
        read_manifest(path)
    path.write_text("")
    with pytest.raises(InputError, match="found nothing"):
        read_manifest(path)
    path.write_text("- a\n- b\n")
    with pytest.raises(InputError, match="found a list"):
        read_manifest(path)


def test_folders_that_the_manifest_names(manifest: Path, mesh_folder: Path, tmp_path: Path) -> None:
    text = manifest.read_text().replace("kind: folder,", "kind: folder, path: meshes, up: z,")
    manifest.write_text(text)
    catalogue = Catalogue.load(manifest, cache_dir=tmp_path / "cache")
    shapes = {shape.id: shape for shape in catalogue.shapes("furniture", 4, seed=0)}
    tower = build_mesh(ShapeAsset.model_validate(shapes["meshes/tower.obj"].model_dump()), catalogue.roots)
    assert tower.size[2] == max(tower.size)
    manifest.write_text(text.replace("path: meshes", "path: nowhere"))
    with pytest.raises(InputError, match="entry 'meshes': there is no folder"):
        Catalogue.load(manifest)
