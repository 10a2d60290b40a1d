"""Surfaces as Blender materials."""

import bpy
import numpy as np
from jaxtyping import UInt8

from generation.plan.finishes import Colour
from generation.render.srgb import linear_from_srgb


def make_material(
    name: str,
    roughness: float,
    *,
    metallic: float = 0.0,
    colour: Colour | None = None,
    image: UInt8[np.ndarray, "height width 3"] | None = None,
) -> bpy.types.Material:
    """A Principled material of one colour (sRGB), or with an image (sRGB) on the mesh's UV map."""
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    tree = material.node_tree
    shader = tree.nodes["Principled BSDF"]
    shader.inputs["Roughness"].default_value = roughness
    shader.inputs["Metallic"].default_value = metallic
    red, green, blue = linear_from_srgb(np.array(colour if colour is not None else (0.8, 0.8, 0.8))).tolist()
    shader.inputs["Base Color"].default_value = (red, green, blue, 1.0)
    if image is not None:
        texture = tree.nodes.new("ShaderNodeTexImage")
        texture.image = _make_image(f"{name}.image", image)
        tree.links.new(texture.outputs["Color"], shader.inputs["Base Color"])
    return material


def _make_image(name: str, pixels: UInt8[np.ndarray, "height width 3"]) -> bpy.types.Image:
    height, width = pixels.shape[:2]
    image = bpy.data.images.new(name, width, height, alpha=False)
    image.colorspace_settings.name = "sRGB"
    rgba = np.ones((height, width, 4), dtype=np.float32)
    # Blender's rows run upwards.
    rgba[..., :3] = pixels[::-1].astype(np.float32) / 255.0
    image.pixels.foreach_set(rgba.ravel())
    image.update()
    return image
