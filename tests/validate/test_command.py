"""The verb as a user runs it: exit status, messages, files."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from cli import main


def run(*words: str | Path) -> Result:
    # One process: these datasets are small, and coverage of the spawned case is elsewhere.
    result = CliRunner().invoke(main, ["validate", *map(str, words)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_sound(data: Path) -> None:
    result = run(data / "blocks")
    assert result.exit_code == 0
    assert "nothing wrong found" in result.output


def test_errors_are_1_and_name_the_fix(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("blocks")
    for path in folder.glob("*_RT.txt"):
        np.savetxt(path, np.loadtxt(path) @ np.diag([1.0, -1, -1, 1]))
    result = run(folder)
    assert result.exit_code == 1
    assert "POSE-AXES" in result.output
    assert "diag(1, -1, -1, 1)" in result.output


def test_warnings_are_1_only_when_strict(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("blocks")
    (folder / "00000_sc0000_img0_mask.png").unlink()
    assert run(folder).exit_code == 0
    assert run(folder, "--strict").exit_code == 1
    assert run(folder, "--strict", "--skip", "FILE-MISSING").exit_code == 0


@pytest.mark.parametrize("kind", ["missing", "empty", "file", "elsewhere", "colmap"])
def test_what_is_no_dataset_is_2(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    if kind == "file":
        folder.write_text("no folder")
    elif kind != "missing":
        folder.mkdir()
    if kind == "elsewhere":
        (folder / "readme.txt").write_text("pictures are in train/")
    if kind == "colmap":
        (folder / "cameras.bin").write_bytes(b"")
    result = run(folder)
    assert result.exit_code == 2
    assert result.output.startswith("error: ")
    assert str(folder) in result.output
    assert "Traceback" not in result.output
    if kind == "colmap":
        assert "objnerf convert" in result.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--near", "-1"], "--near must be a positive number"),
        (["--near", "20", "--far", "6"], "far must be beyond near"),
        (["--only", "NO-SUCH"], "no check is called 'NO-SUCH'"),
        (["--limit", "box_pixels"], "--limit expects NAME=VALUE"),
        (["--limit", "boxes=1"], "no limit is called 'boxes'"),
        (["--explain", "NO-SUCH"], "no check is called 'NO-SUCH'"),
        (["--num-slots", "0"], "--num-slots"),
    ],
)
def test_calls_that_make_no_sense_are_2(words: list[str], message: str, data: Path) -> None:
    result = run(data / "blocks", *words)
    assert result.exit_code == 2
    assert message in result.output


def test_no_dataset_is_2() -> None:
    assert run().exit_code == 2


def test_one_broken_matrix(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("blocks")
    (folder / "00005_sc0001_img1_RT.txt").write_text("1 0 0\n")
    result = run(folder)
    assert result.exit_code == 1
    assert "00005_sc0001_img1_RT.txt" in result.output
    assert "1 error, 0 warnings" in result.output


def test_one_scene_of_one_view(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("blocks")
    for path in folder.iterdir():
        if not path.name.startswith("00000_"):
            path.unlink()
    result = run(folder)
    assert result.exit_code == 1
    assert "FILE-VIEWS" in result.output


def test_files_and_underscores(copy_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copy_of("blocks_depth")
    result = run(
        *(folder, "--nss_scale", "7", "--obj_scale", "4.5", "--focal_ratio", "1.09375", "1.4583333"),
        *("--json", tmp_path / "r.json", "--html", tmp_path / "r.html", "--fix", tmp_path / "fixed"),
    )
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["settings"]["nss_scale"] == {"value": 7.0, "source": "option"}
    assert content["repair"]["out"] == str(tmp_path / "fixed")
    page = (tmp_path / "r.html").read_text()
    assert 'id="cameras"' in page
    assert 'id="chart-camera-distance' in page
    assert "fixed copy" in result.output


def test_json_to_the_screen_is_nothing_but_json(data: Path) -> None:
    result = run(data / "blocks", "--json", "-")
    assert json.loads(result.stdout)["ok"] is True


def test_a_report_that_cannot_be_written_is_said(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run(data / "blocks", "--json", tmp_path / "file" / "r.json")
    assert result.exit_code in (1, 2)
    assert "error: " in result.output


def test_explain(data: Path) -> None:
    result = run("--explain", "pose-axes")
    assert result.exit_code == 0
    assert result.output.startswith("# POSE-AXES")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_a_files_place_does_not_hang(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("blocks")
    for name in ("00005_sc0001_img1_RT.txt", "00006_sc0001_img2.png", "dataset.yaml"):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)
    result = run(folder)
    assert result.exit_code == 1
    assert "POSE-READ" in result.output
    assert "IMAGE-READ" in result.output
    assert "META" in result.output
