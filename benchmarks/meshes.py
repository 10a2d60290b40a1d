"""Exported meshes against the model's own masks: Blender renders each object from the input camera.

    python benchmarks/meshes.py RUN DATASET --scenes 6

For every object of some held-out scenes, the mesh that ``objnerf export`` writes is read by Blender and
rendered alone from the input view's camera; its silhouette is compared with the pixels that the model gives
to that slot when the slot is rendered alone. Prints intersection over union for each object, the mean and the
least. Blender runs in a process of its own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from objnerf.dataset.index import open_dataset
from objnerf.evaluation.evaluate import open_run, scenes_to_evaluate
from objnerf.evaluation.meshes import slot_meshes, write_meshes
from objnerf.evaluation.renders import load_scene
from objnerf.evaluation.scenes import render_view, slot_alone

BLENDER = """
import json, sys, bpy, mathutils
task = json.loads(open(sys.argv[-1]).read())
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.import_scene.gltf(filepath=task["mesh"])
scene = bpy.context.scene
scene.render.engine = "CYCLES"
scene.cycles.samples, scene.cycles.use_denoising = 4, False
scene.render.film_transparent = True
scene.render.resolution_x, scene.render.resolution_y = task["size"]
data = bpy.data.cameras.new("camera")
data.sensor_width, data.sensor_fit = 32.0, "HORIZONTAL"
data.lens = 32.0 * task["focal_ratio"][0]
camera = bpy.data.objects.new("camera", data)
scene.collection.objects.link(camera)
scene.camera = camera
flip = mathutils.Matrix.Diagonal((1, -1, -1, 1))
camera.matrix_world = mathutils.Matrix(task["world_from_camera"]) @ flip
meshes = [o for o in scene.objects if o.type == "MESH"]
for mesh in meshes:
    for other in meshes:
        other.hide_render = other is not mesh
    scene.render.filepath = task["out"] + "/" + mesh.name + ".png"
    bpy.ops.render.render(write_still=True)
"""


def silhouettes(
    mesh: Path, pose: np.ndarray, focal: tuple[float, float], size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Where each node of a GLB file shows from a camera, as Blender renders it."""
    with tempfile.TemporaryDirectory() as folder:
        task, script = Path(folder) / "task.json", Path(folder) / "render.py"
        content = {"mesh": str(mesh), "size": size, "focal_ratio": focal, "out": folder}
        task.write_text(json.dumps(content | {"world_from_camera": pose.tolist()}))
        script.write_text(BLENDER)
        subprocess.run([sys.executable, str(script), str(task)], check=True, capture_output=True)
        return {path.stem: np.asarray(Image.open(path))[..., 3] > 127 for path in Path(folder).glob("*.png")}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--scenes", type=int, default=6)
    args = parser.parse_args()
    dataset = open_dataset(args.dataset)
    chosen, _ = scenes_to_evaluate(open_run(args.run, "cpu", dataset=dataset).facts, dataset)
    found: list[float] = []
    for scene in chosen[: args.scenes]:
        opened = load_scene(args.run, args.dataset, scene, device="cpu")
        slots = list(opened.visible_slots())
        meshes = slot_meshes(opened.model, opened.code, slots=slots)
        with tempfile.TemporaryDirectory() as folder:
            path = write_meshes(meshes, Path(folder) / "scene.glb")
            size, focal = opened.settings.size, opened.model.geometry.focal_ratio
            seen = silhouettes(path, opened.poses[0], focal, size)
        for slot in slots:
            alone = render_view(opened.model, slot_alone(opened.code, slot), opened.poses[0], opened.settings)
            mask = alone.opacity > 0.5
            if mask.sum() < 8:
                continue
            mesh = seen.get(f"object_{slot}", np.zeros_like(mask))
            found.append(float((mask & mesh).sum() / (mask | mesh).sum()))
            print(f"scene {scene} slot {slot}: IoU {found[-1]:.2f} of {int(mask.sum())} pixels", flush=True)
    print(f"mean {np.mean(found):.3f}, least {np.min(found):.3f}, {len(found)} objects")


if __name__ == "__main__":
    main()
