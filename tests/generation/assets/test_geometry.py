"""What mesh files say of their shape, as their formats mean it."""

import struct
from pathlib import Path
from typing import Any

import DracoPy
import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from generation.assets.mesh import ShapeMesh
from generation.assets.meshes import inside_out, load_mesh, scan_folder
from generation.assets.reading.obj import read_obj, triangulated
from generation.assets.reading.pieces import UnusableMesh, face_normals


def area(mesh: ShapeMesh) -> float:
    return float(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).area)


def volume(mesh: ShapeMesh) -> float:
    return float(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).volume)


def test_notches_stay_open(data: Path) -> None:
    """A U of 4 × 3 with a notch of 2 × 2, one deep: 2 · 8 + a rim of 18 = 34, over a diagonal of √26."""
    mesh = load_mesh(data / "meshes" / "obj_concave_ngon" / "model.obj", "y")
    assert area(mesh) * 26 == pytest.approx(34, rel=1e-5)
    assert volume(mesh) * 26**1.5 == pytest.approx(8, rel=1e-5)


@given(
    corners=st.integers(4, 12),
    seed=st.integers(0, 10**6),
    turn=st.floats(0, 6.28),
)
def test_triangles_cover_their_polygon_once(corners: int, seed: int, turn: float) -> None:
    """Stars, mostly concave, in a tilted plane: areas add up to the polygon's, all in the polygon's sense."""
    rng = np.random.default_rng(seed)
    angles = 2 * np.pi * (np.arange(corners) + rng.uniform(0, 0.8, corners)) / corners
    flat = rng.uniform(0.2, 1, corners)[:, None] * np.column_stack([np.cos(angles), np.sin(angles)])
    shoelace = 0.5 * np.sum(flat[:, 0] * np.roll(flat[:, 1], -1) - flat[:, 1] * np.roll(flat[:, 0], -1))
    across = np.array([[np.cos(turn), 0, np.sin(turn)], [0.6 * np.sin(turn), 0.8, -0.6 * np.cos(turn)]])
    polygon = (flat @ across)[None]
    polygon_of, cuts = triangulated(polygon)
    assert (polygon_of == 0).all()
    vectors = np.cross(
        polygon[0, cuts[:, 1]] - polygon[0, cuts[:, 0]], polygon[0, cuts[:, 2]] - polygon[0, cuts[:, 0]]
    )
    along = vectors @ np.cross(*across) / 2
    assert along.min() > -1e-9
    assert along.sum() == pytest.approx(shoelace, rel=1e-9)


def test_corners_out_of_plane_are_joined_as_in_blender() -> None:
    """A bent pentagon loses its first corner, then its third; a quadrilateral is cut along one diagonal."""
    pentagon = np.array([[0, 0, 0], [2, 0, 0], [3, 2, 0], [1, 3, 1], [-1, 2, 0]], dtype=float)
    _, cuts = triangulated(pentagon[None])
    assert {tuple(sorted(triangle)) for triangle in cuts.tolist()} == {(0, 1, 4), (1, 2, 3), (1, 3, 4)}
    # The second and the last corner are folded to one side of the diagonal 0-2: (1, .1, 1) × (2, 0, 0) is
    # (0, 2, -.2), (1, .2, .5) × (2, 0, 0) is (0, 1, -.4), and both look the same way. So it is the other one.
    folded = np.array([[0, 0, 0], [1, 0.1, 1], [2, 0, 0], [1, 0.2, 0.5]])
    _, cuts = triangulated(folded[None])
    assert {tuple(sorted(triangle)) for triangle in cuts.tolist()} == {(1, 2, 3), (0, 1, 3)}
    notched = np.array([[0, 0, 0], [1, 0.5, 0], [2, 0, 0], [1, 2, 0]], dtype=float)
    _, cuts = triangulated(notched[None])
    assert {tuple(sorted(triangle)) for triangle in cuts.tolist()} == {(1, 2, 3), (0, 1, 3)}


def test_indices_below_zero_count_from_what_was_said_so_far(tmp_path: Path) -> None:
    """Two tetrahedra, each behind its own vertices, the second with other vertices behind it."""
    corners = "v {x} 0 0\nv {x} 0 1\nv {x} 1 0\nv {y} 0 0\n"
    faces = "f -4 -3 -2\nf -4 -2 -1\nf -4 -1 -3\nf -3 -1 -2\n"
    text = corners.format(x=0, y=-1) + faces + corners.format(x=5, y=4) + faces + "v 99 99 99\n"
    path = tmp_path / "two.obj"
    path.write_text(text)
    mesh = load_mesh(path, "y")
    assert len(mesh.faces) == 8
    # 6 × 1 × 1, and a sixth of a cube each
    assert volume(mesh) * 38**1.5 == pytest.approx(2 / 6, rel=1e-5)
    path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 -4\n")
    with pytest.raises(UnusableMesh, match="names vertex -4, which is not there"):
        load_mesh(path, "y")


def test_a_polygon_that_is_stated_again_is_drawn_once(tmp_path: Path) -> None:
    """In another order, or backwards with another material. A part of it is another polygon."""
    (tmp_path / "a.mtl").write_text("newmtl red\nKd 1 0 0\nnewmtl blue\nKd 0 0 1\n")
    (tmp_path / "a.obj").write_text(
        "mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1\n"
        "usemtl red\nf 1 2 3 4\nf 3 4 1 2\nusemtl blue\nf 4 3 2 1\nf 1 2 5\nf 1 2 3\n"
    )
    red, blue = read_obj(tmp_path / "a.obj").pieces
    assert len(red.faces) == 2
    assert len(blue.faces) == 2


def test_closed_bodies_look_outwards(data: Path) -> None:
    mesh = load_mesh(data / "meshes" / "obj_inside_out" / "model.obj", "y")
    assert volume(mesh) * 27**0.5 == pytest.approx(1, rel=1e-5)


def test_only_closed_bodies_are_turned() -> None:
    right = trimesh.creation.box()
    wrong = trimesh.creation.icosphere(subdivisions=1).apply_translation([5, 0, 0])
    vertices = np.concatenate([right.vertices, wrong.vertices])
    faces = np.concatenate([right.faces, wrong.faces[:, ::-1] + 8])
    assert inside_out(vertices, faces).tolist() == [False] * 12 + [True] * len(wrong.faces)
    # without one face it is a bowl, and a bowl has two sides
    assert not inside_out(vertices, faces[:-1]).any()


def test_shading_is_the_files(tmp_path: Path) -> None:
    """Without a word it is open; `s off` is flat; `vn` is taken unless it looks away from the face."""
    path = tmp_path / "a.obj"
    body = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\n"
    path.write_text(body + "f 1 3 2\nf 1 2 4\nf 2 3 4\nf 1 4 3\n")
    assert load_mesh(path, "z").normals is None
    path.write_text(body + "s off\nf 1 3 2\nf 1 2 4\ns 1\nf 2 3 4\nf 1 4 3\n")
    mesh = load_mesh(path, "z")
    assert mesh.normals is not None
    flat = face_normals(mesh.vertices, mesh.faces)
    assert np.abs(mesh.normals[:2] - flat[:2, None]).max() < 1e-6
    assert (mesh.normals[2:] == 0).all()
    path.write_text(body + "vn 0.6 0 -0.8\nvn 0 0 1\nf 1//1 3//1 2//2\nf 1 2 4\nf 2 3 4\nf 1 4 3\n")
    mesh = load_mesh(path, "z")
    assert mesh.normals is not None
    assert mesh.normals[0].tolist() == [[0.6, 0, -0.8], [0.6, 0, -0.8], [0, 0, 0]]
    # y up: (x, y, z) becomes (x, -z, y)
    turned = load_mesh(path, "y").normals
    assert turned is not None
    assert turned[0, 0].tolist() == [0.6, 0.8, 0]


def test_faces_of_gltf_without_normals_are_flat(tmp_path: Path, new_gltf: Any) -> None:
    file = new_gltf()
    mesh = load_mesh(file.write(tmp_path / "a.gltf", meshes=[{"primitives": [file.cube()]}]), "y")
    assert mesh.normals is not None
    assert mesh.normals == pytest.approx(
        np.repeat(face_normals(mesh.vertices, mesh.faces)[:, None], 3, axis=1)
    )


def test_sparse_accessors(data: Path) -> None:
    """They pull the face at -x out by 1: 2 × 1 × 1."""
    mesh = load_mesh(data / "meshes" / "gltf_sparse" / "model.gltf", "y")
    assert mesh.size * 6**0.5 == pytest.approx([2, 1, 1], abs=1e-5)


def test_skins_stand_as_their_bones_do(data: Path) -> None:
    """A box that is long in its own z, and a bone that turns it upright."""
    mesh = load_mesh(data / "meshes" / "gltf_skinned_upright" / "model.gltf", "y")
    assert mesh.size * 11**0.5 == pytest.approx([1, 1, 3], abs=1e-5)


def test_instances_are_all_drawn(tmp_path: Path, new_gltf: Any) -> None:
    """A unit cube three times: at x = 0, at x = 4, and twice as large at x = 9."""
    file = new_gltf()
    attributes = {
        "TRANSLATION": file.accessor(np.array([[0, 0, 0], [4, 0, 0], [9, 0, 0]])),
        "SCALE": file.accessor(np.array([[1, 1, 1], [1, 1, 1], [2, 2, 2]])),
    }
    path = file.write(
        tmp_path / "a.gltf",
        meshes=[{"primitives": [file.cube()]}],
        nodes=[{"mesh": 0, "extensions": {"EXT_mesh_gpu_instancing": {"attributes": attributes}}}],
        extensionsRequired=["EXT_mesh_gpu_instancing"],
    )
    mesh = load_mesh(path, "y")
    # x from -.5 to 10, the rest 2
    assert len(mesh.faces) == 36
    assert mesh.size * (10.5**2 + 8) ** 0.5 == pytest.approx([10.5, 2, 2], abs=1e-5)
    assert volume(mesh) * (10.5**2 + 8) ** 1.5 == pytest.approx(1 + 1 + 8, rel=1e-5)


def test_nodes_below_nodes_and_mirrors(tmp_path: Path, new_gltf: Any) -> None:
    """Scaled by (1, 2, -3) and turned about x by 90°: 1 wide, 3 deep, 2 high in glTF becomes 1 × 2 × 3."""
    file = new_gltf()
    path = file.write(
        tmp_path / "a.gltf",
        meshes=[{"primitives": [file.cube()]}],
        nodes=[{"children": [1], "rotation": [0.5**0.5, 0, 0, 0.5**0.5]}, {"mesh": 0, "scale": [1, 2, -3]}],
        scenes=[{"nodes": [0]}],
    )
    mesh = load_mesh(path, "y")
    assert mesh.size * 14**0.5 == pytest.approx([1, 2, 3], abs=1e-5)
    assert volume(mesh) * 14**1.5 == pytest.approx(6, rel=1e-5)


def test_morph_weights_of_the_file_are_applied(tmp_path: Path, new_gltf: Any) -> None:
    """Half of a target that lifts the upper face by 2: a height of 2."""
    file = new_gltf()
    primitive = file.cube()
    lift = np.zeros((24, 3))
    positions = np.frombuffer(file.buffer[:288], "<f4").reshape(24, 3)
    lift[positions[:, 1] > 0, 1] = 2
    primitive["targets"] = [{"POSITION": file.accessor(lift)}]
    path = file.write(tmp_path / "a.gltf", meshes=[{"primitives": [primitive], "weights": [0.5]}])
    assert load_mesh(path, "y").size * 6**0.5 == pytest.approx([1, 1, 2], abs=1e-5)


def test_quantised_positions(tmp_path: Path, new_gltf: Any) -> None:
    """Shorts that stand for [-1, 1], scaled back by their node."""
    file = new_gltf()
    primitive = file.cube()
    positions = np.frombuffer(file.buffer[:288], "<f4").reshape(24, 3)
    shorts = np.rint(positions * 2 * 32767 * [1, 0.5, 0.5])
    primitive["attributes"]["POSITION"] = file.accessor(shorts, "i2", normalized=True)
    # three shorts are six bytes; elements must begin at multiples of four, but readers take what is there
    path = file.write(
        tmp_path / "a.gltf",
        meshes=[{"primitives": [primitive]}],
        nodes=[{"mesh": 0, "scale": [1, 2, 2]}],
        extensionsRequired=["KHR_mesh_quantization"],
    )
    assert load_mesh(path, "y").size * 3**0.5 == pytest.approx([1, 1, 1], abs=1e-4)


def test_strips_and_fans(tmp_path: Path, new_gltf: Any) -> None:
    """A tetrahedron's side as a fan, and a bent strip: each triangle looks as the format says."""
    file = new_gltf()
    points = file.accessor(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 1]]))
    for mode, expected in ((5, [[0, 1, 2], [1, 3, 2]]), (6, [[1, 2, 0], [2, 3, 0]])):
        path = file.write(
            tmp_path / "a.gltf", meshes=[{"primitives": [{"attributes": {"POSITION": points}, "mode": mode}]}]
        )
        mesh = load_mesh(path, "z")
        shown = mesh.vertices[mesh.faces]
        corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 1]])[expected]
        assert (shown - shown.reshape(-1, 3).min(axis=0)) * 3**0.5 == pytest.approx(corners, abs=1e-5)


def test_draco(tmp_path: Path, new_gltf: Any) -> None:
    body = trimesh.creation.icosphere(subdivisions=2)
    packed = DracoPy.encode(np.asarray(body.vertices), np.asarray(body.faces), quantization_bits=14)
    (position,) = (entry["unique_id"] for entry in DracoPy.decode(packed).attributes)
    file = new_gltf()
    draco = {"bufferView": file.view(packed), "attributes": {"POSITION": position}}
    file.content["accessors"] += [
        {"componentType": 5126, "count": 162, "type": "VEC3"},
        {"componentType": 5125, "count": 960, "type": "SCALAR"},
    ]
    primitive = {"attributes": {"POSITION": 0}, "indices": 1}
    path = file.write(
        tmp_path / "a.gltf",
        meshes=[{"primitives": [{**primitive, "extensions": {"KHR_draco_mesh_compression": draco}}]}],
        extensionsRequired=["KHR_draco_mesh_compression"],
    )
    mesh = load_mesh(path, "y")
    assert len(mesh.faces) == 320
    diagonal = float(np.linalg.norm(np.ptp(body.vertices, axis=0)))
    assert volume(mesh) * diagonal**3 == pytest.approx(body.volume, rel=1e-3)


def test_broken_gltf_is_refused_in_a_line(tmp_path: Path, new_gltf: Any) -> None:
    path = tmp_path / "a.glb"
    path.write_bytes(b"glTF" + struct.pack("<II", 2, 999) + struct.pack("<I4s", 900, b"JSON") + b"{}")
    with pytest.raises(UnusableMesh, match="ends 898 bytes too early"):
        load_mesh(path, "y")
    file = new_gltf()
    mesh = [{"primitives": [file.cube()]}]
    path = file.write(
        tmp_path / "a.gltf", meshes=mesh, nodes=[{"children": [0], "mesh": 0}], scenes=[{"nodes": [0]}]
    )
    with pytest.raises(UnusableMesh, match="node 0 is below two others, or itself"):
        load_mesh(path, "y")
    path = file.write(tmp_path / "a.gltf", meshes=mesh, asset={"version": "1.0"})
    with pytest.raises(UnusableMesh, match=r"is glTF 1\.0, expected 2\.0"):
        load_mesh(path, "y")


def test_layouts_as_downloaded(data: Path, tmp_path: Path) -> None:
    cases = data / "meshes"
    partnet = scan_folder(cases / "layout_partnet")
    assert [path.as_posix() for path in partnet.meshes] == ["1001/mobility.urdf"]
    assert len(load_mesh(cases / "layout_partnet" / "1001" / "mobility.urdf", "y").faces) == 12
    future = scan_folder(cases / "layout_3dfuture")
    assert [path.name for path in future.meshes] == ["normalized_model.obj"]
    assert [(path.name, other.name) for path, other in future.doubles] == [
        ("raw_model.obj", "normalized_model.obj")
    ]
    for name in (
        "a/chair.glb",
        "a/chair.fbx",
        "a/chair.max",
        "lamp.fbx",
        "old.3ds",
        "all.zip",
        ".x/y.obj",
        "n.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    content = scan_folder(tmp_path)
    assert [path.as_posix() for path in content.meshes] == ["a/chair.glb", "lamp.fbx"]
    assert [path.as_posix() for path, _ in content.doubles] == ["a/chair.fbx", "a/chair.max"]
    assert [(path.as_posix(), reason) for path, reason in content.unread] == [
        ("all.zip", "archives are not looked into; unpack it"),
        ("old.3ds", ".3ds files can't be read; export GLB"),
    ]


@pytest.mark.parametrize("suffix", ["stl", "off"])
def test_stl_and_off_are_z_up(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"box.{suffix}"
    trimesh.creation.box(extents=(1, 2, 3)).export(path)
    mesh = load_mesh(path, "z")
    assert mesh.size * 14**0.5 == pytest.approx([1, 2, 3], abs=1e-5)
    assert mesh.roles == ("paint",)
    assert len(mesh.vertices) == 8
