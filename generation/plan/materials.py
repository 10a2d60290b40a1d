"""Materials: colour and surface of a part of a shape, drawn by its role."""

import colorsys
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from generation.assets.part_textures import TextureKind

Colour = tuple[float, float, float]

#: Every role that a shape's part may have, except 'own'.
ROLES = ("wood", "fabric", "metal", "plastic", "glass", "stone", "paint", "accent", "linen", "shade")

#: sRGB of the eight colours of CLEVR's kind, as its scripts have them.
CLEVR_COLOURS: dict[str, Colour] = {
    "grey": (0.34, 0.34, 0.34),
    "red": (0.68, 0.14, 0.14),
    "blue": (0.16, 0.29, 0.84),
    "green": (0.11, 0.41, 0.08),
    "brown": (0.51, 0.29, 0.10),
    "purple": (0.50, 0.15, 0.75),
    "cyan": (0.16, 0.82, 0.82),
    "yellow": (1.00, 0.93, 0.20),
}

#: The same eight, muted: as the published CLEVR-567 shows them (benchmarks/look.py measures both).
MUTED_COLOURS: dict[str, Colour] = {
    "grey": (0.36, 0.36, 0.36),
    "red": (0.47, 0.19, 0.19),
    "blue": (0.20, 0.26, 0.48),
    "green": (0.19, 0.46, 0.20),
    "brown": (0.46, 0.31, 0.18),
    "purple": (0.39, 0.20, 0.47),
    "cyan": (0.18, 0.46, 0.46),
    "yellow": (0.46, 0.42, 0.18),
}

#: Share of metal among objects of the kind 'clevr-matte'.
_RARE_METAL = 0.05

#: sRGB of the chairs of one-shape rooms.
FEW_COLOURS: tuple[Colour, ...] = (
    (0.78, 0.16, 0.14),
    (0.13, 0.38, 0.74),
    (0.16, 0.55, 0.27),
    (0.92, 0.70, 0.14),
    (0.55, 0.24, 0.62),
    (0.90, 0.88, 0.84),
)

_WOODS: tuple[Colour, ...] = (
    (0.80, 0.66, 0.47),
    (0.66, 0.46, 0.28),
    (0.47, 0.29, 0.17),
    (0.32, 0.20, 0.13),
    (0.58, 0.30, 0.18),
    (0.86, 0.78, 0.65),
    (0.20, 0.16, 0.14),
)

_WALLS: tuple[Colour, ...] = (
    (0.90, 0.87, 0.81),
    (0.80, 0.84, 0.86),
    (0.84, 0.76, 0.66),
    (0.70, 0.78, 0.70),
    (0.86, 0.74, 0.72),
    (0.62, 0.70, 0.80),
    (0.88, 0.82, 0.62),
    (0.56, 0.60, 0.62),
    (0.72, 0.52, 0.46),
    (0.52, 0.62, 0.58),
)


class Material(BaseModel):
    """A surface for Blender's Principled shader; colour in sRGB, the mean of a texture's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    colour: Colour
    roughness: float = Field(ge=0, le=1)
    metallic: float = Field(default=0.0, ge=0, le=1)
    specular: float = Field(default=0.5, ge=0, le=1, description="Blender's 'Specular IOR Level'")
    texture: TextureKind | None = Field(default=None, description="None: plain colour")
    texture_seed: int = Field(default=0, ge=0, description="what the texture is painted from")


MaterialKind = Literal["furniture", "few-colours", "clevr", "clevr-matte"]


def draw_materials(kind: MaterialKind, objects: int, rng: np.random.Generator) -> list[dict[str, Material]]:
    """What every role looks like on each of a scene's objects.

    'furniture': each object has a hue of its own for its main parts and fitting tones for the rest; most
    wood has grain, much fabric a weave or a pattern, some paint the traces of a brush.
    'few-colours': whole objects in one of few colours. 'clevr': one of eight colours, rubber or metal, as
    often. 'clevr-matte': the same eight, muted, and nearly all of rubber.
    """
    if kind == "furniture":
        return [_furniture(hue, rng) for hue in _spread_hues(objects, rng)]
    if kind == "few-colours":
        chosen = rng.permutation(len(FEW_COLOURS))
        return [_one_colour(FEW_COLOURS[int(chosen[i % len(chosen)])], rng) for i in range(objects)]
    if kind == "clevr":
        return [_clevr(rng) for _ in range(objects)]
    return [_matte(rng) for _ in range(objects)]


def draw_wall_colour(rng: np.random.Generator) -> Colour:
    """sRGB of plain walls."""
    return _jittered(_WALLS[int(rng.integers(len(_WALLS)))], rng, 0.05)


def _spread_hues(count: int, rng: np.random.Generator) -> list[float]:
    """Hues around the wheel in random order, each within a third of its own share of it."""
    start = rng.uniform()
    order = rng.permutation(count)
    return [float((start + (i + rng.uniform(-0.33, 0.33)) / count) % 1.0) for i in order]


def _furniture(hue: float, rng: np.random.Generator) -> dict[str, Material]:
    saturation, value = float(rng.uniform(0.35, 0.9)), float(rng.uniform(0.35, 0.95))
    main = _hsv(hue, saturation, value)
    accent = _hsv(
        (hue + float(rng.choice([0.08, 0.5, -0.08]))) % 1.0,
        saturation * float(rng.uniform(0.3, 0.9)),
        float(rng.uniform(0.3, 0.95)),
    )
    wood = _jittered(_WOODS[int(rng.integers(len(_WOODS)))], rng, 0.04)
    metal_grey = float(rng.uniform(0.35, 0.8))
    # A share of painted furniture keeps rooms from looking all brown.
    painted = bool(rng.uniform() < 0.45)
    grain, cloth, brush, bedding = _draw_textures(painted, rng)
    return {
        "wood": _material(main if painted else wood, rng, (0.3, 0.6), texture=grain),
        "fabric": _material(accent if painted else main, rng, (0.8, 1.0), texture=cloth),
        "metal": _material((metal_grey, metal_grey, metal_grey), rng, (0.2, 0.4), metallic=1.0),
        "plastic": _material(main, rng, (0.25, 0.5)),
        "glass": _material(_hsv(hue, 0.15, 0.85), rng, (0.05, 0.15)),
        "stone": _material(_jittered((0.66, 0.64, 0.61), rng, 0.12), rng, (0.3, 0.6)),
        "paint": _material(main, rng, (0.3, 0.6), texture=brush),
        "accent": _material(main if painted else accent, rng, (0.8, 1.0), texture=cloth and "weave"),
        "linen": _material(_jittered((0.88, 0.86, 0.82), rng, 0.06), rng, (0.8, 1.0), texture=bedding),
        "shade": _material(_jittered((0.92, 0.87, 0.74), rng, 0.06), rng, (0.8, 1.0)),
    }


def _draw_textures(
    painted: bool, rng: np.random.Generator
) -> tuple[TextureKind | None, TextureKind | None, TextureKind | None, TextureKind | None]:
    """Of wood, fabric, paint and bedding; None for plain."""

    def one_of(*choices: tuple[TextureKind | None, float]) -> TextureKind | None:
        names, shares = zip(*choices, strict=True)
        return names[int(rng.choice(len(names), p=shares))]

    wood = one_of(("brushed", 0.5), (None, 0.5)) if painted else one_of(("wood", 0.85), (None, 0.15))
    fabric = one_of(("weave", 0.4), ("stripes", 0.15), ("check", 0.1), (None, 0.35))
    paint = one_of(("brushed", 0.5), (None, 0.5))
    return wood, fabric, paint, one_of(("weave", 0.4), ("stripes", 0.1), (None, 0.5))


def _one_colour(colour: Colour, rng: np.random.Generator) -> dict[str, Material]:
    return dict.fromkeys(ROLES, _material(colour, rng, (0.4, 0.6)))


def _clevr(rng: np.random.Generator) -> dict[str, Material]:
    colours = list(CLEVR_COLOURS.values())
    colour = colours[int(rng.integers(len(colours)))]
    metal = bool(rng.integers(2))
    material = Material(colour=colour, roughness=0.2 if metal else 0.7, metallic=1.0 if metal else 0.0)
    return dict.fromkeys(ROLES, material)


def _matte(rng: np.random.Generator) -> dict[str, Material]:
    colours = list(MUTED_COLOURS.values())
    colour = colours[int(rng.integers(len(colours)))]
    metal = bool(rng.uniform() < _RARE_METAL)
    roughness, specular = (0.25, 0.5) if metal else (0.9, 0.2)
    material = Material(colour=colour, roughness=roughness, metallic=1.0 if metal else 0.0, specular=specular)
    return dict.fromkeys(ROLES, material)


def _material(
    colour: Colour,
    rng: np.random.Generator,
    roughness: tuple[float, float],
    metallic: float = 0.0,
    texture: TextureKind | None = None,
) -> Material:
    return Material(
        colour=colour,
        roughness=round(float(rng.uniform(*roughness)), 4),
        metallic=metallic,
        texture=texture,
        texture_seed=int(rng.integers(2**31)) if texture else 0,
    )


def _jittered(colour: Colour, rng: np.random.Generator, amount: float) -> Colour:
    red, green, blue = np.clip(np.array(colour) + rng.uniform(-amount, amount), 0, 1)
    return round(float(red), 4), round(float(green), 4), round(float(blue), 4)


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red, 4), round(green, 4), round(blue, 4)
