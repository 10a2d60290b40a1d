"""The three primitives of CLEVR: each is one shape, with nothing to draw."""

from dataclasses import dataclass

import numpy as np

from generation.assets.procedural.solids import Part, cushion, lathe


@dataclass(frozen=True)
class Cube:
    """Cube with slightly round edges."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Cube":
        """The one cube there is."""
        return cls()

    def build(self) -> list[Part]:
        """One part of side 1."""
        return [cushion("plastic", (0, 0, 0.5), (1, 1, 1), radius=0.03, segments=3, cells=1)]


@dataclass(frozen=True)
class Sphere:
    """Sphere."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Sphere":
        """The one sphere there is."""
        return cls()

    def build(self) -> list[Part]:
        """One part of radius 1."""
        polar = np.linspace(0, np.pi, 33)
        profile = [
            (float(np.sin(angle)) if 0 < angle < np.pi else 0.0, float(-np.cos(angle))) for angle in polar
        ]
        return [lathe("plastic", profile, sides=64)]


@dataclass(frozen=True)
class Cylinder:
    """Upright cylinder as high as wide, with slightly round rims."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Cylinder":
        """The one cylinder there is."""
        return cls()

    def build(self) -> list[Part]:
        """One part of radius 1 and height 2."""
        rim = 0.04
        turn = np.linspace(0, np.pi / 2, 4)
        profile = [(1 - rim + rim * float(np.sin(angle)), rim - rim * float(np.cos(angle))) for angle in turn]
        profile += [(radius, 2 - height) for radius, height in reversed(profile)]
        return [lathe("plastic", profile, sides=64)]
