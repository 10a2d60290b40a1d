"""Renders what a handheld camera sees on its way around a room of ours; a script, since it needs Blender.

    python render_capture.py OUT VIEWS WIDTH HEIGHT FOCAL SEED

writes ``OUT/{view:03d}.png`` and ``OUT/poses.npy`` (``world_from_camera``, OpenCV axes, our world).
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from generation.assets.catalogue import Roots
from generation.jobs import AssetFolders
from generation.plan.placement import PlacementError
from generation.plan.plan import AssetPool, ScenePlan, plan_scene
from generation.plan.request import build_request
from generation.render.renderer import SceneRenderer
from objnerf.dataset.cameras import look_at
from objnerf.dataset.files import write_image
from objnerf.errors import WorkError

#: Plans that are tried until one shows all its objects in every view, which the renderer asks for.
_PLANS = 200


def handheld(views: int, rng: np.random.Generator) -> np.ndarray:
    """Poses on a wavering way around the origin, about as high as a standing person; the hand rolls them."""
    poses = []
    for turn in 2 * np.pi * (np.arange(views) + rng.uniform(-0.2, 0.2, views)) / views:
        elevation, distance = np.radians(rng.uniform(33, 47)), rng.uniform(8.5, 11.5)
        position = distance * np.array(
            [np.cos(turn) * np.cos(elevation), np.sin(turn) * np.cos(elevation), np.sin(elevation)]
        )
        pose = look_at(position, rng.normal(0, 0.3, 3))
        roll = np.radians(rng.normal(0, 5))
        pose[:3, :2] = pose[:3, :2] @ [[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]
        poses.append(pose)
    return np.array(poses)


def main(out: Path, views: int, width: int, height: int, focal: float, seed: int) -> None:
    catalogue = AssetFolders().load()
    request = build_request(
        "room-diverse", scenes=1, size=(width, height), samples=4, shapes=20, backgrounds=6, seed=seed
    )
    pool = AssetPool.draw(catalogue, request)
    poses = handheld(views, np.random.default_rng(seed))
    seen = [
        {"stem": f"{number:03d}", "world_from_camera": pose.tolist()} for number, pose in enumerate(poses)
    ]
    with tempfile.TemporaryDirectory() as folder:
        renderer = SceneRenderer(Roots(), Path(folder))
        for number in range(_PLANS):
            try:
                content = plan_scene(request, pool, 0, number).model_dump()
                # Of more objects, one is nearly always hidden in one of so many views.
                content["objects"] = content["objects"][:2]
                content["views"] = seen
                content["render"] |= {"fx": focal, "fy": focal}
                content["acceptance"] = {"min_pixels": 0.0, "min_visible": 0.0}
                rendered = renderer.remake(ScenePlan.model_validate(content))
                break
            except (PlacementError, WorkError):
                continue
        else:
            raise SystemExit(f"none of {_PLANS} plans shows all its objects in every view")
    for number, view in enumerate(rendered.views):
        write_image(out / f"{number:03d}.png", view.image)
    np.save(out / "poses.npy", poses)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(int(word) for word in sys.argv[2:5]), float(sys.argv[5]), int(sys.argv[6]))
