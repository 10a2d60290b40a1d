"""`objnerf poses`, as a user calls it."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import main


@pytest.mark.parametrize("suffix", [".html", ".glb", ".ply", ".png"])
def test_all_formats_on_a_foreign_dataset(data: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / "new folder" / f"cameras{suffix}"
    result = CliRunner().invoke(main, ["poses", str(data / "blocks"), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "12 cameras of 3 scenes" in result.output
    assert out.stat().st_size > 1000


def test_one_broken_matrix_is_named_and_the_rest_is_drawn(data: Path, tmp_path: Path) -> None:
    root = tmp_path / "blocks"
    shutil.copytree(data / "blocks", root)
    (root / "00005_sc0001_img1_RT.txt").write_text("not a matrix")
    out = tmp_path / "cameras.png"
    result = CliRunner().invoke(main, ["poses", str(root), "--out", str(out)])
    assert result.exit_code == 1
    assert "00005_sc0001_img1_RT.txt" in result.output
    assert "1 of 12 views could not be drawn" in result.output
    assert out.exists()


def test_one_view_is_enough(data: Path, tmp_path: Path) -> None:
    root = tmp_path / "single"
    root.mkdir()
    for name in ("00000_sc0000_img0.png", "00000_sc0000_img0_RT.txt"):
        shutil.copy(data / "blocks" / name, root)
    result = CliRunner().invoke(main, ["poses", str(root), "--out", str(tmp_path / "one.png")])
    assert result.exit_code == 0
    assert "1 camera of 1 scene\n" in result.output


def test_what_cannot_be_used_ends_with_status_2(data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    out = str(tmp_path / "cameras.png")
    for arguments, said in (
        ([str(tmp_path / "missing"), "--out", out], "no such folder"),
        ([str(tmp_path / "empty"), "--out", out], "found none"),
        ([str(data / "blocks"), "--out", str(tmp_path / "cameras.obj")], "suffix chooses the format"),
        ([str(data / "blocks"), "--out", out, "--scene", "9"], "no scene 9"),
        ([str(data / "blocks"), "--out", out, "--max-views", "0"], "--max-views"),
    ):
        result = CliRunner().invoke(main, ["poses", *arguments])
        assert result.exit_code == 2, result.output
        assert said in result.output
        assert "Traceback" not in result.output
    assert not Path(out).exists()
