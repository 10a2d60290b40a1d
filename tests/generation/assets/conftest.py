"""A small ShapeNet of each version and a folder of meshes, with the faults that real ones have."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

# A seat, a back and four legs in ShapeNet's frame: y up, front along -z, not centred, textured.
_OBJ_HEAD = "mtllib {mtl}\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nusemtl wood\n"


def chair_obj(
    mtl: str = "model.mtl", shift: float = 0.3, inside_out_twice: bool = False, nan: bool = False
) -> str:
    """OBJ text: a seat 0.4 × 0.05 × 0.4 with a tall back at +z (the front is -z)."""
    lines = [_OBJ_HEAD.format(mtl=mtl)]
    count = 0
    for low, high in (((-0.2, 0.2, -0.2), (0.2, 0.25, 0.2)), ((-0.2, 0.25, 0.14), (0.2, 0.7, 0.18))):
        body = trimesh.creation.box(bounds=[low, high])
        for x, y, z in body.vertices + np.array([shift, 0, 0]):
            lines.append(f"v {x} {y} {z}\n")
        for a, b, c in body.faces + 1 + count:
            lines.append(f"f {a}/1 {b}/2 {c}/3\n")
            if inside_out_twice:
                lines.append(f"f {c}/3 {b}/2 {a}/1\n")
        count += len(body.vertices)
    if nan:
        lines.append(f"v nan 0 0\nf {count + 1}/1 1/2 2/3\n")
    return "".join(lines)


def write_model(folder: Path, version: int, obj: str, texture: bool = True) -> None:
    """One model in the layout of ShapeNetCore v1 or v2."""
    images = folder / "images"
    images.mkdir(parents=True)
    if texture:
        Image.fromarray(np.full((20, 20, 3), (150, 100, 50), dtype=np.uint8)).save(images / "texture0.png")
    if version == 2:
        models = folder / "models"
        models.mkdir()
        (models / "model_normalized.obj").write_text(obj.replace("model.mtl", "model_normalized.mtl"))
        (models / "model_normalized.mtl").write_text("newmtl wood\nKd 1 1 1\nmap_Kd ../images/texture0.png\n")
    else:
        (folder / "model.obj").write_text(obj)
        (folder / "model.mtl").write_text("newmtl wood\nKd 1 1 1\nmap_Kd ./images/texture0.png\n")


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def shapenet_version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def shapenet_root(tmp_path: Path, shapenet_version: int) -> Path:
    """Chairs and tables: three good models, one of them twice inside out (good, once fixed), and one each
    with a missing texture, no content, NaN, too many bytes, and no mesh at all."""
    root = tmp_path / f"shapenet{shapenet_version}"
    chair, table = root / "03001627", root / "04379243"
    write_model(chair / "a0good", shapenet_version, chair_obj())
    write_model(chair / "a1twice", shapenet_version, chair_obj(shift=0, inside_out_twice=True))
    write_model(chair / "b0notexture", shapenet_version, chair_obj(), texture=False)
    write_model(chair / "b1empty", shapenet_version, "")
    write_model(chair / "b2nan", shapenet_version, chair_obj(nan=True))
    write_model(chair / "b3huge", shapenet_version, chair_obj() + "# filler\n" * 20_000)
    (chair / "b4nothing").mkdir()
    write_model(table / "c0good", shapenet_version, chair_obj(shift=1.0))
    taxonomy = [
        {"synsetId": "03001627", "name": "chair", "children": ["02738535"], "numInstances": 7},
        {"synsetId": "02738535", "name": "armchair", "children": [], "numInstances": 2},
        {"synsetId": "04379243", "name": "table", "children": [], "numInstances": 1},
    ]
    (root / "taxonomy.json").write_text(json.dumps(taxonomy))
    return root


MANIFEST = """
format_version: 1
limits: {max_file_mb: 0.1, max_faces: 5000}
shapes:
  - {name: furniture, kind: procedural, families: {chair: 1, table: 1}, licence: MIT}
  - {name: primitives, kind: procedural, families: {cube: 1, sphere: 1, cylinder: 1}, licence: MIT}
  - {name: shapenet, kind: shapenet, synsets: [chair, table], licence: ShapeNet terms}
  - {name: meshes, kind: folder, licence: my own}
floors:
  - {name: floors, kind: procedural, families: [planks, checker], licence: MIT}
  - {name: textures, kind: images, licence: my own, tile_size: 3}
walls:
  - {name: walls, kind: procedural, families: [paint], licence: MIT}
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A manifest with low limits."""
    path = tmp_path / "manifest.yaml"
    path.write_text(MANIFEST)
    return path


@pytest.fixture
def mesh_folder(tmp_path: Path) -> Path:
    """GLB, glTF, OBJ and PLY files, sound and not."""
    folder = tmp_path / "meshes"
    (folder / "chair").mkdir(parents=True)
    box = trimesh.creation.box(extents=(1, 2, 3))
    box.visual = trimesh.visual.TextureVisuals(
        uv=np.zeros((8, 2)),
        material=trimesh.visual.material.PBRMaterial(baseColorFactor=[255, 0, 0, 255]),
    )
    box.export(folder / "chair" / "red box.glb")
    trimesh.creation.icosphere(subdivisions=2).export(folder / "ball.ply")
    trimesh.creation.cylinder(radius=1, height=3).export(folder / "tower.obj")
    files = trimesh.Scene(trimesh.creation.cone(radius=1, height=2)).export(file_type="gltf")
    for name, content in files.items():
        (folder / name.replace("model", "cone")).write_bytes(content)
    trimesh.creation.icosphere(subdivisions=5).export(folder / "fine.glb")
    flat = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]])
    flat.export(folder / "flat.ply")
    (folder / "broken.glb").write_bytes(b"glTF\x02\x00\x00\x00not really")
    (folder / "empty.obj").write_bytes(b"")
    (folder / ".hidden.obj").write_text("v 0 0 0\n")
    (folder / "notes.txt").write_text("not a mesh")
    return folder


_COMPONENTS = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}

#: A unit cube with four corners a face.
CUBE_FACES = np.array([[4 * f + i for i in (0, 1, 2, 0, 2, 3)] for f in range(6)]).reshape(-1, 3)


def cube() -> np.ndarray:
    """Corners of a unit cube, four a face, counter-clockwise from outside."""
    square = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    faces = []
    for axis in range(3):
        for side in (-0.5, 0.5):
            corners = np.zeros((4, 3))
            corners[:, axis] = side
            corners[:, [(axis + 1) % 3, (axis + 2) % 3]] = square if side > 0 else square[::-1]
            faces.append(corners)
    return np.concatenate(faces)


class GltfFile:
    """Collects arrays and writes them, with whatever else the file says."""

    def __init__(self) -> None:
        self.buffer = b""
        self.content: dict[str, Any] = {"asset": {"version": "2.0"}, "accessors": [], "bufferViews": []}

    @staticmethod
    def png(pixels: np.ndarray) -> str:
        """An image as a data URI."""
        file = io.BytesIO()
        Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(file, format="PNG")
        return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()

    def view(self, raw: bytes) -> int:
        self.buffer += b"\0" * (-len(self.buffer) % 4)
        view = {"buffer": 0, "byteOffset": len(self.buffer), "byteLength": len(raw)}
        self.content["bufferViews"].append(view)
        self.buffer += raw
        return len(self.content["bufferViews"]) - 1

    def accessor(self, values: np.ndarray, dtype: str = "f4", **more: Any) -> int:
        table = np.asarray(values, dtype=f"<{dtype}").reshape(len(values), -1)
        kind = {"componentType": _COMPONENTS[dtype], "count": len(table), "type": _TYPES[table.shape[1]]}
        self.content["accessors"].append({"bufferView": self.view(table.tobytes()), **kind, **more})
        return len(self.content["accessors"]) - 1

    def cube(self, **attributes: int) -> dict[str, Any]:
        """A primitive of a unit cube."""
        return {
            "attributes": {"POSITION": self.accessor(cube()), **attributes},
            "indices": self.accessor(CUBE_FACES.ravel(), "u2"),
        }

    def write(self, path: Path, **content: Any) -> Path:
        uri = "data:application/octet-stream;base64," + base64.b64encode(self.buffer).decode()
        whole = {
            "nodes": [{"mesh": 0}],
            **self.content,
            "buffers": [{"uri": uri, "byteLength": len(self.buffer)}],
            **content,
        }
        path.write_text(json.dumps(whole))
        return path


@pytest.fixture
def new_gltf() -> type[GltfFile]:
    """Makes small glTF files."""
    return GltfFile
