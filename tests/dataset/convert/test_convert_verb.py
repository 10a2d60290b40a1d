"""`objnerf convert`, as a user calls it, and what it does when things go wrong."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import main
from objnerf.dataset import open_dataset
from objnerf.dataset.convert import FORMATS, TARGETS, convert
from objnerf.errors import InputError


def test_there_and_back(data: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    there = runner.invoke(main, ["convert", str(data / "blocks"), str(tmp_path / "there"), "--to", "colmap"])
    assert there.exit_code == 0, there.output
    assert "12 views of 3 scenes, from objnerf to colmap" in there.output
    back = runner.invoke(main, ["convert", str(tmp_path / "there"), str(tmp_path / "back")])
    assert back.exit_code == 0, back.output
    assert "from colmap to objnerf" in back.output
    assert "next: objnerf validate" in back.output
    assert open_dataset(tmp_path / "back").n_views == 12


def test_help_names_every_format() -> None:
    output = CliRunner().invoke(main, ["convert", "--help"]).output
    for name in FORMATS + TARGETS:
        assert name in output


def test_what_is_left_out_is_said(data: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(data / "blocks", source)
    shutil.copy(source / "00000_sc0000_img0.png", source / "00000_sc0000_img0_moved.png")
    (source / "000_movement.txt").write_text("0.5\n-1.25\n")
    (source / "normal").mkdir()
    (source / "notes.txt").write_text("mine")
    result = CliRunner().invoke(main, ["convert", str(source), str(tmp_path / "there"), "--to", "nerfstudio"])
    assert result.exit_code == 0
    assert "not written" in result.output
    assert "_moved.png" in result.output
    assert "movements" in result.output
    assert "not taken over: normal, notes.txt" in result.output


def test_what_cannot_be_done_ends_with_status_2_and_leaves_nothing(data: Path, tmp_path: Path) -> None:
    blocks, out = str(data / "blocks"), str(tmp_path / "out")
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    broken = tmp_path / "broken"
    shutil.copytree(data / "blocks", broken)
    (broken / "00011_sc0002_img3_RT.txt").write_text("1 2\n3 4\n")
    holes = tmp_path / "holes"
    shutil.copytree(data / "blocks", holes)
    for path in holes.glob("*_sc0001_*"):
        path.unlink()
    before = sorted(path.name for path in tmp_path.iterdir())
    for arguments, said in (
        ([str(tmp_path / "missing"), out], "no such file or folder"),
        ([str(tmp_path / "empty"), out], "recognised none"),
        ([str(tmp_path / "full" / "file"), out], "expected a folder"),
        ([blocks, out], "choose the target with --to"),
        ([blocks, out, "--to", "usd"], "'usd' is not a format"),
        ([blocks, out, "--from", "usd"], "'usd' is not a format"),
        ([blocks, str(tmp_path / "full"), "--to", "colmap"], "new or empty folder"),
        ([blocks, str(data / "blocks" / "inside"), "--to", "colmap"], "outside the source"),
        ([str(broken), out, "--to", "webdataset"], "00011_sc0002_img3_RT.txt"),
        ([str(holes), out, "--to", "colmap"], "without 1"),
        ([blocks, out, "--from", "colmap"], "expected a COLMAP model"),
        ([blocks, out, "--from", "nerfstudio"], "transforms.json"),
        ([blocks, out, "--from", "obsurf"], "metadata.npz"),
        ([blocks, out, "--from", "uocf"], "_intrinsics.txt"),
        ([blocks, out, "--from", "webdataset"], "samples"),
    ):
        result = CliRunner().invoke(main, ["convert", *arguments])
        assert result.exit_code == 2, (arguments, result.output)
        assert said in result.output, (arguments, result.output)
        assert "Traceback" not in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "full" / "file").read_text() == "mine"


def test_a_broken_picture_leaves_nothing_behind(data: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(data / "blocks", source)
    (source / "00011_sc0002_img3.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"00011_sc0002_img3\.png: expected an image"):
        convert(source, tmp_path / "there", target_format="nerfstudio")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_an_empty_folder_may_be_the_destination(data: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    convert(data / "blocks", tmp_path / "there", target_format="webdataset")
    assert list((tmp_path / "there").glob("*.tar"))


def test_progress_counts_every_view(data: Path, tmp_path: Path) -> None:
    seen = []
    convert(
        data / "blocks",
        tmp_path / "there",
        target_format="uocf",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(number, 12) for number in range(1, 13)]
