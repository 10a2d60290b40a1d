"""Furniture and primitives made by code: one file a family.

A family is a frozen dataclass: its fields are the parameters of one shape, `draw` chooses them, `build` makes
closed parts of them. The fields travel in a scene's JSON, so a shape can be made again from its record alone.
"""

from dataclasses import fields
from typing import Protocol

import numpy as np

from generation.assets.mesh import ShapeMesh
from generation.assets.procedural.bed import Bed
from generation.assets.procedural.bench import Bench
from generation.assets.procedural.cabinet import Cabinet
from generation.assets.procedural.chair import Chair
from generation.assets.procedural.desk import Desk
from generation.assets.procedural.lamp import Lamp
from generation.assets.procedural.primitives import Cube, Cylinder, Sphere
from generation.assets.procedural.shelf import Shelf
from generation.assets.procedural.sofa import Sofa
from generation.assets.procedural.solids import Part, assemble
from generation.assets.procedural.stool import Stool
from generation.assets.procedural.table import Table
from objnerf.errors import InputError


class Family(Protocol):
    """What a family offers."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Family":
        """Parameters of one shape."""
        ...

    def build(self) -> list[Part]:
        """Closed parts, in a unit of the family's own, standing on z = 0, front towards -y."""
        ...


FAMILIES: dict[str, type[Family]] = {
    "chair": Chair,
    "table": Table,
    "stool": Stool,
    "sofa": Sofa,
    "lamp": Lamp,
    "shelf": Shelf,
    "bed": Bed,
    "cabinet": Cabinet,
    "desk": Desk,
    "bench": Bench,
    "cube": Cube,
    "sphere": Sphere,
    "cylinder": Cylinder,
}


#: Families whose lengths are centimetres: their shapes have a real size. CLEVR's solids have none.
MEASURED_FAMILIES = frozenset(FAMILIES) - {"cube", "sphere", "cylinder"}


def build_family(family: str, params: dict[str, bool | int | float | str]) -> ShapeMesh:
    """The mesh of one shape of a family.

    Raises:
        InputError: there is no such family, or its parameters are not these.
    """
    if family not in FAMILIES:
        raise InputError(f"unknown shape family {family!r}; there are: {', '.join(FAMILIES)}.")
    kind = FAMILIES[family]
    expected = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if set(params) != expected:
        raise InputError(
            f"shape family {family!r}: expected the parameters {sorted(expected)}, found {sorted(params)}. "
            "Was this scene written by another version of the package?"
        )
    return assemble(kind(**params).build())
