"""The benchmarks of discovery, as a user starts them, at a size that measures nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL = {
    "input_size": [16, 16],
    "clock": "step",
    "perceptual": None,
    "stages": [{"name": "coarse", "until": 3, "size": [16, 12], "supervision": "rays", "rays": 16}],
    "batch.scenes": 2,
    "sampling.samples": 6,
    "sampling.eval_samples": 6,
}


def start(script: str, *arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, BENCHMARKS / script, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_gpu_benchmark_on_a_cpu(data: Path, tmp_path: Path) -> None:
    """Throughput of both recipes, one run each, the report and the page that shows it."""
    changes = [f"--set={key}={json.dumps(value)}" for key, value in SMALL.items()]
    printed = start(
        "discovery_gpu.py",
        *(data / "blocks", "--device", "cpu", "--recipe", "tiny", "--held-out", "1", "--steps", "2"),
        *("--minutes", "5", "--out", tmp_path, *changes),
    )
    report = json.loads((tmp_path / "discovery_gpu.json").read_text())
    timed = [(each["recipe"], each["replayed"]) for each in report["throughput"]]
    assert timed == [("tiny", True), ("tiny", False), ("uorf_clevr_567", True)]
    assert all(each["rays_per_second"] > 0 for each in report["throughput"])
    assert [(run["contender"], run["steps"]) for run in report["runs"]] == [("fast", 3), ("reference", 3)]
    assert all(run["mean"]["psnr"] > 0 for run in report["runs"])
    assert "plotly" in (tmp_path / "discovery_gpu.html").read_text()
    assert printed.count("| fast |") == printed.count("| reference |") == 1


@pytest.mark.slow
def test_cpu_benchmark(data: Path, tmp_path: Path) -> None:
    """One short run of tiny: a line of JSON, a table, and the file with both."""
    printed = start(
        "discovery.py",
        *(data / "blocks", "--contenders", "tiny", "--seeds", "3", "--steps", "3"),
        *("--set", "optimiser.kind=adam", "--out", tmp_path),
    )
    (run,) = json.loads((tmp_path / "discovery.json").read_text())["runs"]
    assert (run["contender"], run["seed"]) == ("tiny", 3)
    assert run["steps"] == 3
    assert "kind: adam" in (tmp_path / "tiny-3" / "config.yaml").read_text()
    assert sum(kind["scenes"] for name, kind in run["by_kind"].items() if "objects" in name) == 1
    assert f"| tiny | 3 | {run['minutes']:g} | 3 |" in printed
