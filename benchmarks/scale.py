"""What large datasets cost: opening, planning and training, beside small ones.

    python benchmarks/scale.py                                      # opening and planning, half a minute
    python benchmarks/scale.py --parts plans --scenes 20000         # all plans of a dataset, written
    python benchmarks/scale.py --parts training --train-scenes 500 5000 50000

opening   `open_dataset` on a folder of many files, against listing the folder and sorting the names
planning  a scene's plan in a large dataset, against one in a dataset of 10 scenes
plans     `generate --plan-only` of a whole dataset, against one of a twentieth of its scenes
training  `train` for a few steps on scenes of 4 views of 64×48 pixels: time to the first step and memory,
          when images are decoded for the first time and when an earlier run has done so

Times of opening and planning are CPU seconds of this process. The memory of a command is the most that it had
at one time: *own*, which nobody can take away from it; *mapped*, pages of files that the kernel drops where
memory is short.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import yaml
from PIL import Image

from generation.jobs import AssetFolders
from generation.plan.plan import AssetPool, PlacementError, plan_scene
from generation.plan.request import build_request
from objnerf.dataset import names, open_dataset
from objnerf.dataset.cameras import look_at
from objnerf.dataset.files import write_matrix

#: Of a view with all that belongs to it.
SUFFIXES = (".png", names.POSE_SUFFIX, names.AZIMUTH_SUFFIX, names.MASK_SUFFIX, names.DEPTH_SUFFIX)

VIEWS = 4

#: Scenes that differ; all further ones are links to them, so that the disk holds many.
_DISTINCT_SCENES = 256

#: Trains a small model for two hundred steps; each looks at another scene.
RECIPE = {
    "name": "small",
    "model": {"kind": "uorf", "num_slots": 3, "z_dim": 8, "n_freq": 2, "n_layers": 1},
    "input_size": [64, 48],
    "clock": "step",
    "stages": [{"name": "only", "until": 200, "size": [64, 48], "supervision": "rays", "rays": 64}],
    "batch": {"scenes": 1, "views": 2},
    "sampling": {"samples": 8, "eval_samples": 8},
    "schedule": {"warmup_steps": 1},
    "held_out": {"scenes": 4},
    "evaluation": {"every": 0},
    "saving": {"tensorboard": False, "log_every": 1, "checkpoint_every": 200},
}

#: Between looks at a command's memory, seconds.
_LOOK_S = 0.05

PARTS = ("opening", "planning", "plans", "training")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["opening", "planning"])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--scenes", type=int, default=20_000, help="of the dataset that is planned")
    parser.add_argument("--train-scenes", type=int, nargs="+", default=[500, 5000, 50_000])
    arguments = parser.parse_args()
    parts: dict[str, Callable[[], object]] = {
        "opening": lambda: opening(arguments.files),
        "planning": lambda: planning(arguments.scenes),
        "plans": lambda: [plans(count) for count in (arguments.scenes // 20, arguments.scenes)],
        "training": lambda: [training(count) for count in arguments.train_scenes],
    }
    for part in arguments.parts:
        print(json.dumps({part: parts[part]()}, indent=2), flush=True)


def opening(files: int) -> dict[str, float]:
    """Best of three, files in the disk's cache."""
    views = files // len(SUFFIXES)
    with tempfile.TemporaryDirectory(prefix="objnerf-scale-") as folder:
        for view in range(views):
            stem = names.make_view_stem(view, view // VIEWS, view % VIEWS, views // VIEWS)
            for suffix in SUFFIXES:
                (Path(folder) / f"{stem}{suffix}").touch()
        listing = min(cpu_seconds(lambda: sorted(os.listdir(folder))) for _ in range(3))
        ours = min(cpu_seconds(lambda: open_dataset(folder)) for _ in range(3))
    return {"files": views * len(SUFFIXES), "seconds": ours, "ours / listing": ours / listing}


def planning(scenes: int) -> dict[str, float]:
    """CPU time of the plans of the first ten scenes, the best of three."""
    catalogue = AssetFolders().load()

    def seconds(count: int) -> float:
        request = build_request("room-diverse", scenes=count, shapes=60, backgrounds=6)
        pool = AssetPool.draw(catalogue, request)

        def plan_some() -> None:
            for scene in range(10):
                try:
                    plan_scene(request, pool, scene)
                except PlacementError:
                    continue

        plan_some()  # measures the shapes, which are then remembered
        return min(cpu_seconds(plan_some) for _ in range(3)) / 10

    large = seconds(scenes)
    return {"scenes": scenes, "seconds a scene": large, "large / small": large / seconds(10)}


def plans(scenes: int) -> dict[str, float]:
    """All plans of a dataset, by the command."""
    with tempfile.TemporaryDirectory(prefix="objnerf-scale-") as folder:
        how = ["--scenes", scenes, "--shapes", 60, "--bgs", 6, "--out", Path(folder) / "dataset"]
        spent = run(["generate", "--plan-only", *how], Path(folder) / "log")
    return {
        "scenes": scenes,
        "CPU seconds": round(spent.cpu_s, 1),
        "CPU milliseconds a scene": round(1e3 * spent.cpu_s / scenes, 2),
        "own memory, MB": round(spent.own / 1e6, 1),
    }


def training(scenes: int) -> dict[str, object]:
    """A few steps of a small model, first with images to decode, then with those that were kept."""
    with tempfile.TemporaryDirectory(prefix="objnerf-scale-") as folder:
        data = Path(folder) / "dataset"
        write_linked_scenes(data, scenes)
        recipe = Path(folder) / "small.yaml"
        recipe.write_text(yaml.safe_dump(RECIPE))
        found: dict[str, object] = {"scenes": scenes, "views": scenes * VIEWS}
        for name in ("first run", "later run"):
            out = Path(folder) / name.replace(" ", "-")
            how = ["--recipe", recipe, "--out", out, "--device", "cpu", "--no-validate"]
            started = run(
                ["train", data, *how],
                Path(folder) / "log",
                {"OBJNERF_CACHE": str(Path(folder) / "cache")},
                begun=out / "metrics.jsonl",
            )
            found[name] = {
                "seconds to the first logged step": round(started.begun_s, 1),
                "CPU seconds": round(started.cpu_s, 1),
                "own memory, MB": round(started.own / 1e6, 1),
                "mapped memory, MB": round(started.mapped / 1e6, 1),
            }
        kept = sum(path.stat().st_size for path in (Path(folder) / "cache").glob("*")) / 1e6
        found["decoded images on disk, MB"] = round(kept, 1)
    return found


def write_linked_scenes(root: Path, scenes: int) -> None:
    """Scenes of noise, seen by cameras around the origin; only ``_DISTINCT_SCENES`` of them differ."""
    root.mkdir()
    for scene in range(scenes):
        rng = np.random.default_rng([11, scene])
        for view in range(VIEWS):
            stem = names.make_view_stem(scene * VIEWS + view, scene, view, scenes)
            paths = [root / f"{stem}{suffix}" for suffix in (".png", names.POSE_SUFFIX)]
            if scene >= _DISTINCT_SCENES:
                twin = scene % _DISTINCT_SCENES
                source = names.make_view_stem(twin * VIEWS + view, twin, view, scenes)
                for path in paths:
                    os.link(root / f"{source}{path.name.removeprefix(stem)}", path)
                continue
            noise = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            Image.fromarray(noise).resize((64, 48)).save(paths[0])
            turn = 2 * np.pi * (view + rng.uniform()) / VIEWS
            eye = np.array([9.5 * np.cos(turn), 9.5 * np.sin(turn), 8.0])
            write_matrix(paths[1], look_at(eye, np.zeros(3)))


@dataclass(frozen=True)
class Spent:
    """What a command cost.

    Attributes:
        cpu_s: CPU seconds, of all its threads and processes.
        begun_s: seconds until the file appeared that it was asked for; until its end without one.
        own: most anonymous memory at one time, bytes.
        mapped: most memory of mapped files at one time, bytes.
    """

    cpu_s: float
    begun_s: float
    own: int
    mapped: int


def run(
    words: list[object], log: Path, environment: dict[str, str] | None = None, begun: Path | None = None
) -> Spent:
    """Run a verb and watch it.

    Raises:
        SystemExit: it failed; with what it printed.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    begun_s, own, mapped = None, 0, 0
    with log.open("w") as output:
        command = [sys.executable, "-m", "cli", *(str(word) for word in words)]
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, **(environment or {})}
        )
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                held = watched.memory_info()
            except psutil.Error:
                break
            shared = getattr(held, "shared", 0)
            own, mapped = max(own, held.rss - shared), max(mapped, shared)
            if begun is not None and begun_s is None and begun.exists() and begun.stat().st_size:
                begun_s = time.monotonic() - start
            time.sleep(_LOOK_S)
    if process.wait():
        sys.exit(log.read_text())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(cpu_s, begun_s if begun_s is not None else time.monotonic() - start, own, mapped)


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
