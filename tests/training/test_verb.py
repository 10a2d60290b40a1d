"""The verb ``train``, as a person types it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from cli import main

TINY = (
    *("--set", "model={kind: uorf, num_slots: 3, z_dim: 8, n_freq: 2, n_layers: 1}"),
    *("--set", "input_size=[16, 16]", "--set", "stages.0.rays=16", "--set", "batch={scenes: 2, views: 2}"),
    *("--set", "sampling.samples=6", "--set", "evaluation={every: 0, scenes: 1, size: [8, 6], samples: 6}"),
    *("--set", "saving.tensorboard=false", "--device", "cpu"),
)


def call(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["train", *map(str, arguments)])


@pytest.fixture
def copy(data: Path, tmp_path: Path) -> Path:
    """A dataset that a test may spoil."""
    return Path(shutil.copytree(data / "blocks", tmp_path / "blocks"))


def test_a_foreign_dataset_trains_and_goes_on(data: Path, tmp_path: Path):
    run = tmp_path / "run"
    result = call(data / "blocks", "--recipe", "tiny", "--out", run, "--max-steps", 2, *TINY)
    assert result.exit_code == 0, result.output
    assert f"{run}: 2 steps" in result.output
    result = call(data / "blocks", "--out", run, "--max-steps", 3, *TINY)
    assert result.exit_code == 2
    assert "holds a run already" in result.output
    result = call(data / "blocks", "--out", run, "--max-steps", 3, "--resume", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert result.stderr.count(f"resuming {run} at step 2 of 3") == 1
    state = json.loads((run / "checkpoints" / "last.json").read_text())
    assert state["step"] == 3


def test_a_collapse_and_its_restart_are_said_on_the_console(data: Path, tmp_path: Path):
    """No foreground is ever enough here: the first attempt is started again, the second only warned of."""
    monitor = "monitor={restarts: 1, grace: 1, window: 2, least_foreground: 1.0}"
    saving = "saving={log_every: 1, tensorboard: false}"
    options = [*TINY, "--set", monitor, "--set", saving, "--max-steps", 4]
    result = call(data / "blocks", "--recipe", "tiny", "--out", tmp_path / "run", *options)
    assert result.exit_code == 0, result.output
    assert result.stderr.count("warning: starting again from another seed: restart 1 of at most 1") == 1
    assert result.stderr.count("Advice:") == 2
    assert "scenes to train on" not in result.stderr
    assert "scenes to train on" in (tmp_path / "run" / "train.log").read_text()


def test_print_config_resolves_everything_and_trains_nothing(data: Path, tmp_path: Path):
    options = ["--near", 5, "--fixed_locality", "--lr", 0.01, "--seed", 0, "--focal-ratio", 1.1, 1.2]
    result = call(data / "blocks", "--out", tmp_path / "run", "--print-config", *options, *TINY[2:])
    assert result.exit_code == 0, result.output
    config = yaml.safe_load(result.stdout)
    assert config["scale"] == {
        "near": 5.0,
        "far": 20.0,
        "nss_scale": 7.0,
        "obj_scale": 4.5,
        "focal_ratio": [1.1, 1.2],
        "own_intrinsics": True,
    }
    assert config["model"]["fixed_locality"] is True
    assert config["optimiser"]["lr"] == 0.01
    assert config["input_size"] == [16, 16]
    assert not (tmp_path / "run").exists()


def test_an_unsound_dataset_stops_in_the_validators_words(copy: Path, tmp_path: Path):
    pose = next(copy.glob("*_RT.txt"))
    pose.write_text(pose.read_text().replace("1", "7"))
    run = tmp_path / "run"
    result = call(copy, "--recipe", "tiny", "--out", run, "--max-steps", 1, *TINY)
    assert result.exit_code == 2
    assert "POSE-" in result.output
    assert pose.name in result.output
    assert "--no-validate" in result.output
    assert not run.exists()
    result = call(copy, "--recipe", "tiny", "--out", run, "--max-steps", 1, "--no-validate", *TINY)
    assert result.exit_code == 0, result.output


def test_a_matrix_that_cannot_be_read(copy: Path, tmp_path: Path):
    pose = next(copy.glob("*_RT.txt"))
    pose.write_text("no matrix at all")
    for extra in ((), ("--no-validate",)):
        result = call(copy, "--out", tmp_path / "run", "--max-steps", 1, *TINY, *extra)
        assert result.exit_code == 2, result.output
        assert pose.name in result.output
        assert "Traceback" not in result.output


def test_a_scene_with_one_view(copy: Path, tmp_path: Path):
    for file in sorted(copy.glob("*sc0000*"))[4:]:
        file.unlink()
    for extra in ((), ("--no-validate",)):
        result = call(copy, "--out", tmp_path / "run", "--max-steps", 1, *TINY, *extra)
        assert result.exit_code == 2, result.output
        assert "view" in result.output


def test_calls_that_make_no_sense(data: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    calls: list[tuple[list[Any], str]] = [
        ([tmp_path / "none"], "no such folder"),
        ([tmp_path / "empty"], "found none"),
        ([data / "blocks", "--recipe", "huge"], "no recipe 'huge'"),
        ([data / "blocks", "--set", "batch.scene=1"], "did you mean scenes?"),
        ([data / "blocks", "--near", 30], "near must be smaller than far"),
        ([data / "blocks", "--num-slots", 1], "model.num_slots"),
        ([data / "blocks", "--device", "cuda:77", "--out", tmp_path / "r"], "--device cuda:77"),
        ([data / "blocks", "--device", "abacus", "--out", tmp_path / "r"], "--device abacus"),
        ([data / "blocks", "--max-steps", 0], "max-steps"),
        ([data / "blocks", "--seed", -1], "seed"),
    ]
    for arguments, words in calls:
        result = call(*arguments)
        assert result.exit_code == 2, (arguments, result.output)
        assert words in result.output
        assert "Traceback" not in result.output
