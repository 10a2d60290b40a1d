"""Surfaces as Blender materials."""

import bpy
import numpy as np
from jaxtyping import Float, UInt8

from generation.plan.finishes import Colour


def linear_from_srgb(srgb: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Scene-linear values of sRGB ones in [0, 1] (IEC 61966-2-1)."""
    linear: np.ndarray = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return linear


def srgb_from_linear(linear: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """sRGB of scene-linear values, clipped to [0, 1]; the inverse of `linear_from_srgb`."""
    clipped = np.clip(linear, 0.0, 1.0)
    srgb: np.ndarray = np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * clipped ** (1 / 2.4) - 0.055)
    return srgb


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
