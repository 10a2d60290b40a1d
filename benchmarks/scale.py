"""What large datasets cost before the first picture is opened or rendered.

    python benchmarks/scale.py                        # half a minute
    python benchmarks/scale.py --files 20000 --scenes 2000

opening   `open_dataset` on a folder of many files, against listing the folder and sorting the names
planning  a scene's plan in a large dataset, against one in a dataset of 10 scenes

Times are CPU seconds of this process.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from generation.jobs import AssetFolders
from generation.plan.plan import AssetPool, PlacementError, plan_scene
from generation.plan.request import build_request
from objnerf.dataset import names, open_dataset

#: Of a view with all that belongs to it.
SUFFIXES = (".png", names.POSE_SUFFIX, names.AZIMUTH_SUFFIX, names.MASK_SUFFIX, names.DEPTH_SUFFIX)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--scenes", type=int, default=20_000, help="of the dataset that is planned")
    arguments = parser.parse_args()
    figures = {"opening": opening(arguments.files), "planning": planning(arguments.scenes)}
    print(json.dumps(figures, indent=2))


def opening(files: int) -> dict[str, float]:
    """Best of three, files in the disk's cache."""
    views = files // len(SUFFIXES)
    with tempfile.TemporaryDirectory(prefix="objnerf-scale-") as folder:
        for view in range(views):
            stem = names.make_view_stem(view, view // 4, view % 4, views // 4)
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


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
