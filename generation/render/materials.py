"""Surfaces as Blender materials."""

from typing import Literal

import bpy
import numpy as np
from jaxtyping import Bool, UInt8

from generation.assets.mesh import PartMaterial
from generation.plan.materials import Colour
from generation.srgb import linear_from_srgb

#: Name of the shader output that holds the colour of a surface as far as it scatters light.
DIFFUSE_COLOUR = "diffuse colour"

_SHINING = "shining"

_EXTENSIONS = {"repeat": "REPEAT", "mirror": "MIRROR", "clamp": "EXTEND"}


#: Name of the mesh's colours, linear, that multiply what its materials say.
CORNER_COLOURS = "colours"


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
    surface = _Surface(name, PartMaterial("own", colour, roughness=roughness, metallic=metallic))
    surface.shader.inputs["Specular IOR Level"].default_value = specular
    if image is not None:
        texture = surface.tree.nodes.new("ShaderNodeTexImage")
        texture.image = image
        surface.show(texture.outputs["Color"])
    return surface.material


def make_part_material(name: str, part: PartMaterial, *, coloured: bool = False) -> bpy.types.Material:
    """The material of a part that brings its own look; otherwise as `make_material`.

    Args:
        name: of the material.
        part: its look; images are on the mesh's UV map.
        coloured: whether the mesh's CORNER_COLOURS multiply its colour.
    """
    surface = _Surface(name, part)
    texture = None
    if part.image is not None:
        texture = surface.texture("image", part.image, alpha=part.cutout)
        surface.show(texture.outputs["Color"])
    if coloured:
        corner = surface.tree.nodes.new("ShaderNodeVertexColor")
        corner.layer_name = CORNER_COLOURS
        surface.show(surface.product(corner.outputs["Color"], surface.rgb, texture))
    if part.metallic_roughness is not None:
        surface.add_metallic_roughness(part.metallic_roughness)
    if any(part.emission):
        surface.add_emission()
    if part.cutout is not None and texture is not None:
        surface.cut_out(texture)
    return surface.material


class _Surface:
    """A material in the making: what shades, what shines, and what is written as DIFFUSE_COLOUR."""

    def __init__(self, name: str, part: PartMaterial) -> None:
        self.name, self.part = name, part
        self.material = material = bpy.data.materials.new(name)
        material.use_nodes = True
        self.tree = tree = material.node_tree
        self.shader = tree.nodes["Principled BSDF"]
        self.shader.inputs["Roughness"].default_value = part.roughness
        self.shader.inputs["Metallic"].default_value = part.metallic
        self.shining = tree.nodes.new("ShaderNodeEmission")
        self.shining.name = _SHINING
        # It shines for the camera alone: to Cycles it is no lamp.
        material.cycles.emission_sampling = "NONE"
        self.scatters = tree.nodes.new("ShaderNodeVectorMath")
        self.scatters.operation = "SCALE"
        self.scatters.inputs["Scale"].default_value = 1.0 - part.metallic
        self.output = tree.nodes.new("ShaderNodeOutputAOV")
        self.output.aov_name = DIFFUSE_COLOUR
        tree.links.new(self.scatters.outputs["Vector"], self.output.inputs["Color"])
        colour = part.colour if part.colour is not None else (0.8, 0.8, 0.8)
        self.rgb: list[float] = linear_from_srgb(np.array(colour)).tolist()
        for node, socket in ((self.shader, "Base Color"), (self.shining, "Color")):
            node.inputs[socket].default_value = (*self.rgb, 1.0)
        self.scatters.inputs["Vector"].default_value = self.rgb

    def show(self, colour: bpy.types.NodeSocket) -> None:
        """Take the colour from an output of another node."""
        sockets = (self.shader.inputs["Base Color"], self.shining.inputs["Color"])
        for socket in (*sockets, self.scatters.inputs["Vector"]):
            self.tree.links.new(colour, socket)

    def product(
        self, colour: bpy.types.NodeSocket, factor: list[float], texture: bpy.types.Node | None = None
    ) -> bpy.types.NodeSocket:
        """A colour times a factor, or times a texture where there is one."""
        product = self.tree.nodes.new("ShaderNodeVectorMath")
        product.operation = "MULTIPLY"
        self.tree.links.new(colour, product.inputs[0])
        product.inputs[1].default_value = factor
        if texture is not None:
            self.tree.links.new(texture.outputs["Color"], product.inputs[1])
        return product.outputs["Vector"]

    def add_metallic_roughness(self, shares: UInt8[np.ndarray, "height width 2"]) -> None:
        """Roughness and metalness, in 255ths, from an image."""
        # red and green; what is no colour must not be taken for sRGB
        pixels = np.dstack([shares, np.zeros(shares.shape[:2], np.uint8)])
        channels = self.tree.nodes.new("ShaderNodeSeparateColor")
        image = self.texture("metallic roughness", pixels, data=True)
        self.tree.links.new(image.outputs["Color"], channels.inputs["Color"])
        self.tree.links.new(channels.outputs["Red"], self.shader.inputs["Roughness"])
        self.tree.links.new(channels.outputs["Green"], self.shader.inputs["Metallic"])
        rest = self.tree.nodes.new("ShaderNodeMath")
        rest.operation = "SUBTRACT"
        rest.inputs[0].default_value = 1.0
        self.tree.links.new(channels.outputs["Green"], rest.inputs[1])
        self.tree.links.new(rest.outputs["Value"], self.scatters.inputs["Scale"])

    def add_emission(self) -> None:
        """Light of its own, which doesn't count as its colour."""
        strength = max(self.part.emission)
        self.shader.inputs["Emission Strength"].default_value = strength
        hue = [share / strength for share in self.part.emission]
        self.shader.inputs["Emission Color"].default_value = (*hue, 1.0)
        if self.part.emission_image is not None:
            glow = self.texture("emission", self.part.emission_image)
            tinted = self.product(glow.outputs["Color"], hue)
            self.tree.links.new(tinted, self.shader.inputs["Emission Color"])

    def cut_out(self, texture: bpy.types.Node) -> None:
        """Nothing where the image is cut out: rays, labels, depth and normals go through."""
        tree = self.tree
        solid = tree.nodes.new("ShaderNodeMath")
        solid.operation = "GREATER_THAN"
        solid.inputs[1].default_value = 0.5
        tree.links.new(texture.outputs["Alpha"], solid.inputs[0])
        tree.links.new(solid.outputs["Value"], self.shader.inputs["Alpha"])
        hole = tree.nodes.new("ShaderNodeBsdfTransparent")
        cut = tree.nodes.new("ShaderNodeMixShader")
        tree.links.new(solid.outputs["Value"], cut.inputs[0])
        tree.links.new(hole.outputs[0], cut.inputs[1])
        tree.links.new(self.shining.outputs[0], cut.inputs[2])
        self.shining.name, cut.name = "", _SHINING
        # shader outputs add up along a ray until it meets something solid
        kept = tree.nodes.new("ShaderNodeVectorMath")
        kept.operation = "SCALE"
        tree.links.new(self.scatters.outputs["Vector"], kept.inputs["Vector"])
        tree.links.new(solid.outputs["Value"], kept.inputs["Scale"])
        tree.links.new(kept.outputs["Vector"], self.output.inputs["Color"])

    def texture(
        self,
        what: str,
        pixels: UInt8[np.ndarray, "height width 3"],
        *,
        alpha: Bool[np.ndarray, "height width"] | None = None,
        data: bool = False,
    ) -> bpy.types.Node:
        """An image on the mesh's UV map, going on as the part says."""
        tree, wrap = self.tree, self.part.wrap
        texture = tree.nodes.new("ShaderNodeTexImage")
        texture.image = make_image(f"{self.name}.{what}", pixels, alpha=alpha, data=data)
        if wrap[0] == wrap[1]:
            texture.extension = _EXTENSIONS[wrap[0]]
            return texture
        # An image node goes on alike both ways: coordinates are folded first along axes that aren't clamped.
        texture.extension = "EXTEND"
        uv = tree.nodes.new("ShaderNodeTexCoord")
        apart = tree.nodes.new("ShaderNodeSeparateXYZ")
        together = tree.nodes.new("ShaderNodeCombineXYZ")
        tree.links.new(uv.outputs["UV"], apart.inputs["Vector"])
        for axis, how in zip("XY", wrap, strict=True):
            socket = apart.outputs[axis]
            if how != "clamp":
                fold = tree.nodes.new("ShaderNodeMath")
                fold.operation = "PINGPONG" if how == "mirror" else "FRACT"
                fold.inputs[1].default_value = 1.0
                tree.links.new(socket, fold.inputs[0])
                socket = fold.outputs["Value"]
            tree.links.new(socket, together.inputs[axis])
        tree.links.new(together.outputs["Vector"], texture.inputs["Vector"])
        return texture


def show_material(material: bpy.types.Material, what: Literal["light", "surfaces"]) -> None:
    """Reflect light as the surface does, or shine evenly with the surface's own colour."""
    tree = material.node_tree
    shader = tree.nodes["Principled BSDF" if what == "light" else _SHINING]
    tree.links.new(shader.outputs[0], tree.nodes["Material Output"].inputs["Surface"])


def make_image(
    name: str,
    pixels: UInt8[np.ndarray, "height width 3"],
    *,
    alpha: Bool[np.ndarray, "height width"] | None = None,
    data: bool = False,
) -> bpy.types.Image:
    """An sRGB image for `make_material`, or one of plain numbers (`data`); materials may share it."""
    height, width = pixels.shape[:2]
    image = bpy.data.images.new(name, width, height, alpha=alpha is not None)
    image.colorspace_settings.name = "Non-Color" if data else "sRGB"
    # Colours stand for themselves, under the transparent pixels too.
    image.alpha_mode = "CHANNEL_PACKED"
    rgba = np.ones((height, width, 4), dtype=np.float32)
    # Blender's rows run upwards.
    rgba[..., :3] = pixels[::-1].astype(np.float32) / 255.0
    if alpha is not None:
        rgba[..., 3] = alpha[::-1]
    image.pixels.foreach_set(rgba.ravel())
    image.update()
    return image
