"""The verbs evaluate, render, edit and doctor, as a user calls them, on a run that was really trained."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import cli
from objnerf.evaluation.evaluate import FIGURES
from objnerf.training.loop import train
from objnerf.training.recipe_files import parse_recipe

_RECIPE = {
    "name": "small",
    "model": {"kind": "uorf", "num_slots": 3, "z_dim": 8, "n_freq": 2, "n_layers": 1},
    "input_size": [16, 16],
    "clock": "step",
    "stages": [{"name": "only", "until": 3, "size": [24, 18], "supervision": "rays", "rays": 16}],
    "batch": {"scenes": 1, "views": 2},
    "sampling": {"samples": 6, "eval_samples": 12},
    "schedule": {"warmup_steps": 1},
    "held_out": {"scenes": 1},
    "evaluation": {"every": 0, "scenes": 1, "size": [16, 12], "samples": 6},
    "saving": {"tensorboard": False},
}


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory) -> Path:
    """A run of three steps on the foreign dataset in tests/data."""
    run = tmp_path_factory.mktemp("runs") / "small"
    train(data / "blocks", run, parse_recipe(_RECIPE, where="the test's recipe"))
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of that run in another place."""
    return Path(shutil.copytree(trained, tmp_path / "elsewhere"))


def call(*words: object) -> Result:
    result = CliRunner().invoke(cli.main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def test_evaluate_writes_json_and_page(run: Path, data: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "deep" / "result.json", tmp_path / "page.html"
    result = call("evaluate", run, data / "blocks", "--json", out, "--html", page)
    assert result.exit_code == 0, result.output
    content = json.loads(out.read_text())
    held_out = content["settings"]["scenes"]
    assert [scene["scene"] for scene in content["scenes"]] == held_out == [2]
    assert content["settings"]["recipe"] == "small"
    assert content["settings"]["step"] == 3
    assert content["settings"]["run"] == "elsewhere"
    for key in FIGURES:
        value, reason = content["mean"][key], content["reasons"].get(key)
        assert (value is None) == (reason is not None), key
    assert -1 <= content["mean"]["ari"] <= 1
    assert content["mean"]["psnr"] > 0
    assert "data:image/png" in page.read_text()
    # The same figures again, on another machine's path and from kept scores.
    moved = run.rename(tmp_path / "moved")
    again = tmp_path / "again.json"
    assert call("evaluate", moved, data / "blocks", "--json", again).exit_code == 0
    assert json.loads(again.read_text())["mean"] == content["mean"]
    shutil.rmtree(moved / "evaluation")
    assert call("evaluate", moved, data / "blocks", "--json", again).exit_code == 0
    assert json.loads(again.read_text())["mean"] == content["mean"]


def test_evaluate_on_another_dataset_takes_all_its_scenes(run: Path, data: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(data / "blocks", tmp_path / "other"))
    for path in other.glob("*sc0002*"):
        path.unlink()
    out = tmp_path / "result.json"
    assert call("evaluate", run, other, "--scenes", 2, "--json", out).exit_code == 0
    content = json.loads(out.read_text())
    assert content["settings"]["scenes"] == [0, 1]
    assert "not trained on" in content["settings"]["chosen"]


def test_render_writes_views_orbits_and_slots(run: Path, data: Path, tmp_path: Path) -> None:
    blocks = data / "blocks"
    folder = tmp_path / "views"
    assert (
        call("render", run, blocks, "--scene", 0, "--size", "16x12", "--slots", "--out", folder).exit_code
        == 0
    )
    names = sorted(path.name for path in folder.iterdir())
    assert names[:3] == ["view_000.png", "view_000_slot_0.png", "view_000_slot_1.png"]
    assert len([name for name in names if name.endswith("_slots.png")]) == 4
    with Image.open(folder / "view_003.png") as image:
        assert image.size == (16, 12)
    turning = tmp_path / "turn.gif"
    assert call("render", run, blocks, "--size", "16x12", "--orbit", 3, "--out", turning).exit_code == 0
    with Image.open(turning) as image:
        assert image.size == (16, 12)
        assert image.n_frames == 3
    sheet = tmp_path / "sheet.png"
    assert call("render", run, blocks, "--size", "16x12", "--out", sheet).exit_code == 0
    assert sheet.is_file()


def test_edit_changes_the_picture(run: Path, data: Path, tmp_path: Path) -> None:
    blocks, out = data / "blocks", tmp_path / "edits"
    words = ["edit", run, blocks, "--scene", 1, "--size", "16x12", "--out", out]
    assert call(*words, "--delete", 1, "--delete", 2).exit_code == 0
    before, after = (
        np.asarray(Image.open(out / f"{name}_000.png")).astype(int) for name in ("before", "after")
    )
    assert np.abs(before - after).max() > 0
    assert call(*words, "--move", 1, 0.5, "-0.5", "--copy", 2, 1, 1, "--background-from", 0).exit_code == 0
    assert len(list(out.iterdir())) == 8
    result = call(*words)
    assert result.exit_code == 2
    assert "no edit given" in result.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["edit", "RUN", "BLOCKS", "--delete", "0", "--out", "x.png"], "slot 0 is the background"),
        (["edit", "RUN", "BLOCKS", "--delete", "9", "--out", "x.png"], "slots 1 to 2"),
        (["edit", "RUN", "BLOCKS", "--delete", "1", "--background-from", "77"], "no scene 77"),
        (["render", "RUN", "BLOCKS", "--scene", "9"], "no scene 9"),
        (["render", "RUN", "BLOCKS", "--out", "x.gif"], "needs --orbit"),
        (["render", "RUN", "BLOCKS", "--out", "x.tiff"], "found .tiff"),
        (["render", "RUN", "BLOCKS", "--size", "4x4"], "at least 8 pixels"),
        (["render", "RUN", "BLOCKS", "--size", "big"], "such as 192x144"),
        (["evaluate", "RUN", "BLOCKS", "--device", "tpu"], "--device tpu"),
        (["evaluate", "RUN", "nowhere"], "no such folder"),
        (["evaluate", "nowhere", "BLOCKS"], "does not exist"),
        (["evaluate", "BLOCKS", "BLOCKS"], "not a run folder"),
        (["evaluate", "FILE", "BLOCKS"], "is a file; expected a folder"),
    ],
)
def test_bad_calls_are_told_in_a_line(run: Path, data: Path, words: list[str], message: str) -> None:
    places = {"RUN": str(run), "BLOCKS": str(data / "blocks"), "FILE": str(run / "config.yaml")}
    result = call(*(places.get(word, word) for word in words))
    assert result.exit_code == 2, result.output
    assert message in result.output.replace("\n", " ")


def test_evaluate_refuses_a_broken_run(run: Path, data: Path) -> None:
    last = run / "checkpoints" / "last.safetensors"
    last.write_bytes(last.read_bytes()[:1000])
    assert call("evaluate", run, data / "blocks").exit_code == 2
    last.write_bytes(b"PK\x03\x04 pickled")
    result = call("evaluate", run, data / "blocks")
    assert result.exit_code == 2
    assert "pickled" in result.output
    last.unlink()
    assert call("evaluate", run, data / "blocks").exit_code == 2
    (run / "config.yaml").write_text("recipe: [")
    assert call("evaluate", run, data / "blocks").exit_code == 2


def test_evaluate_refuses_an_empty_or_broken_dataset(run: Path, data: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert call("evaluate", run, empty).exit_code == 2
    broken = Path(shutil.copytree(data / "blocks", tmp_path / "broken"))
    next(broken.glob("*sc0002*_RT.txt")).write_text("1 2 3")
    result = call("evaluate", run, broken)
    assert result.exit_code == 2
    assert "_RT.txt" in result.output
    next(broken.glob("*sc0002*img1.png")).write_bytes(b"no picture")
    assert call("evaluate", run, broken).exit_code == 2


def test_doctor_always_succeeds() -> None:
    result = call("doctor")
    assert result.exit_code == 0
    assert "torch" in result.output


def test_evaluate_takes_the_references_checkpoints(data: Path, tmp_path: Path) -> None:
    weights = Path(shutil.copytree(data / "parity" / "clevr_567_like", tmp_path / "theirs"))
    slots = json.loads((weights / "config.json").read_text())["num_slots"]
    recipe = tmp_path / "theirs.yaml"
    recipe.write_text(
        f"model: {{kind: uorf, num_slots: {slots}}}\ninput_size: [64, 64]\nsampling: {{eval_samples: 8}}\n"
        "stages: [{name: fine, until: 1200, size: [16, 12], supervision: images}]\nlocality: {until: 600}\n"
    )
    out = tmp_path / "result.json"
    words = ["evaluate", weights, data / "blocks", "--recipe", recipe, "--scenes", 1, "--json", out]
    result = call(*words)
    assert result.exit_code == 0, result.output
    content = json.loads(out.read_text())
    assert content["settings"]["reference"] is True
    assert content["settings"]["render"]["locality"] is False
    assert content["settings"]["render"]["stored_azimuth"] is True
    assert content["mean"]["ref_ari"] is not None
    assert call("evaluate", weights, data / "blocks").exit_code == 2
    assert call(*words[:4], "tiny").exit_code == 2
    assert call("evaluate", tmp_path, *words[2:5]).exit_code == 2
