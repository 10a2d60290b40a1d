"""ShapeNet, mesh folders and image textures: what is good is used, what is not is refused by name."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from generation.assets.catalogue import Catalogue, FloorAsset, ShapeAsset, build_mesh, floor_texture
from generation.assets.check import default_cache_dir
from generation.assets.inventory import describe
from generation.assets.mesh import ShapeMesh
from generation.assets.meshes import companions, family_of, load_mesh, sound_faces
from generation.assets.reading.companions import Surroundings
from generation.assets.reading.pieces import UnusableMesh
from generation.assets.shapenet import choose_synsets, find_models
from generation.assets.textures import square_copies
from objnerf.errors import InputError, WorkError


def volume(mesh: ShapeMesh) -> float:
    return float(trimesh.Trimesh(mesh.vertices, mesh.faces).volume)


def load(manifest: Path, tmp_path: Path, **folders: Path) -> Catalogue:
    return Catalogue.load(manifest, cache_dir=tmp_path / "cache", **folders)


def test_shapenet_uses_the_good_and_names_the_bad(
    manifest: Path, shapenet_root: Path, tmp_path: Path
) -> None:
    catalogue = load(manifest, tmp_path, shapenet_root=shapenet_root)
    shapes = catalogue.shapes("furniture", 3, seed=0)
    assert {shape.id for shape in shapes} == {
        "shapenet/03001627/a0good",
        "shapenet/03001627/a1twice",
        "shapenet/04379243/c0good",
    }
    assert {shape.family for shape in shapes} == {"chair", "table"}
    assert {shape.licence for shape in shapes} == {"ShapeNet terms"}
    with pytest.raises(InputError, match=r"offers 3 .*5 more can't be used"):
        catalogue.shapes("furniture", 4, seed=0)
    reasons = {dropped.id.rpartition("/")[2]: dropped.reason for dropped in catalogue.dropped}
    assert "texture0.png" in reasons["b0notexture"]
    assert "missing" in reasons["b0notexture"]
    assert "empty" in reasons["b1empty"]
    assert "not finite" in reasons["b2nan"]
    assert "0.2 MB" in reasons["b3huge"]
    assert "not there" in reasons["b4nothing"]
    assert len(reasons) == 5


def test_shapenet_is_turned_upright_and_centred(manifest: Path, shapenet_root: Path, tmp_path: Path) -> None:
    catalogue = load(manifest, tmp_path, shapenet_root=shapenet_root)
    for shape in catalogue.shapes("furniture", 3, seed=0):
        mesh = build_mesh(shape, catalogue.roots)
        # 0.4 wide and deep, from 0.2 to 0.7 high: diagonal √(0.16 + 0.16 + 0.25)
        np.testing.assert_allclose(mesh.size, np.array([0.4, 0.4, 0.5]) / np.sqrt(0.57), atol=1e-6)
        assert mesh.vertices[:, 2].min() == 0
        np.testing.assert_allclose(
            mesh.vertices[:, :2].min(axis=0), -mesh.vertices[:, :2].max(axis=0), atol=1e-6
        )
        # the file's front is -z; ours is -y, so the tall back stands at +y
        top = mesh.vertices[mesh.vertices[:, 2] > 0.9 * mesh.size[2]]
        assert (top[:, 1] > 0).all()
        # a rotation, no reflection: the volume stays positive, and inside-out twins are gone
        assert volume(mesh) == pytest.approx((0.4 * 0.05 * 0.4 + 0.4 * 0.45 * 0.04) / 0.57**1.5, rel=1e-5)
        assert len(mesh.faces) == 24
        # vertices that the file repeats for their texture coordinates are joined: two boxes, each closed
        assert len(mesh.vertices) == 16
        assert trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).is_watertight
        assert mesh.roles == ("own",)
        image = mesh.materials[0].image
        assert image is not None
        assert tuple(image[0, 0]) == (150, 100, 50)
        assert mesh.uv is not None
        assert mesh.uv.shape == (24, 3, 2)
        extent = catalogue.extent(shape)
        np.testing.assert_allclose(extent.size, mesh.size)
        np.testing.assert_allclose(extent.footprint, mesh.footprint())


def test_shapes_of_files_are_in_an_order_of_the_seed(
    manifest: Path, shapenet_root: Path, tmp_path: Path
) -> None:
    catalogue = load(manifest, tmp_path, shapenet_root=shapenet_root)
    orders = {seed: [shape.id for shape in catalogue.shapes("furniture", 3, seed)] for seed in range(6)}
    assert len({tuple(order) for order in orders.values()}) > 1
    assert [shape.id for shape in catalogue.shapes("furniture", 2, 0)] == orders[0][:2]


def test_one_family_of_shapenet(manifest: Path, shapenet_root: Path, tmp_path: Path) -> None:
    catalogue = load(manifest, tmp_path, shapenet_root=shapenet_root)
    assert [s.id for s in catalogue.shapes("table", 1, seed=0)] == ["shapenet/04379243/c0good"]
    with pytest.raises(InputError, match="stand in for 'furniture'"):
        catalogue.shapes("primitives", 1, seed=0)


def test_taxonomy_walks_down_and_names_what_is_there(shapenet_root: Path) -> None:
    (shapenet_root / "02738535" / "d0").mkdir(parents=True)
    assert [s.id for s in choose_synsets(shapenet_root, ["chair"])] == ["03001627", "02738535"]
    assert [s.names for s in choose_synsets(shapenet_root, ["04379243"])] == [("table",)]
    assert len(find_models(shapenet_root, choose_synsets(shapenet_root, ["chair"])[0])) == 7
    with pytest.raises(InputError, match=r"no synset 'spaceship'; it holds: armchair, chair, table"):
        choose_synsets(shapenet_root, ["spaceship"])
    (shapenet_root / "taxonomy.json").unlink()
    assert choose_synsets(shapenet_root, ["chair"])[0].id == "03001627"
    (shapenet_root / "taxonomy.json").write_text('{"not": "a list"}')
    with pytest.raises(InputError, match="synsetId, name and children"):
        choose_synsets(shapenet_root, ["chair"])


def test_a_root_that_is_no_shapenet(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        load(manifest, tmp_path, shapenet_root=tmp_path / "nowhere")
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="expected ShapeNetCore v1 or v2"):
        load(manifest, tmp_path, shapenet_root=tmp_path / "other").shapes("furniture", 1, 0)


def test_mesh_folder(manifest: Path, mesh_folder: Path, tmp_path: Path) -> None:
    catalogue = load(manifest, tmp_path, meshes=mesh_folder)
    shapes = {shape.id: shape for shape in catalogue.shapes("furniture", 4, seed=0)}
    assert set(shapes) == {
        "meshes/chair/red box.glb",
        "meshes/ball.ply",
        "meshes/tower.obj",
        "meshes/cone.gltf",
    }
    red = build_mesh(shapes["meshes/chair/red box.glb"], catalogue.roots)
    assert red.materials[0].colour == (1.0, 0.0, 0.0)
    # glTF is y-up: the 2 of 1 × 2 × 3 stands; a PLY is z-up
    np.testing.assert_allclose(red.size * np.sqrt(14), [1, 3, 2], atol=1e-5)
    assert volume(red) == pytest.approx(6 / 14**1.5, rel=1e-5)
    tower = build_mesh(shapes["meshes/tower.obj"], catalogue.roots)
    # trimesh's cylinder stands along z; as an OBJ it is taken as y-up, so it lies, along y
    assert tower.size[1] == max(tower.size)
    assert catalogue.shapes("chair", 1, seed=0)[0].family == "chair"
    with pytest.raises(InputError, match="offers 4"):
        catalogue.shapes("furniture", 5, seed=0)
    reasons = {dropped.id: dropped.reason for dropped in catalogue.dropped}
    assert "more than the limit of 5000" in reasons["meshes/fine.glb"] or "MB" in reasons["meshes/fine.glb"]
    assert "flat" in reasons["meshes/flat.ply"]
    assert "can't be read" in reasons["meshes/broken.glb"]
    assert "empty" in reasons["meshes/empty.obj"]
    assert len(reasons) == 4


def test_a_record_of_a_file_holds_no_path_and_notices_a_change(
    manifest: Path, mesh_folder: Path, tmp_path: Path
) -> None:
    catalogue = load(manifest, tmp_path, meshes=mesh_folder)
    (ball,) = (s for s in catalogue.shapes("furniture", 4, seed=0) if s.id == "meshes/ball.ply")
    record = ball.model_dump_json()
    assert str(tmp_path) not in record
    assert volume(build_mesh(ShapeAsset.model_validate_json(record), catalogue.roots)) > 0
    with pytest.raises(InputError, match="--meshes DIR"):
        build_mesh(ball)
    trimesh.creation.icosphere(subdivisions=1).export(mesh_folder / "ball.ply")
    with pytest.raises(WorkError, match="checksums differ"):
        build_mesh(ball, catalogue.roots)
    (mesh_folder / "ball.ply").unlink()
    with pytest.raises(WorkError, match=r"ball\.ply"):
        build_mesh(ball, catalogue.roots)


def test_verdicts_are_remembered_by_content(
    manifest: Path, mesh_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(manifest, tmp_path, meshes=mesh_folder)
    shapes = first.shapes("furniture", 4, seed=0)
    from generation.assets import check

    def never(*_: object) -> ShapeMesh:
        raise AssertionError("the file was read again")

    monkeypatch.setattr(check, "load_mesh", never)
    again = load(manifest, tmp_path, meshes=mesh_folder)
    assert again.shapes("furniture", 4, seed=0) == shapes
    for shape in shapes:
        np.testing.assert_array_equal(again.extent(shape).footprint, first.extent(shape).footprint)
    # a touched file of the same content is hashed again, and that is all
    os.utime(mesh_folder / "ball.ply", ns=(1, 1))
    assert load(manifest, tmp_path, meshes=mesh_folder).shapes("furniture", 4, seed=0) == shapes


def test_a_texture_that_appears_changes_the_verdict(
    manifest: Path, shapenet_root: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError):
        load(manifest, tmp_path, shapenet_root=shapenet_root).shapes("furniture", 4, seed=0)
    image = shapenet_root / "03001627" / "b0notexture" / "images" / "texture0.png"
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).save(image)
    assert len(load(manifest, tmp_path, shapenet_root=shapenet_root).shapes("furniture", 4, seed=0)) == 4
    image.write_bytes(image.read_bytes()[:600])
    catalogue = load(manifest, tmp_path, shapenet_root=shapenet_root)
    with pytest.raises(InputError):
        catalogue.shapes("furniture", 4, seed=0)
    assert any("texture0.png' can't be read" in dropped.reason for dropped in catalogue.dropped)


def test_where_verdicts_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBJNERF_CACHE", str(tmp_path / "named"))
    assert default_cache_dir() == tmp_path / "named"
    monkeypatch.delenv("OBJNERF_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "objnerf"
    monkeypatch.delenv("XDG_CACHE_HOME")

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert default_cache_dir().name.startswith("objnerf-")


def test_a_cache_that_cannot_be_written_is_done_without(
    manifest: Path, mesh_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert len(load(manifest, tmp_path, meshes=mesh_folder).shapes("furniture", 4, seed=0)) == 4


def test_nothing_outside_a_models_folder_is_read(tmp_path: Path) -> None:
    model = tmp_path / "synset" / "model" / "models"
    model.mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(b"x")
    around = Surroundings.of(model / "model.obj")
    assert around.find("../../../secret.png") is None
    assert "lies outside" in around.why_missing("../../../secret.png")
    assert around.find(str(tmp_path / "secret.png")) is None
    assert "is missing" in around.why_missing("nowhere.png")
    # the limit is the folder that the user gave
    assert Surroundings(model, tmp_path).find("../../../secret.png") == model / "../../../secret.png"
    (model.parent / "images").mkdir()
    (model.parent / "images" / "wood 1.png").write_bytes(b"x")
    assert around.find("C:\\textures\\wood 1.png") == model.parent / "images" / "wood 1.png"


def test_twins_keep_the_face_that_looks_outward() -> None:
    body = trimesh.creation.box()
    both = np.concatenate([body.faces[:, ::-1], body.faces])
    kept = sound_faces(np.array(body.vertices), both)
    assert kept.sum() == 12
    assert kept[12:].all()
    flat = np.array([[0, 0, 0], [0, 1, 1]])
    assert not sound_faces(np.array(body.vertices), flat).any()


def test_twins_are_found_wherever_the_last_digits_fall() -> None:
    """The same box twice, 10⁻⁹ apart, on either side of boundaries of rounding."""
    body = trimesh.creation.box()
    near = np.array(body.vertices) + 0.5 * 10.0 ** -np.arange(4, 7)
    vertices = np.concatenate([near - 5e-10, near + 5e-10])
    faces = np.concatenate([body.faces, body.faces + len(near)])
    assert sound_faces(vertices, faces).sum() == 12
    # at a distance that can be seen they are two
    assert sound_faces(vertices + np.repeat([[0.0], [1e-4]], len(near), axis=0), faces).sum() == 24


def test_textures_of_the_users(manifest: Path, tmp_path: Path) -> None:
    folder = tmp_path / "textures"
    (folder / "wood").mkdir(parents=True)
    x = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    wave = np.uint8(127 + 100 * np.sin(x)[None] * np.cos(x)[:, None])
    Image.fromarray(np.stack([wave, wave, wave // 2], axis=-1)).save(folder / "wood" / "a_seamless.png")
    ramp = np.broadcast_to(np.linspace(0, 255, 64), (64, 64)).astype(np.uint8)
    Image.fromarray(ramp).save(folder / "b_ramp.jpg")
    Image.new("RGB", (4, 4)).save(folder / "c_tiny.png")
    (folder / "d_broken.png").write_bytes(b"\x89PNG nothing")
    catalogue = load(manifest, tmp_path, textures=folder)
    ramp_floor, seamless = catalogue.floors(2)
    assert seamless.id == "textures/wood/a_seamless.png"
    assert (seamless.params, seamless.tile_size) == ({"mirrored": False}, 3)
    assert (ramp_floor.params, ramp_floor.tile_size) == ({"mirrored": True}, 6)
    picture = floor_texture(FloorAsset.model_validate_json(ramp_floor.model_dump_json()), 32, catalogue.roots)
    assert picture.shape == (32, 32, 3)
    # a ramp and back again: black at both ends, white in the middle
    assert picture[:, 0].max() < 20
    assert picture[:, -1].max() < 20
    assert picture[:, 15:17].min() > 235
    with pytest.raises(InputError, match="offers 2 usable"):
        catalogue.floors(3)
    assert {dropped.id for dropped in catalogue.dropped} == {"textures/c_tiny.png", "textures/d_broken.png"}


def test_load_mesh_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "points.ply"
    trimesh.PointCloud(np.random.default_rng(0).random((5, 3))).export(path)
    with pytest.raises(UnusableMesh, match="no triangles"):
        load_mesh(path, "z")
    path = tmp_path / "far.obj"
    path.write_text("v 0 0 0\nv 1 0 0\nf 1 2 9\n")
    with pytest.raises(UnusableMesh):
        load_mesh(path, "y")
    path = tmp_path / "flat_world.obj"
    path.write_text("v 0 0\nv 1 0\nv 0 1\nf 1 2 3\n")
    with pytest.raises(UnusableMesh, match="fewer than three numbers"):
        load_mesh(path, "y")
    path = tmp_path / "universe.obj"
    path.write_text("v 0 0 0\nv 1e200 0 0\nv 0 1e200 0\nv 0 0 1e200\nf 1 2 3\nf 1 2 4\n")
    with pytest.raises(UnusableMesh, match=r"reach 1e\+200"):
        load_mesh(path, "y")
    path = tmp_path / "scene.gltf"
    path.write_text("{not json")
    with pytest.raises(UnusableMesh, match="glTF"):
        load_mesh(path, "y")


def test_what_gltf_requires_and_is_not_known_is_refused_by_name(mesh_folder: Path) -> None:
    path = mesh_folder / "cone.gltf"
    content = json.loads(path.read_text())
    content["extensionsRequired"] = ["EXT_meshopt_compression"]
    path.write_text(json.dumps(content))
    with pytest.raises(UnusableMesh, match=r"requires EXT_meshopt_compression.*export it without"):
        load_mesh(path, "y")


def test_material_files_are_found_by_their_lines(tmp_path: Path) -> None:
    """Words inside comments and names are no keywords; options and blanks in image names are understood."""
    (tmp_path / "a b.mtl").write_text(
        "newmtl x\n# map_Kd no.png\n  MAP_KD -s 1 1 1 -clamp on my wood.png\r\n"
    )
    (tmp_path / "thing.obj").write_text("# mtllib none.mtl\nmtllib a b.mtl\nusemtl x_map_kd\nv 0 0 0\n")
    assert companions(tmp_path / "thing.obj") == [("a b.mtl", tmp_path / "a b.mtl"), ("my wood.png", None)]


def test_of_a_set_of_maps_the_colours_are_used(manifest: Path, tmp_path: Path) -> None:
    """As downloaded from Poly Haven and ambientCG; a word alone makes no map."""
    folder = tmp_path / "textures"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    for name in (
        *("brick_diff_2k.jpg", "brick_nor_gl_2k.png", "brick_rough_2k.jpg"),
        *("Wood01_1K_Color.png", "Wood01_1K_NormalGL.png", "Wood01_1K_AmbientOcclusion.png"),
        *("stone.png", "stone_height.png", "oak_rough.png"),
    ):
        Image.fromarray(noise).save(folder / name)
    catalogue = load(manifest, tmp_path, textures=folder)
    used = {floor.id.removeprefix("textures/") for floor in catalogue.floors(4)}
    assert used == {"brick_diff_2k.jpg", "Wood01_1K_Color.png", "stone.png", "oak_rough.png"}
    said = {other.id: other.notes for other in catalogue.left_out()}
    assert len(said) == 5
    assert said["textures/brick_rough_2k.jpg"] == (
        "left out: a map of brick_diff_2k.jpg, which holds the colours",
    )
    assert "not used: 5 files: Wood01_1K_AmbientOcclusion.png" in describe(catalogue)


@pytest.mark.parametrize(
    ("size", "copies"), [((64, 64), (1, 1)), ((128, 64), (1, 2)), ((60, 90), (3, 2)), ((640, 64), (1, 4))]
)
def test_copies_of_an_image_make_a_square(size: tuple[int, int], copies: tuple[int, int]) -> None:
    assert square_copies(*size) == copies


def test_the_aspect_of_a_texture_is_kept(manifest: Path, tmp_path: Path) -> None:
    """Two periods of a wave across and one down, on twice as many pixels across: square waves."""
    folder = tmp_path / "textures"
    folder.mkdir()
    u, v = np.meshgrid(np.arange(128) / 64, np.arange(64) / 64)
    wave = np.uint8(127 + 60 * np.sin(2 * np.pi * u) + 60 * np.sin(2 * np.pi * v))
    Image.fromarray(wave).save(folder / "wide.png")
    catalogue = load(manifest, tmp_path, textures=folder)
    (floor,) = catalogue.floors(1)
    assert (floor.params, floor.tile_size) == ({"mirrored": False, "across": 1, "down": 2}, 3)
    picture = floor_texture(floor, 64, catalogue.roots)[..., 0].astype(float)
    # two periods each way now
    assert np.abs(np.fft.fft(picture.mean(axis=0)))[1:20].argmax() == 1
    assert np.abs(np.fft.fft(picture.mean(axis=1)))[1:20].argmax() == 1


def test_transparent_parts_of_a_texture_are_white(manifest: Path, tmp_path: Path) -> None:
    folder = tmp_path / "textures"
    folder.mkdir()
    Image.new("RGBA", (16, 16), (200, 0, 0, 0)).save(folder / "clear.png")
    catalogue = load(manifest, tmp_path, textures=folder)
    assert (floor_texture(catalogue.floors(1)[0], 16, catalogue.roots) == 255).all()


def test_what_is_no_mesh_is_named(manifest: Path, tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    (folder / "03001627.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"03001627\.zip, as ShapeNet is downloaded; unpack it"):
        load(manifest, tmp_path, shapenet_root=folder).shapes("furniture", 1, 0)
    with pytest.raises(InputError, match=r"but 1 that can't be used, as 03001627\.zip \(archives"):
        load(manifest, tmp_path, meshes=folder).shapes("furniture", 1, 0)


def test_families_are_named_for_folders_that_say_something() -> None:
    assert family_of(Path("chair/a.obj")) == "chair"
    assert family_of(Path("Cole_Hardware_Mug/meshes/model.obj")) == "Cole_Hardware_Mug"
    assert family_of(Path("models/1a2b.obj")) == "mesh"
