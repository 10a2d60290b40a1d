"""What validating a large dataset costs, against the bare time to read and decode the same files.

    python benchmarks/validate.py --views 20000 --size 128x96

Synthesises a sound dataset (a textured ground with flat discs on it, so that pictures, masks, depth and
poses belong together), then alternates, as often as ``--rounds`` says, between

- *bare*: read every file of every view and decode it (Pillow for pictures and masks, NumPy for depth and
  matrices), in as many processes as the validator gets, and
- *validate*: ``validate.run`` with all checks but PHOTO.

Prints wall and CPU time of both, their ratio, and the most memory that the validator's processes held
together. Both sides start their processes anew each round, and find the files in the page cache alike.
"""

import argparse
import io
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from objnerf.dataset import files, names
from objnerf.dataset.cameras import Intrinsics, look_at, world_from_azimuth, world_rays

_VIEWS_PER_SCENE = 4

#: Scenes that differ; later ones have their cameras, masks and depth, as links, and images of their own.
_DISTINCT_SCENES = 5000

#: World positions and radii of the discs, in the order of the mask colours.
_DISCS = ((2.0, 0.0, 1.2), (-1.5, 1.8, 1.0), (-0.5, -2.0, 1.1))


def _focal_ratio(width: int, height: int) -> tuple[float, float]:
    """uORF's lens with square pixels. Made for 4:3: taller pictures see the ground beyond far."""
    return 350 / 320, 350 / 320 * width / height


def write_scenes(root: Path, scenes: list[int], n_scenes: int, size: tuple[int, int]) -> None:
    """Write the views of some scenes: picture, mask, depth, pose and azimuth."""
    intrinsics = Intrinsics.from_focal_ratio(_focal_ratio(*size), *size)
    for scene in scenes:
        rng = np.random.default_rng([7, scene])
        texture = rng.integers(40, 216, (64, 64, 3)).astype(np.uint8)
        colours = rng.integers(0, 256, (len(_DISCS), 3)).astype(np.uint8)
        start = rng.uniform(0, 2 * np.pi)
        for view in range(_VIEWS_PER_SCENE):
            azimuth = start + 2 * np.pi * (view + rng.uniform(-0.2, 0.2)) / _VIEWS_PER_SCENE
            height = np.radians(40 + rng.uniform(-3, 3))
            eye = 12.4 * np.array(
                [np.cos(height) * np.cos(azimuth), np.cos(height) * np.sin(azimuth), np.sin(height)]
            )
            pose = look_at(eye, np.zeros(3))
            origin, directions = world_rays(intrinsics, pose)
            # The ground z = 0; directions have camera z = 1, so the parameter is planar depth.
            depth = -origin[2] / directions[..., 2]
            ground = origin[:2] + depth[..., None] * directions[..., :2]
            cell = np.floor(ground * 2).astype(int) % 64
            picture = texture[cell[..., 1], cell[..., 0]]
            labels = np.zeros(depth.shape, dtype=np.int64)
            for number, (x, y, radius) in enumerate(_DISCS):
                inside = ((ground - [x, y]) ** 2).sum(axis=-1) < radius**2
                labels[inside] = number + 1
                picture[inside] = colours[number]
            # Noise, as renders have it: flat colours would decode faster than any real picture.
            picture = np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)
            index = scene * _VIEWS_PER_SCENE + view
            base = str(root / names.make_view_stem(index, scene, view, n_scenes))
            Image.fromarray(picture).save(base + ".png", compress_level=6)
            Image.fromarray(files.mask_from_labels(labels)).save(base + names.MASK_SUFFIX)
            np.save(base + names.DEPTH_SUFFIX, depth.astype(np.float32)[..., None])
            np.savetxt(base + names.POSE_SUFFIX, pose, fmt="%.8f")
            np.savetxt(base + names.AZIMUTH_SUFFIX, world_from_azimuth(pose), fmt="%.8f")


def write_similar_scenes(root: Path, scenes: list[int], n_scenes: int) -> None:
    """Write scenes that differ from earlier ones by the noise of their images alone."""
    for scene in scenes:
        rng = np.random.default_rng([8, scene])
        twin = scene % _DISTINCT_SCENES
        for view in range(_VIEWS_PER_SCENE):
            base, source = (
                str(root / names.make_view_stem(id_ * _VIEWS_PER_SCENE + view, id_, view, n_scenes))
                for id_ in (scene, twin)
            )
            with Image.open(source + ".png") as image:
                picture = np.asarray(image)
            noise = rng.integers(-4, 5, picture.shape)
            noisy = np.clip(picture + noise, 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(base + ".png", compress_level=6)
            for suffix in (names.MASK_SUFFIX, names.DEPTH_SUFFIX, names.POSE_SUFFIX, names.AZIMUTH_SUFFIX):
                os.link(source + suffix, base + suffix)


def decode_views(root: Path, stems: list[str]) -> int:
    """Read and decode all files of some views; the number of values, so that nothing is left undone."""
    total = 0
    for stem in stems:
        base = f"{root}/{stem}"
        for suffix in (".png", names.MASK_SUFFIX):
            with open(base + suffix, "rb") as file:
                image = Image.open(io.BytesIO(file.read()))
                image.load()
            total += image.size[0] * image.size[1]
        total += np.load(base + names.DEPTH_SUFFIX).size
        for suffix in (names.POSE_SUFFIX, names.AZIMUTH_SUFFIX):
            with open(base + suffix, encoding="ascii") as file:
                total += np.array([float(word) for word in file.read().split()]).size
    return total


class MemoryWatch:
    """The most memory that this process and its children hold together (proportional set size, bytes)."""

    def __init__(self) -> None:
        self.most = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        # Adding up the pages of a process costs milliseconds: seldom, so as not to measure the measuring.
        while not self._stop.wait(2.0):
            held = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    held += process.memory_full_info().pss
                except (psutil.Error, AttributeError):
                    continue
            self.most = max(self.most, held)


def cpu_seconds() -> float:
    """CPU time of this process and of its children that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def bare(root: Path, stems: list[str], workers: int) -> None:
    """Decode everything, in pieces as large as the validator's."""
    pieces = [stems[start : start + 64] for start in range(0, len(stems), 64)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(decode_views, [root] * len(pieces), pieces):
            pass


def synthesise(root: Path, n_scenes: int, size: tuple[int, int], workers: int) -> None:
    """Write the dataset, unless it is there already."""
    if root.is_dir() and sum(1 for _ in root.glob("*" + names.POSE_SUFFIX)) == n_scenes * _VIEWS_PER_SCENE:
        return
    root.mkdir(parents=True, exist_ok=True)
    distinct = min(n_scenes, _DISTINCT_SCENES)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        pieces = [list(range(start, min(start + 25, distinct))) for start in range(0, distinct, 25)]
        tasks = [pool.submit(write_scenes, root, piece, n_scenes, size) for piece in pieces]
        for task in tasks:
            task.result()
        pieces = [list(range(start, min(start + 25, n_scenes))) for start in range(distinct, n_scenes, 25)]
        tasks = [pool.submit(write_similar_scenes, root, piece, n_scenes) for piece in pieces]
        for task in tasks:
            task.result()


def main() -> None:
    # Started as a script, this file's own folder comes first in the search path, and in it this file is
    # called validate as well.
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != here]
    from validate import Options, render_text, run

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--views", type=int, default=20_000)
    parser.add_argument("--size", default="128x96", help="width x height")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, help="keep the dataset here, and use it again")
    parser.add_argument("--json", type=Path, help="write the figures here")
    words = parser.parse_args()
    width, height = (int(part) for part in words.size.split("x"))
    n_scenes = words.views // _VIEWS_PER_SCENE
    root = words.data or Path(tempfile.mkdtemp(prefix="validate-benchmark-"))
    try:
        synthesise(root, n_scenes, (width, height), words.workers)
        stems = sorted(
            path.name.removesuffix(names.POSE_SUFFIX) for path in root.glob("*" + names.POSE_SUFFIX)
        )
        measured: dict[str, list[float]] = {"bare": [], "validate": [], "bare_cpu": [], "validate_cpu": []}
        most = 0
        options = Options(far=24.0, focal_ratio=_focal_ratio(width, height), workers=words.workers)
        for _ in range(words.rounds):
            start, spent = time.perf_counter(), cpu_seconds()
            bare(root, stems, words.workers)
            measured["bare"].append(time.perf_counter() - start)
            measured["bare_cpu"].append(cpu_seconds() - spent)
            start, spent = time.perf_counter(), cpu_seconds()
            with MemoryWatch() as memory:
                report = run(root, options)
            measured["validate"].append(time.perf_counter() - start)
            measured["validate_cpu"].append(cpu_seconds() - spent)
            most = max(most, memory.most)
            if report.findings:
                sys.exit(f"the dataset should be sound, but:\n{render_text(report)}")
        figures = {
            "views": len(stems),
            "size": words.size,
            "workers": words.workers,
            **{name: [round(value, 3) for value in values] for name, values in measured.items()},
            "wall_ratio": round(min(measured["validate"]) / min(measured["bare"]), 3),
            "cpu_ratio": round(min(measured["validate_cpu"]) / min(measured["bare_cpu"]), 3),
            "memory_mb": round(most / 1e6, 1),
        }
        text = json.dumps(figures, indent=2)
        print(text)
        if words.json is not None:
            files.write_text(words.json, text + "\n")
    finally:
        if words.data is None:
            shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
