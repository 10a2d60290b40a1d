"""Formats that Blender imports in a process of its own: the real one, with a small file of each."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from generation.assets.catalogue import Catalogue, ShapeAsset, build_mesh
from generation.assets.meshes import READER_VERSION, companions, load_mesh
from generation.assets.reading import blender
from generation.assets.reading.pieces import UnusableMesh
from objnerf.errors import InputError

# A box of 1 × 1 × 2, half red and half textured, as several files; and one with a driver, a script and
# an image that lies elsewhere.
_MAKE = """
import os
import sys
from pathlib import Path

import bpy

folder = Path(sys.argv[1])
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.mesh.primitive_cube_add(size=1)
box = bpy.context.object
box.scale = (1, 1, 2)
red = bpy.data.materials.new("red")
red.use_nodes = True
red.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (0.8, 0.05, 0.05, 1)
wood = bpy.data.materials.new("wood")
wood.use_nodes = True
texture = wood.node_tree.nodes.new("ShaderNodeTexImage")
texture.image = bpy.data.images.load(str(folder / "textures" / "wood.png"))
wood.node_tree.links.new(texture.outputs[0], wood.node_tree.nodes["Principled BSDF"].inputs["Base Color"])
box.data.materials.append(red)
box.data.materials.append(wood)
for face in box.data.polygons[3:]:
    face.material_index = 1
bpy.ops.wm.save_as_mainfile(filepath=str(folder / "box.blend"))
bpy.ops.export_scene.fbx(filepath=str(folder / "box.fbx"), path_mode="RELATIVE")
bpy.ops.wm.collada_export(filepath=str(folder / "box.dae"))
bpy.ops.wm.usd_export(filepath=str(folder / "box.usdc"), export_textures_mode="KEEP")
texture.image = bpy.data.images.load(sys.argv[2])
driver = box.driver_add("location", 0).driver
driver.type = "SCRIPTED"
driver.expression = "1 if __import__('os').system('touch ' + %r) else 5" % sys.argv[3]
text = bpy.data.texts.new("run.py")
text.write("open(%r, 'w')" % sys.argv[3])
text.use_module = True
bpy.ops.wm.save_as_mainfile(filepath=str(folder / "hostile.blend"))
os._exit(0)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imports") / "meshes"
    (folder / "textures").mkdir(parents=True)
    Image.new("RGB", (8, 8), (150, 100, 50)).save(folder / "textures" / "wood.png")
    Image.new("RGB", (8, 8), (1, 2, 3)).save(folder.parent / "secret.png")
    arguments = [str(folder), str(folder.parent / "secret.png"), str(folder.parent / "touched")]
    subprocess.run([sys.executable, "-c", _MAKE, *arguments], check=True, capture_output=True, timeout=120)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OBJNERF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("suffix", ["blend", "fbx", "dae", "usdc"])
def test_each_format_shows_its_shape_and_its_look(files: Path, suffix: str) -> None:
    mesh = load_mesh(files / f"box.{suffix}", "y", root=files)
    assert mesh.size * 6**0.5 == pytest.approx([1, 1, 2], abs=1e-5)
    assert mesh.notes == ()
    looks = {None if m.image is None else tuple(m.image[0, 0].tolist()): m.colour for m in mesh.materials}
    assert set(looks) == {None, (150, 100, 50)}
    # .8 and .05 in linear light are sRGB 231 and 63
    assert np.asarray(looks[None]) * 255 == pytest.approx([231, 63, 63], abs=1.5)


def test_nothing_of_a_file_runs_and_nothing_elsewhere_is_read(files: Path) -> None:
    mesh = load_mesh(files / "hostile.blend", "y", root=files)
    assert not (files.parent / "touched").exists()
    assert mesh.size * 6**0.5 == pytest.approx([1, 1, 2], abs=1e-5)
    assert "texture 'secret.png' is missing" in mesh.notes
    assert all(material.image is None for material in mesh.materials)


def test_a_file_is_imported_once(files: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_mesh(files / "box.fbx", "y", root=files)
    # the exporter of DAE has put one beside
    assert [name for name, _ in companions(files / "box.fbx", files)] == ["wood.png", "textures/wood.png"]
    (kept,) = (cache / "imported").glob("*.glb")
    content = kept.read_bytes()

    def never(*_: object) -> list[str]:
        raise AssertionError("it was imported again")

    with monkeypatch.context() as patch:
        patch.setattr(blender, "convert", never)
        again = load_mesh(files / "box.fbx", "y", root=files)
    np.testing.assert_array_equal(again.vertices, first.vertices)
    # another process comes to the same bytes: plans are the same wherever they are made
    for file in (cache / "imported").iterdir():
        file.unlink()
    load_mesh(files / "box.fbx", "y", root=files)
    assert kept.read_bytes() == content


def test_what_cannot_be_imported_is_refused_in_a_line(
    tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.fbx"
    broken.write_bytes(b"Kaydara FBX Binary  \x00\x1a\x00 and nothing more")
    with pytest.raises(UnusableMesh, match=r"^Blender can't import it \([^\n]*\)$"):
        load_mesh(broken, "y")
    monkeypatch.setattr(blender, "_TIMEOUT_S", 0.01)
    with pytest.raises(UnusableMesh, match=r"took more than 0\.01 s"):
        load_mesh(files / "box.dae", "y", root=files)
    monkeypatch.setattr(blender, "importer", lambda: None)
    with pytest.raises(UnusableMesh, match=r"\.dae files are read by Blender, which is not installed"):
        load_mesh(files / "box.dae", "y", root=files)


def test_a_plan_says_which_importer_it_was_made_with(manifest: Path, files: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "box.dae").write_bytes((files / "box.dae").read_bytes())
    (alone / "wood.png").write_bytes((files / "textures" / "wood.png").read_bytes())
    catalogue = Catalogue.load(manifest, meshes=alone, cache_dir=tmp_path / "verdicts")
    (shape,) = catalogue.shapes("meshes", 1, 0)
    assert shape.params == {"up": "y", "unit": "m", "reader": READER_VERSION, "importer": blender.importer()}
    other = shape.model_copy(update={"params": {**shape.params, "importer": "bpy 3.6.0, importer 1"}})
    with pytest.raises(InputError, match=r"planned with importer 'bpy 3\.6\.0, importer 1'"):
        build_mesh(ShapeAsset.model_validate(other.model_dump()), catalogue.roots)
    old = shape.model_copy(update={"params": {"up": "y"}})
    with pytest.raises(InputError, match=rf"planned with reader 1 .* and this is {READER_VERSION}"):
        build_mesh(old, catalogue.roots)
