"""The software rasteriser, the contact sheet, and the verb `assets`."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import trimesh
from click.testing import CliRunner
from PIL import Image

from cli import main
from generation.assets.asset_sheets import draw_shape, rasterise, role_colours
from generation.assets.catalogue import Catalogue, build_mesh


def test_rasterise_by_hand() -> None:
    """Two triangles that make the left half of a picture of 8 pixels, and a nearer one in a corner."""
    points = np.array(
        [[0, 0, 5], [4, 0, 5], [4, 8, 5], [0, 8, 5], [0, 0, 1], [2.2, 0, 1], [0, 2.2, 1]], dtype=np.float64
    )
    picture = rasterise(points, np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6]]), 8)[0]
    assert (picture[:, 4:] == -1).all()
    assert (picture[:, :4] >= 0).all()
    # pixel centres with x + y < 2.2: (0.5, 0.5), (1.5, 0.5), (0.5, 1.5)
    assert {tuple(place) for place in np.argwhere(picture == 2)} == {(0, 0), (0, 1), (1, 0)}


def test_rasterise_takes_either_winding_and_what_lies_outside() -> None:
    points = np.array(
        [[-50, -50, 1], [80, -50, 1], [-50, 80, 1], [3, 3, 0], [3, 3, 0], [3, 3, 0]], dtype=np.float64
    )
    for face in ([0, 1, 2], [0, 2, 1]):
        assert (rasterise(points, np.array([face, [3, 4, 5]]), 6)[0] == 0).all()


def test_draw_shape_shows_the_colour_of_its_part() -> None:
    (sphere,) = Catalogue.load().shapes("sphere", 1, seed=0)
    picture = draw_shape(build_mesh(sphere), [(1.0, 0.0, 0.0)], 48)
    assert picture.shape == (48, 48, 3)
    red = (picture[..., 0] > 100) & (picture[..., 1] < 40)
    # a ball of 0.84 of the picture's width covers π/4 · 0.84² = 0.55 of it
    assert 0.4 < red.mean() < 0.62
    assert picture[0, 0].min() > 220


def test_colours_follow_the_role() -> None:
    (bed,) = Catalogue.load().shapes("bed", 1, seed=0)
    mesh = build_mesh(bed)
    colours = role_colours(mesh, bed.id)
    assert len(colours) == len(mesh.materials)
    assert len({c for c, role in zip(colours, mesh.roles, strict=True) if role == "linen"}) == 1
    assert colours == role_colours(mesh, bed.id)


def test_verb_sheet(tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    result = CliRunner().invoke(main, ["assets", "sheet", "--out", str(out), "--shapes", "3", "--bgs", "2"])
    assert result.exit_code == 0, result.output
    with Image.open(out) as picture:
        assert picture.width > 300
    result = CliRunner().invoke(main, ["assets", "sheet", "--out", str(tmp_path / "sheet.bmp")])
    assert result.exit_code == 2
    result = CliRunner().invoke(main, ["assets", "sheet", "--out", str(out), "--shapes", "0", "--bgs", "0"])
    assert result.exit_code == 2


def test_verb_list_and_check(mesh_folder: Path, manifest: Path, tmp_path: Path) -> None:
    environment = {"OBJNERF_CACHE": str(tmp_path / "cache")}
    options = ["--assets", str(manifest), "--meshes", str(mesh_folder)]
    result = CliRunner().invoke(main, ["assets", "list", *options], env=environment)
    assert result.exit_code == 0
    assert "8 files" in result.output
    result = CliRunner().invoke(main, ["assets", "check", *options], env=environment)
    assert result.exit_code == 1
    assert "meshes/flat.ply: it is flat" in result.output
    assert "meshes: 4 of 8 assets are usable" in result.output
    assert "4 of " in result.output


def test_up_turns_what_is_drawn(tmp_path: Path) -> None:
    """A red stick along z stands in a PLY file as it is, and lies where y is said to be up."""
    folder = tmp_path / "meshes"
    folder.mkdir()
    stick = trimesh.creation.box(extents=(0.2, 0.2, 2.0))
    stick.visual.vertex_colors = np.tile([255, 0, 0, 255], (8, 1))
    stick.export(folder / "stick.ply")
    environment = {"OBJNERF_CACHE": str(tmp_path / "cache")}
    stands = {}
    for up in ("auto", "y", "z"):
        options = ["--meshes", str(folder), "--up", up]
        out = tmp_path / f"{up}.png"
        words = ["assets", "sheet", *options, "--shapes", "1", "--bgs", "0", "--out", str(out)]
        result = CliRunner().invoke(main, words, env=environment)
        assert result.exit_code == 0, result.output
        result = CliRunner().invoke(main, ["assets", "check", *options], env=environment)
        assert result.exit_code == 0, result.output
        assert "meshes: 1 of 1 assets are usable" in result.output
        with Image.open(out) as picture:
            red, green, _ = np.moveaxis(np.asarray(picture.convert("RGB")).astype(int), -1, 0)
        rows, columns = np.nonzero((red > 100) & (green < 50))
        stands[up] = np.ptp(rows) > 2 * np.ptp(columns)
    assert stands == {"auto": True, "y": False, "z": True}


@pytest.mark.parametrize("option", ["--assets", "--meshes", "--textures", "--shapenet-root"])
def test_verb_with_what_is_not_there(option: str) -> None:
    result = CliRunner().invoke(main, ["assets", "list", option, "nowhere"])
    assert result.exit_code == 2
    assert "nowhere" in result.output
    assert "Traceback" not in result.output


def test_verb_check_says_what_does_not_show(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A line a file, and nothing of what a library has to say about it."""
    folder = tmp_path / "meshes"
    for case in ("obj_missing_mtl", "obj_usemtl_unknown", "gltf_basisu_used"):
        shutil.copytree(data / "meshes" / case, folder / case)
    shutil.copytree(data / "meshes" / "obj_case_mismatch", folder / "broken")
    (folder / "broken" / "tex.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    environment = {"OBJNERF_CACHE": str(tmp_path / "cache")}
    result = CliRunner().invoke(main, ["assets", "check", "--meshes", str(folder)], env=environment)
    assert result.exit_code == 1
    lines = [line for line in result.output.splitlines() if line.startswith("meshes/")]
    assert lines == [
        "meshes/broken/model.obj: its texture 'tex.png' can't be read (it is no image of a known format)",
        "meshes/gltf_basisu_used/model.gltf: its texture 0 is a KTX2 image; convert it to PNG, JPEG or WebP",
        "meshes/obj_missing_mtl/model.obj: note: its material file 'gone.mtl' is missing",
        "meshes/obj_usemtl_unknown/model.obj: note: material 'other' is in none of its material files",
    ]
    printed = capfd.readouterr()
    assert "Traceback" not in result.output + printed.out + printed.err
