"""Lamps: a preset's, jittered."""

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field

from generation.plan.materials import Colour
from generation.plan.preset import LightRules


class Lamp(BaseModel):
    """A square area lamp that faces the origin; world units and watts, linear RGB."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    position: tuple[float, float, float]
    size: float
    power: float
    colour: Colour


class LightPlan(BaseModel):
    """All light of a scene."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ambient: float = Field(description="strength of the even light from all around")
    ambient_colour: Colour = Field(description="linear RGB")
    lamps: tuple[Lamp, ...]


def warm_colour(warmth: float) -> Colour:
    """Linear RGB of a lamp, from -1 (a blue sky) over 0 (white) to 1 (a light bulb), of equal luminance."""
    cold, white, warm = np.array([0.72, 0.95, 1.35]), np.ones(3), np.array([1.35, 0.97, 0.55])
    end = warm if warmth >= 0 else cold
    colour = white + abs(warmth) * (end - white)
    colour /= colour @ np.array([0.2126, 0.7152, 0.0722])
    red, green, blue = (round(float(value), 5) for value in colour)
    return red, green, blue


def white_radiance(
    lights: LightPlan, points: Float[np.ndarray, "points 3"], normals: Float[np.ndarray, "points 3"]
) -> Float[np.ndarray, "points 3"]:
    """Linear RGB of a white matte surface at some points, by direct light alone.

    A lamp of power P seen under angle a from the surface's normal and b from its own, at distance r, adds
    P cos(a) cos(b) / (pi r)^2, the even light from all around its own strength. Lamps count as points.

    Args:
        lights: of the scene.
        points: in world units.
        normals: unit, of the surface there.
    """
    radiance = np.tile(lights.ambient * np.array(lights.ambient_colour), (len(points), 1))
    for lamp in lights.lamps:
        position = np.array(lamp.position)
        away = position - points
        distance = np.linalg.norm(away, axis=1)
        at_surface = np.clip((away * normals).sum(axis=1) / distance, 0, 1)
        # It faces the origin.
        at_lamp = np.clip(away @ position / (distance * np.linalg.norm(position)), 0, 1)
        radiance += np.outer(lamp.power * at_surface * at_lamp / (np.pi * distance) ** 2, lamp.colour)
    return radiance


def plan_lights(rules: LightRules, rng: np.random.Generator) -> LightPlan:
    """Draw every lamp's position, size, power and warmth."""
    turn = float(rng.uniform(0, 2 * np.pi)) if rules.turn else 0.0
    cos, sin = np.cos(turn), np.sin(turn)
    ambient = round(float(rng.uniform(*rules.ambient)), 5)
    ambient_colour = warm_colour(float(rng.uniform(-0.5, 0.3)))
    lamps = []
    for lamp in rules.lamps:
        x, y, z = np.array(lamp.position) + rng.uniform(-lamp.jitter, lamp.jitter, 3)
        lamps.append(
            Lamp(
                position=(
                    round(float(cos * x - sin * y), 5),
                    round(float(sin * x + cos * y), 5),
                    round(float(max(z, 1.0)), 5),
                ),
                size=round(float(rng.uniform(*lamp.size)), 5),
                power=round(float(rng.uniform(*lamp.power)), 3),
                colour=warm_colour(float(rng.uniform(*lamp.warmth))),
            )
        )
    return LightPlan(ambient=ambient, ambient_colour=ambient_colour, lamps=tuple(lamps))
