"""The demo: quick refusals here, the whole of it among the slow tests."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

import cli


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--minutes", "0.5"], "--minutes"), (["--scenes", "2"], "--scenes"), (["--minutes", "soon"], "soon")],
)
def test_demo_refuses_what_cannot_work(tmp_path: Path, words: list[str], message: str) -> None:
    result = CliRunner().invoke(cli.main, ["demo", "--out", str(tmp_path / "demo"), *words])
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "demo").exists()


def test_demo_leaves_a_folder_of_somebody_else_alone(tmp_path: Path) -> None:
    foreign = tmp_path / "demo" / "dataset"
    foreign.mkdir(parents=True)
    (foreign / "holiday_sc0000.png").write_bytes(b"mine")
    result = CliRunner().invoke(cli.main, ["demo", "--out", str(tmp_path / "demo")])
    assert result.exit_code == 2, result.output
    assert "error:" in result.output
    assert [path.name for path in foreign.iterdir()] == ["holiday_sc0000.png"]


@pytest.mark.slow
def test_demo_runs_through_and_goes_on(tmp_path: Path) -> None:
    out, picture = tmp_path / "demo", tmp_path / "demo.png"
    command = [sys.executable, "-m", "cli", "demo", "--out", str(out), "--minutes", "2", "--scenes", "8"]
    command += ["--picture", str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(cli.__file__).parent, check=False)
    assert done.returncode == 0, done.stderr
    summary = json.loads((out / "report.json").read_text())
    assert summary["ok"] is True
    assert summary["evaluation"]["count"]["ari"] == 2
    assert summary["training"]["steps"] > 0
    page = (out / "report.html").read_text()
    # Seven of each of two scenes, however many slots such a short training finds.
    assert page.count("data:image/png;base64,") >= 14
    with Image.open(picture) as image:
        assert image.width > 600
    # Again: nothing is made or learned anew, and the figures are the same.
    again = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(cli.__file__).parent, check=False
    )
    assert again.returncode == 0, again.stderr
    assert "already trained" in again.stdout
    assert json.loads((out / "report.json").read_text())["evaluation"] == summary["evaluation"]
