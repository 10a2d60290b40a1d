"""The verb `generate`: what it refuses, and with which words and exit status."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import generation.jobs
from cli import main


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["generate", *words])
    return result.exit_code, result.output


def test_plans_come_without_blender(tmp_path):
    command = [sys.executable, "-m", "cli", "generate", "--scenes", "2", "--shapes", "3", "--bgs", "2"]
    command += ["--plan-only", "--out", str(tmp_path / "p")]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 scenes planned; " in done.stdout
    assert sorted(path.name for path in (tmp_path / "p" / "plans").iterdir()) == ["0000.json", "0001.json"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "room-divers"], "expected one of clevr-567, clevr-567-metal, room-chair, room-diverse"),
        (["--preset", "missing.yaml"], "cannot be read"),
        (["--size", "192"], "expected WIDTHxHEIGHT, such as 192x144, found '192'"),
        (["--size", "2x2"], "width: must be greater than or equal to 8, found 2"),
        (["--shard", "3/2"], "expected I/N with I from 1 to N"),
        (["--passes", "depth,mist"], "found 'mist'"),
        (["--scenes", "0"], "0 is not in the range x>=1"),
        (["--seed", "-1"], "seed: must be greater than or equal to 0, found -1"),
        (["--views", "40"], "at most 17 views fit"),
        (["--meshes", "nowhere"], "--meshes nowhere: there is no such folder"),
        (["--mix"], "--mix puts shapes made by code beside those of files"),
        (["--unit", "cm"], "has no effect without --real-scale"),
        (["--up", "x"], "'x' is not one of 'auto', 'y', 'z'"),
        (["--preset", "clevr-567", "--real-scale"], "is unknown"),
        (["--remake", "nowhere.json"], "nowhere.json: cannot be read"),
        (["--no-such-option"], "No such option"),
    ],
)
def test_a_call_that_cannot_be_used_ends_with_2_and_says_why(tmp_path, words, message):
    status, output = run(*words, "--out", str(tmp_path / "d"))
    assert status == 2
    assert message in " ".join(output.split())
    assert "Traceback" not in output
    assert not (tmp_path / "d").exists()


def test_options_with_underscores_work(tmp_path):
    status, output = run("--plan_only", "--scenes", "1", "--shapes", "2", "--out", str(tmp_path / "d"))
    assert status == 0, output


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "d").write_text("x")
    status, output = run("--scenes", "1", "--shapes", "2", "--out", str(tmp_path / "d"))
    assert status == 2
    assert "expected a folder, found a file" in " ".join(output.split())


def test_a_stopped_call_names_the_next_where_there_is_something_to_use(data, tmp_path, monkeypatch):
    """Ctrl-C after three of ten scenes, and before the first one."""

    def stopped(request, out, *rest, **options):
        if filled:
            shutil.copytree(data / "blocks", out)
        raise KeyboardInterrupt

    monkeypatch.setattr(generation.jobs, "generate_dataset", stopped)
    filled = True
    status, output = run("--scenes", "10", "--out", str(tmp_path / "some"))
    assert status == 130
    assert "3 of 10 scenes are complete" in output
    assert f"next: objnerf validate {tmp_path / 'some'}" in output
    assert "run the same command again to continue" in output
    filled = False
    status, output = run("--scenes", "10", "--out", str(tmp_path / "none"))
    assert status == 130
    assert "next:" not in output
