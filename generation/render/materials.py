"""Surfaces as Blender materials."""

from typing import Literal

import bpy
import numpy as np
from jaxtyping import UInt8

from generation.plan.finishes import Colour
from generation.srgb import linear_from_srgb

#: Name of the shader output that holds the colour of a surface as far as it scatters light.
DIFFUSE_COLOUR = "diffuse colour"

_SHINING = "shining"


def make_material(
    name: str,
    roughness: float,
    *,
    metallic: float = 0.0,
    specular: float = 0.5,
    colour: Colour | None = None,
    image: bpy.types.Image | None = None,
) -> bpy.types.Material:
    """A Principled material of one colour (sRGB), or with an image (sRGB) on the mesh's UV map.

    `specular` is Blender's "Specular IOR Level": 0.5 mirrors as a refractive index of 1.5 does.

    It can also shine with its own colour instead, see `show_material`; and it writes the part of that colour
    that scatters light (all of it unless metallic) to the shader output `DIFFUSE_COLOUR`.
    """
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    tree = material.node_tree
    shader = tree.nodes["Principled BSDF"]
    shader.inputs["Roughness"].default_value = roughness
    shader.inputs["Metallic"].default_value = metallic
    shader.inputs["Specular IOR Level"].default_value = specular
    shining = tree.nodes.new("ShaderNodeEmission")
    shining.name = _SHINING
    # It shines for the camera alone: to Cycles it is no lamp.
    material.cycles.emission_sampling = "NONE"
    scatters = tree.nodes.new("ShaderNodeVectorMath")
    scatters.operation = "SCALE"
    scatters.inputs["Scale"].default_value = 1.0 - metallic
    output = tree.nodes.new("ShaderNodeOutputAOV")
    output.aov_name = DIFFUSE_COLOUR
    tree.links.new(scatters.outputs["Vector"], output.inputs["Color"])
    rgb = linear_from_srgb(np.array(colour if colour is not None else (0.8, 0.8, 0.8))).tolist()
    shader.inputs["Base Color"].default_value = shining.inputs["Color"].default_value = (*rgb, 1.0)
    scatters.inputs["Vector"].default_value = rgb
    if image is not None:
        texture = tree.nodes.new("ShaderNodeTexImage")
        texture.image = image
        for socket in (shader.inputs["Base Color"], shining.inputs["Color"], scatters.inputs["Vector"]):
            tree.links.new(texture.outputs["Color"], socket)
    return material


def show_material(material: bpy.types.Material, what: Literal["light", "surfaces"]) -> None:
    """Reflect light as the surface does, or shine evenly with the surface's own colour."""
    tree = material.node_tree
    shader = tree.nodes["Principled BSDF" if what == "light" else _SHINING]
    tree.links.new(shader.outputs[0], tree.nodes["Material Output"].inputs["Surface"])


def make_image(name: str, pixels: UInt8[np.ndarray, "height width 3"]) -> bpy.types.Image:
    """An sRGB image for `make_material`; materials may share it."""
    height, width = pixels.shape[:2]
    image = bpy.data.images.new(name, width, height, alpha=False)
    image.colorspace_settings.name = "sRGB"
    rgba = np.ones((height, width, 4), dtype=np.float32)
    # Blender's rows run upwards.
    rgba[..., :3] = pixels[::-1].astype(np.float32) / 255.0
    image.pixels.foreach_set(rgba.ravel())
    image.update()
    return image
