"""What mesh files say of their colours, as their formats mean it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from generation.assets.mesh import PartMaterial, ShapeMesh
from generation.assets.meshes import companions, load_mesh, up_of
from generation.assets.reading.obj import TextureStatement
from generation.assets.reading.pieces import UnusableMesh
from generation.assets.sampling import is_solid, surface_colours

RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 200, 30), (40, 60, 220), (240, 220, 40)


def load(data: Path, case: str, name: str = "model.gltf") -> ShapeMesh:
    path = data / "meshes" / case / name
    return load_mesh(path, up_of(path, "auto"), root=data / "meshes" / case)


def material(data: Path, case: str, name: str = "model.gltf") -> PartMaterial:
    (found,) = load(data, case, name).materials
    return found


def everywhere(mesh: ShapeMesh, points: int = 400) -> np.ndarray:
    """sRGB in [0, 255] of random points of a surface."""
    rng = np.random.default_rng(0)
    face, weights = rng.integers(len(mesh.faces), size=points), rng.dirichlet((1, 1, 1), points)
    return 255 * surface_colours(mesh, face, weights, [(0.5, 0.5, 0.5)] * len(mesh.materials))


def test_base_colour_factors_are_linear(data: Path) -> None:
    """(.2, .05, .02): 1.055 · .2^(1/2.4) - .055 = .4845, and so on: sRGB (124, 63, 39)."""
    found = material(data, "gltf_linear_factor")
    assert found.colour is not None
    assert np.asarray(found.colour) * 255 == pytest.approx([124, 63, 39], abs=1.5)


def test_a_texture_is_multiplied_by_the_factor(data: Path) -> None:
    """Grey 230 times (1, .2, .2) in linear light: 230, and sRGB of .791 · .2 = .158, which is 110."""
    found = material(data, "gltf_factor_times_texture")
    assert found.image is not None
    assert found.image.reshape(-1, 3).mean(axis=0) == pytest.approx([230, 110, 110], abs=2)


def test_the_default_material_of_gltf_is_white(data: Path) -> None:
    found = material(data, "gltf_no_material")
    assert (found.role, found.colour, found.image) == ("own", (1.0, 1.0, 1.0), None)


def test_sixteen_bits_are_scaled(data: Path) -> None:
    """Left half 25 %, right half 75 %."""
    image = material(data, "obj_16bit", "model.obj").image
    assert image is not None
    width = image.shape[1]
    assert image[:, : width // 2].mean() == pytest.approx(64, abs=2)
    assert image[:, width // 2 :].mean() == pytest.approx(191, abs=2)


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ("gltf_percent_names", "model.gltf"),
        ("gltf_webp", "model.gltf"),
        ("gltf_specgloss", "model.gltf"),
        ("gltf_negative_scale", "model.gltf"),
        ("gltf_image_two_up", "models/a/model.gltf"),
        ("obj_mtl_bom", "model.obj"),
        ("obj_backslash_path", "model.obj"),
        ("obj_windows_abs_path", "model.obj"),
        ("obj_case_mismatch", "model.obj"),
        ("obj_spaces", "my chair 1.obj"),
        ("obj_tga", "model.obj"),
        ("obj_cmyk", "model.obj"),
        ("obj_crlf", "model.obj"),
        ("obj_continuation", "model.obj"),
        ("obj_latin1", "model.obj"),
        ("obj_latin1_name", "model.obj"),
        ("obj_map_before_newmtl_Kd_black", "model.obj"),
        ("ply_texturefile", "model.ply"),
        ("layout_gso", "Cole_Hardware_Mug/meshes/model.obj"),
        ("layout_shapenetsem", "models/1a2b.obj"),
        ("layout_3dfuture", "0a5a346b/normalized_model.obj"),
        ("layout_partnet", "1001/mobility.urdf"),
    ],
)
def test_the_texture_shows(data: Path, case: str, name: str) -> None:
    """Four quarters: red, green, blue and yellow, a quarter of each face each."""
    mesh = load(data, case, name)
    assert mesh.size == pytest.approx(np.full(3, 3**-0.5), abs=1e-6)
    assert mesh.notes == ()
    shown = everywhere(mesh)
    nearest = np.abs(shown[:, None] - np.array([RED, GREEN, BLUE, YELLOW])).sum(axis=2)
    assert np.bincount(nearest.argmin(axis=1)) / len(shown) == pytest.approx(np.full(4, 0.25), abs=0.08)
    assert nearest.min(axis=1).max() < 60


def test_texture_transforms_are_applied(data: Path, tmp_path: Path, new_gltf: Any) -> None:
    """Scaled by half, whole faces show the top-left quarter; turned by a quarter of a circle (in glTF, image
    coordinates turn against the clock) and shifted, u' = v and v' = 1 - u."""
    assert np.abs(everywhere(load(data, "gltf_texture_transform")) - RED).max() < 10
    moved = {"KHR_texture_transform": {"rotation": np.pi / 2, "offset": [0, 1]}}
    mesh = load_mesh(textured_cube(new_gltf(), tmp_path, extensions=moved), "y")
    assert mesh.uv is not None
    uv = np.array([[0.2, 0.3]])
    # ours count v upwards: (u', 1 - v') = (0.3, 1 - 0.8)
    assert np.abs(mesh.uv - [0.3, 0.2]).max() < 1e-6, uv


def textured_cube(file: Any, folder: Path, **info: Any) -> Path:
    """A cube all of whose corners have the texture coordinates (.2, .3), and (.7, .1) in a second set."""
    sets = {"TEXCOORD_0": file.accessor(np.tile([0.2, 0.3], (24, 1)))}
    sets["TEXCOORD_1"] = file.accessor(np.tile([0.7, 0.1], (24, 1)))
    surface = {"baseColorTexture": {"index": 0, **info}}
    return file.write(
        folder / "cube.gltf",
        meshes=[{"primitives": [{**file.cube(**sets), "material": 0}]}],
        materials=[{"pbrMetallicRoughness": surface}],
        textures=[{"source": 0}],
        images=[{"uri": file.png(np.array([[RED, GREEN], [BLUE, YELLOW]]))}],
    )


def test_the_second_set_of_texture_coordinates_is_used_where_it_is_meant(
    tmp_path: Path, new_gltf: Any
) -> None:
    assert np.abs(everywhere(load_mesh(textured_cube(new_gltf(), tmp_path), "y")) - RED).max() < 1
    assert (
        np.abs(everywhere(load_mesh(textured_cube(new_gltf(), tmp_path, texCoord=1), "y")) - GREEN).max() < 1
    )


def test_a_texture_without_its_coordinates_gives_its_mean(tmp_path: Path, new_gltf: Any) -> None:
    mesh = load_mesh(textured_cube(new_gltf(), tmp_path, texCoord=2), "y")
    assert mesh.materials[0].image is None
    assert mesh.notes == ("no texture coordinates for a texture: its mean colour taken",)


def test_clamped_coordinates_show_the_edge(data: Path) -> None:
    """uv runs from -1 to 2 on each face: a third of it repeats the texture's edge on either side, so that
    each colour still has a quarter, in one piece. Repeated, it would change three times."""
    mesh = load(data, "gltf_wrap_clamp")
    assert mesh.materials[0].wrap == ("clamp", "clamp")
    line = np.linspace(0.01, 0.99, 99)
    # along the hypotenuse of a triangle, past the middle
    weights = np.stack([line, 1 - line, np.zeros(99)], axis=1)
    shown = surface_colours(mesh, np.zeros(99, int), weights, [(0.0, 0.0, 0.0)])
    assert (np.abs(np.diff(shown, axis=0)).sum(axis=1) > 0.1).sum() == 1


def test_what_is_cut_out_is_not_there(data: Path) -> None:
    """A disc of each face: its share of the texture's pixels is 30 %."""
    mesh = load(data, "gltf_alpha_mask")
    cutout = mesh.materials[0].cutout
    assert cutout is not None
    assert cutout.mean() == pytest.approx(0.30, abs=0.01)
    rng = np.random.default_rng(0)
    solid = is_solid(mesh, rng.integers(12, size=4000), rng.dirichlet((1, 1, 1), 4000))
    assert solid.mean() == pytest.approx(0.30, abs=0.03)
    # the middle of a face is the middle of its diagonal
    assert is_solid(mesh, np.array([0]), np.array([[0.5, 0, 0.5]])).all()
    assert not is_solid(mesh, np.array([0]), np.array([[1.0, 0, 0]])).any()


def test_emission_and_metal(data: Path) -> None:
    glowing = material(data, "gltf_emissive")
    assert (glowing.colour, glowing.emission) == ((0.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    gold = material(data, "gltf_metal")
    assert (gold.metallic, gold.roughness) == (1.0, pytest.approx(0.1))


def test_roughness_and_metalness_of_an_image(tmp_path: Path, new_gltf: Any) -> None:
    """Roughness is green times its factor, metalness is blue times its own."""
    file = new_gltf()
    uv = file.accessor(np.tile([0.5, 0.5], (24, 1)))
    surface = {"metallicRoughnessTexture": {"index": 0}, "roughnessFactor": 0.5, "metallicFactor": 1.0}
    path = file.write(
        tmp_path / "cube.gltf",
        meshes=[{"primitives": [{**file.cube(TEXCOORD_0=uv), "material": 0}]}],
        materials=[{"pbrMetallicRoughness": surface}],
        textures=[{"source": 0}],
        images=[{"uri": file.png(np.full((4, 4, 3), (9, 200, 255)))}],
    )
    (found,) = load_mesh(path, "y").materials
    assert found.metallic_roughness is not None
    assert found.metallic_roughness.tolist() == np.full((4, 4, 2), (100, 255)).tolist()


def test_specular_glossiness(data: Path) -> None:
    """Diffuse factors are linear: .8 is sRGB 231, .05 is 63; gloss is the opposite of roughness."""
    found = material(data, "gltf_specgloss_factor")
    assert found.colour is not None
    assert np.asarray(found.colour) * 255 == pytest.approx([231, 63, 63], abs=1)
    assert (found.metallic, found.roughness) == (0.0, pytest.approx(0.2))


def test_colours_of_vertices(data: Path, tmp_path: Path, new_gltf: Any) -> None:
    """OBJ and PLY: the colour of a corner of the cube is its place. sRGB there, linear in glTF."""
    for case, name in (("obj_vertex_colours", "model.obj"), ("ply_vertex_colours", "model.ply")):
        mesh = load(data, case, name)
        corners = mesh.vertices[mesh.faces.ravel()]
        place = (corners - corners.min(axis=0)) / np.ptp(corners, axis=0)
        if name.endswith(".obj"):  # y is up: the file's (x, y, z) became (x, -z, y)
            place = np.column_stack([place[:, 0], place[:, 2], 1 - place[:, 1]])
        assert mesh.colours is not None
        assert mesh.colours.reshape(-1, 3) == pytest.approx(place, abs=1e-6)
    file = new_gltf()
    colours = file.accessor(np.tile([51, 255, 0, 255], (24, 1)), "u1", normalized=True)
    path = file.write(tmp_path / "cube.gltf", meshes=[{"primitives": [file.cube(COLOR_0=colours)]}])
    # 51/255 = .2 in linear light is sRGB 124
    assert everywhere(load_mesh(path, "y")) == pytest.approx(np.tile([124, 255, 0], (400, 1)), abs=0.6)


@pytest.mark.parametrize(
    ("case", "note"),
    [
        ("obj_missing_mtl", "its material file 'gone.mtl' is missing"),
        ("obj_usemtl_unknown", "material 'other' is in none of its material files"),
        ("obj_map_Ka_only", "ambient texture (map_Ka) left out"),
        ("obj_no_vt", "no texture coordinates for 'tex.png': its mean colour taken"),
    ],
)
def test_what_does_not_show_is_said(data: Path, case: str, note: str) -> None:
    assert load(data, case, "model.obj").notes == (note,)


def test_what_cannot_be_read_is_named(data: Path, tmp_path: Path, new_gltf: Any) -> None:
    with pytest.raises(UnusableMesh, match="texture 0 is a KTX2 image; convert it"):
        load(data, "gltf_basisu_used")
    with pytest.raises(UnusableMesh, match=r"'tex\.png' is missing"):
        load(data, "obj_missing_texture", "model.obj")
    outside = data / "meshes" / "gltf_image_two_up" / "models" / "a" / "model.gltf"
    with pytest.raises(UnusableMesh, match=r"q\.png' lies outside of .*models"):
        load_mesh(outside, "y", root=outside.parents[1])
    path = textured_cube(new_gltf(), tmp_path)
    text = path.read_text()
    path.write_text(text[: text.index("iVBOR")] + "AAAA" + text[text.index("iVBOR") + 4 :])
    with pytest.raises(
        UnusableMesh,
        match=r"^its texture 'image 0' can't be read \(it is no image of a known format\)$",
    ):
        load_mesh(path, "y")


def test_texture_statements() -> None:
    """Options come first, and take as many words as they have; the name may hold blanks."""
    parse = TextureStatement.parse
    assert parse("-s 2 3 1 -o .5 wood 2.png") == TextureStatement("wood 2.png", (2.0, 3.0), (0.5, 0.0))
    assert parse("-clamp on -bm 0.3\ta.png") == TextureStatement("a.png", clamped=True)
    assert parse("-mm 0 1 -blendu off -imfchan l 12 in.png") == TextureStatement("12 in.png")


def test_mtl_scale_and_offset(tmp_path: Path) -> None:
    """u · scale + offset: (0, 0), (1, 0), (0, 1) become (.5, 0), (2.5, 0), (.5, 3)."""
    (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd -o 0.5 0 0 -s 2 3 1 t.png\n")
    Image.new("RGB", (4, 4)).save(tmp_path / "t.png")
    (tmp_path / "a.obj").write_text(
        "mtllib a.mtl\nusemtl m\nv 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nvt 0 0\nvt 1 0\nvt 0 1\n"
        "f 1/1 2/2 3/3\nf 1/1 3/3 4/2\n"
    )
    mesh = load_mesh(tmp_path / "a.obj", "y")
    assert mesh.uv is not None
    assert {tuple(uv) for uv in mesh.uv.reshape(-1, 2).tolist()} == {(0.5, 0), (2.5, 0), (0.5, 3)}


def test_colours_of_mtl_are_linear_as_in_blender(tmp_path: Path) -> None:
    """(.2, .05, .02) is sRGB (124, 63, 39), as in glTF; a material without a colour is .8."""
    (tmp_path / "a.mtl").write_text("newmtl m\nKd .2 .05 .02\nKe .5 0 0\nPr .1\nPm 1\nnewmtl bare\n")
    faces = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nusemtl m\nf 1 3 2\nf 1 2 4\nusemtl bare\nf 2 3 4\n"
    (tmp_path / "a.obj").write_text("mtllib a.mtl\n" + faces)
    shown, bare = load_mesh(tmp_path / "a.obj", "y").materials
    assert np.asarray(shown.colour) * 255 == pytest.approx([124, 63, 39], abs=1)
    assert (shown.emission, shown.roughness, shown.metallic) == ((0.5, 0.0, 0.0), 0.1, 1.0)
    assert np.asarray(bare.colour) * 255 == pytest.approx([231, 231, 231], abs=1)


def test_companions_of_a_ply_file(data: Path) -> None:
    path = data / "meshes" / "ply_texturefile" / "model.ply"
    assert companions(path) == [("tex.png", path.parent / "tex.png")]
