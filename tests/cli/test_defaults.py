"""The three calls that people make first, with nothing but their names; and what one scene is enough for."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

import cli
from objnerf.dataset import open_dataset
from objnerf.training.recipe_files import read_run_config

QUICK = ["--scenes", "3", "--shapes", "6", "--bgs", "2", "--size", "32x24", "--samples", "2"]
QUICK += ["--workers", "1"]
SMALL = ["--set", "input_size=[32,24]", "--set", "model.cells=12", "--set", "model.layers=4"]
SMALL += ["--set", "model.width=16", "--set", "stages.0.size=[16,16]", "--set", "stages.0.rays=16"]


def call(*words: object) -> Result:
    return CliRunner().invoke(cli.main, [str(word) for word in words], catch_exceptions=False)


@pytest.mark.parametrize("verb", ["validate", "train"])
def test_a_missing_dataset_is_answered_with_the_call_that_makes_one(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    result = call(verb)
    assert result.exit_code == 2
    assert "Create it with `objnerf generate`" in result.output
    assert f"`objnerf {verb} FOLDER`" in result.output


def test_each_call_names_the_next_and_takes_what_it_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    made = call("generate", *QUICK)
    assert made.exit_code == 0, made.output
    assert "writing 3 scenes to dataset (--scenes N for fewer)" in made.output
    assert made.output.rstrip().endswith("next: objnerf validate dataset")
    checked = call("validate")
    assert checked.exit_code == 0, checked.output
    assert "using ./dataset" in checked.output
    assert "next: objnerf train dataset" in checked.output
    trained = call("train", "--max-steps", 1, *SMALL)
    assert trained.exit_code == 0, trained.output
    assert "next: objnerf evaluate runs/dataset-tiny dataset" in trained.output


def test_documentation_of_a_check_needs_no_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert call("validate", "--explain", "META").exit_code == 0


@pytest.mark.parametrize("missing", [0, 1, 4])
def test_a_generator_that_was_stopped_leaves_a_dataset_that_can_be_used(
    missing: int, data: Path, tmp_path: Path
):
    """Eight scenes were to be made and one is not there yet; another program's set stays an error."""
    root = tmp_path / "half"
    shutil.copytree(data / "blocks_depth", root)
    for path in root.glob("*_sc0001_*"):
        shutil.copy(path, root / path.name.replace("_sc0001_", "_sc0005_").replace("0000", "0009"))
    for path in root.glob(f"*_sc{missing:04d}_*"):
        path.unlink()
    card = {"format_version": 1, "scenes": 8, "preset": "room-diverse"}
    (root / "dataset.yaml").write_text(yaml.safe_dump(card))
    ids = set(open_dataset(root).scenes)
    assert 8 > len(ids) >= 2
    result = call("validate", root, "--only", "FILE-IDS,META")
    assert result.exit_code == 0, result.output
    assert f"{len(ids)} of 8 scenes are there" in " ".join(result.output.split())
    del card["preset"]
    (root / "dataset.yaml").write_text(yaml.safe_dump(card))
    assert call("validate", root, "--only", "FILE-IDS,META").exit_code == 1


def test_one_scene_is_trained_and_views_of_it_are_held_out(data: Path, tmp_path: Path):
    """Six views: one is held out, since a tenth of six is less; evaluation renders it alone."""
    root = tmp_path / "one"
    root.mkdir()
    for path in (data / "blocks").glob("*_sc0000_*"):
        shutil.copy(path, root)
    for path in (data / "blocks").glob("*_sc0001_img[01]*"):
        shutil.copy(path, root / path.name.replace("0000", "0009", 1).replace("_sc0001_img", "_sc0000_img9"))
    views = len(open_dataset(root).scenes[0].views)
    assert views == 6
    result = call("train", root, "--max-steps", 2, "--out", tmp_path / "run", *SMALL)
    assert result.exit_code == 0, result.output
    assert "dB on held-out views" in result.output
    facts = read_run_config(tmp_path / "run").dataset
    assert (facts.held_out_scenes, facts.held_out_views) == ((), 1)
    result = call("evaluate", tmp_path / "run", root, "--json", tmp_path / "scores.json")
    assert result.exit_code == 0, result.output
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["scenes"][0]["views"] == 2
    assert "views of its scene" in scores["settings"]["chosen"]


def test_one_scene_with_no_view_to_spare_is_trained_on_all_of_them(data: Path, tmp_path: Path):
    root = tmp_path / "one"
    root.mkdir()
    for path in (data / "blocks").glob("*_sc0000_*"):
        shutil.copy(path, root)
    result = call("train", root, "--max-steps", 1, "--out", tmp_path / "run", *SMALL)
    assert result.exit_code == 0, result.output
    said = "no PSNR on novel views, since no scene is held out: the only scene has 4 views"
    assert said in " ".join(result.output.split())
    assert read_run_config(tmp_path / "run").dataset.held_out_views == 0
    result = call("evaluate", tmp_path / "run", root, "--json", tmp_path / "scores.json")
    assert result.exit_code == 0, result.output
    assert "learned from" in json.loads((tmp_path / "scores.json").read_text())["settings"]["chosen"]


def test_a_run_does_not_go_on_with_other_views_held_out(data: Path, tmp_path: Path):
    """Of four views all were trained on; with a fifth, one of them would be held out."""
    root = tmp_path / "one"
    root.mkdir()
    for path in (data / "blocks").glob("*_sc0000_*"):
        shutil.copy(path, root)
    more = ["--out", tmp_path / "run", *SMALL]
    assert call("train", root, "--max-steps", 1, *more).exit_code == 0
    for path in (data / "blocks").glob("*_sc0001_img0*"):
        shutil.copy(path, root / path.name.replace("0000", "0009", 1).replace("_sc0001_img", "_sc0000_img9"))
    result = call("train", root, "--max-steps", 2, "--resume", *more)
    assert result.exit_code == 2
    said = " ".join(result.output.split())
    assert "held the last 0 of 4 views out of training, and now it would be the last 1 of 5" in said
