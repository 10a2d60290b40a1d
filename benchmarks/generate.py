"""What the generator costs, measured in one run on one plan.

    python benchmarks/generate.py                     # over an hour, most of it for the reference pictures
    python benchmarks/generate.py --size 96x72        # a quarter of that
    python benchmarks/generate.py --parts speed --scenes 1 --reference-samples 512     # a quick look
    python benchmarks/generate.py --parts memory,scaling

speed    seconds an image; the share that is bare Cycles sampling; against a plain per-image Blender script of
         64 samples (plain_render.py), with the PSNR of both against a long render of the same views
scaling  the same scenes with 1 and with 2 workers: only on a machine with two free cores
memory   resident size of one worker over many scenes

Times are CPU seconds of the processes concerned, each on one and the same core, which other work on the
machine disturbs little; `scaling` is wall clock.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import generation.jobs.local
from generation.jobs import Workers, generate_dataset
from generation.plan.request import DEFAULT_SIZE, GenerationRequest, build_request
from objnerf.dataset.files import read_image

PLAIN_SAMPLES = 64


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default="speed,scaling,memory")
    parser.add_argument("--preset", default="room-diverse")
    parser.add_argument("--scenes", type=int, default=3, help="of speed and scaling")
    parser.add_argument("--size", default="{}x{}".format(*DEFAULT_SIZE), help="default: the generator's")
    parser.add_argument("--samples", type=int, help="the generator's; default: the preset's")
    parser.add_argument("--reference-samples", type=int, default=4096)
    parser.add_argument("--memory-scenes", type=int, default=200)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    width, _, height = arguments.size.partition("x")
    size = int(width), int(height)
    request = build_request(
        arguments.preset, scenes=arguments.scenes, size=size, samples=arguments.samples, seed=7
    )
    figures: dict[str, object] = {
        "preset": arguments.preset,
        "size": arguments.size,
        "samples": request.samples,
    }
    with tempfile.TemporaryDirectory(prefix="objnerf-benchmark-") as folder:
        root = Path(folder)
        parts = arguments.parts.split(",")
        if "speed" in parts:
            with one_core():
                figures["speed"] = speed(request, root, arguments.reference_samples)
        if "scaling" in parts:
            figures["scaling"] = scaling(request, root)
        if "memory" in parts:
            figures["memory"] = memory(arguments.preset, arguments.memory_scenes, root)
    text = json.dumps(figures, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


def speed(request: GenerationRequest, root: Path, reference_samples: int) -> dict[str, float]:
    """Ours and the plain script on the same views, and how far both are from the truth."""
    images = request.scenes * request.views
    before = children_seconds()
    report = generate_dataset(request, root / "ours", workers=Workers(1))
    ours = children_seconds() - before
    report.raise_failures()
    scenes = root / "ours" / "scenes"
    plain = plain_render(scenes, root / "plain", PLAIN_SAMPLES)
    plain_render(scenes, root / "reference", reference_samples, "--raw", "--no-light-tree")
    phases = {name: seconds for name, seconds in report.seconds.items() if name != "scene"}
    figures = {
        "ours_seconds_an_image": ours / images,
        "ours_without_start_seconds_an_image": sum(phases.values()) / images,
        "ours_over_bare_sampling": sum(phases.values()) / (phases["surfaces"] + phases["light"]),
        "plain_seconds_an_image": plain / images,
        "plain_over_ours": plain / ours,
        "ours_psnr": psnr(root / "ours", root / "reference"),
        "plain_psnr": psnr(root / "plain", root / "reference"),
        "reference_samples": reference_samples,
    }
    return {**figures, **{f"seconds_{name}": seconds / images for name, seconds in phases.items()}}


def plain_render(scenes: Path, out: Path, samples: int, *options: str) -> float:
    """CPU seconds of plain_render.py."""
    out.mkdir()
    script = Path(__file__).with_name("plain_render.py")
    before = children_seconds()
    subprocess.run(
        [sys.executable, str(script), str(scenes), str(out), "--samples", str(samples), *options],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return children_seconds() - before


def psnr(pictures: Path, reference: Path) -> float:
    """Mean over all views, dB."""
    values = []
    for path in sorted(reference.glob("*.png")):
        difference = read_image(path).astype(float) - read_image(pictures / path.name)
        values.append(10 * np.log10(255**2 / np.mean(difference**2)))
    return float(np.mean(values))


def scaling(request: GenerationRequest, root: Path) -> dict[str, float]:
    """Wall clock of the same scenes by 1 and by 2 workers, with their start and the wait for the last one.

    Enough scenes that neither counts for much.
    """
    request = request.model_copy(update={"scenes": 4 * request.scenes})
    seconds = {}
    for workers in (1, 2):
        start = time.perf_counter()
        generate_dataset(request, root / f"workers{workers}", workers=Workers(workers))
        seconds[workers] = time.perf_counter() - start
    return {"one_worker": seconds[1], "two_workers": seconds[2], "speed_up": seconds[1] / seconds[2]}


def memory(preset: str, scenes: int, root: Path) -> dict[str, float]:
    """Resident size of one worker that is not recycled, in MiB."""
    request = build_request(preset, scenes=scenes, size=(64, 48), samples=1, seed=7)
    generation.jobs.local.SCENES_PER_WORKER = 10 * scenes
    sizes = [size / 2**20 for size in generate_dataset(request, root / "memory", workers=Workers(1)).memory]
    early, late = np.median(sizes[scenes // 4 - 5 : scenes // 4 + 5]), np.median(sizes[-10:])
    return {"quarter": float(early), "end": float(late), "growth": float(late / early - 1)}


@contextmanager
def one_core() -> Iterator[None]:
    """Give this process and its children one core: to all sides the same.

    Blender's idle threads spin on any other core, and would be counted.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def children_seconds() -> float:
    """CPU seconds of all ended child processes."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
