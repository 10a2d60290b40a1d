"""What one writes first: a Blender script that renders picture after picture. The yardstick of generate.py.

    python benchmarks/plain_render.py SCENES OUT --samples 64 [--raw]

One process on one thread; Blender's default Cycles settings but for the number of samples and adaptive
sampling; each scene built anew, each picture denoised by Blender. SCENES is a folder of ``scenes/*.json`` of
a generated dataset, so that both render the same views. ``--raw`` denoises nothing: for reference pictures.
"""

import argparse
import contextlib
import math
import os
from pathlib import Path

import bpy

from generation.assets.catalogue import Roots
from generation.plan.plan import ScenePlan
from generation.render.scene import build_scene, mesh_source, point_camera, show


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--samples", type=int, required=True)
    parser.add_argument("--raw", action="store_true")
    parser.add_argument("--light-tree", action=argparse.BooleanOptionalAction, default=True)
    arguments = parser.parse_args()
    meshes = mesh_source(Roots())
    for path in sorted(arguments.scenes.glob("*.json")):
        plan = ScenePlan.model_validate_json(path.read_bytes())
        scene = build_scene(plan, meshes, Roots())
        show(scene, "light")
        _set_blenders_defaults(scene, arguments.light_tree)
        scene.view_settings.exposure = math.log2(plan.render.exposure)
        scene.cycles.samples = arguments.samples
        scene.cycles.use_denoising = not arguments.raw
        for number, view in enumerate(plan.views):
            # Another pattern than the generator's, lest the reference share its noise.
            scene.cycles.seed = 1000 + number
            point_camera(scene, view.matrix())
            scene.render.filepath = str(arguments.out / f"{view.stem}.png")
            with open(os.devnull, "w") as quiet, contextlib.redirect_stdout(quiet):
                bpy.ops.render.render(write_still=True)


def _set_blenders_defaults(scene: bpy.types.Scene, light_tree: bool) -> None:
    cycles, render = scene.cycles, scene.render
    for name in (
        "max_bounces",
        "diffuse_bounces",
        "glossy_bounces",
        "transmission_bounces",
        "volume_bounces",
        "transparent_max_bounces",
        "caustics_reflective",
        "caustics_refractive",
        "sample_clamp_indirect",
        "denoiser",
        "denoising_prefilter",
        "denoising_quality",
    ):
        cycles.property_unset(name)
    cycles.use_light_tree = light_tree
    cycles.use_adaptive_sampling = False
    render.use_persistent_data = False
    layer = scene.view_layers[0]
    layer.use_pass_z = layer.use_pass_object_index = layer.use_pass_normal = False
    layer.use_pass_diffuse_direct = layer.use_pass_diffuse_indirect = layer.use_pass_diffuse_color = False
    layer.aovs.remove(layer.aovs[0])
    layer.cycles.denoising_store_passes = False
    scene.world.cycles.sampling_method = "AUTOMATIC"
    settings = render.image_settings
    settings.file_format, settings.color_mode, settings.color_depth = "PNG", "RGB", "8"


if __name__ == "__main__":
    main()
