"""Commands that are killed, and what they write to: see ``host``."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from safetensors import safe_open
from safetensors.numpy import save_file

from objnerf.training.loop import train
from objnerf.training.recipe_files import parse_recipe

RECIPE = {
    "name": "small",
    "model": {"kind": "uorf", "num_slots": 3, "z_dim": 8, "n_freq": 2, "n_layers": 1},
    "input_size": [16, 16],
    "clock": "step",
    "stages": [{"name": "only", "until": 8, "size": [24, 18], "supervision": "rays", "rays": 16}],
    "batch": {"scenes": 1, "views": 2},
    "sampling": {"samples": 6, "eval_samples": 12},
    "schedule": {"warmup_steps": 1},
    "held_out": {"scenes": 1},
    "evaluation": {"every": 4, "scenes": 1, "size": [16, 12], "samples": 6},
    "saving": {"tensorboard": False, "log_every": 1, "checkpoint_every": 2},
}


@dataclass(frozen=True)
class Ended:
    """How a command ended; ``events`` counts its steps on the file system where it came to its end."""

    status: int
    output: str
    events: int


class Host:
    """Runs commands; see ``host``."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "log"
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("host.py"))],
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: object, events: int | None = None, seconds: float | None = None) -> Ended:
        """Run a command, killed at its ``events``-th step on the file system or after some seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"words": [str(word) for word in words], "log": str(self._log)}
        self._process.stdin.write(json.dumps({**order, "events": events, "seconds": seconds}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        output = self._log.read_text(errors="replace")
        assert "Traceback" not in output, output
        return Ended(answer["status"], output, answer["events"])

    def close(self) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    made = Host(tmp_path_factory.mktemp("host"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe of eight steps, with a checkpoint after every second one."""
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    return path


@pytest.fixture(scope="session")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of that recipe, whose objects are made opaque, so that they have surfaces."""
    run = tmp_path_factory.mktemp("trained") / "run"
    train(data / "blocks", run, parse_recipe(RECIPE, where="the test's recipe"))
    path = run / "checkpoints" / "last.safetensors"
    with safe_open(path, framework="np") as file:
        metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    tensors["model.network.decoder.f_after_shape.bias"] += 200
    save_file(tensors, path, metadata)
    return run


@pytest.fixture(scope="session")
def digests() -> Callable[[Path], dict[str, str]]:
    """Every file below a folder, by name, without those that are being written."""

    def find(root: Path) -> dict[str, str]:
        return {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*"))
            if path.is_file() and not any(part.startswith(".tmp-") for part in path.relative_to(root).parts)
        }

    return find
