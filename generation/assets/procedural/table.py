"""Tables: dining, coffee, side and bar tables on legs, hoops, trestles, columns, crosses and panels."""

from dataclasses import dataclass

import numpy as np

from generation.assets.procedural.legs import LEG_STYLES, corners, legs, pedestal, sled
from generation.assets.procedural.solids import (
    Number,
    Part,
    beam,
    box,
    frustum,
    lathe,
    rounded_rectangle,
    slab,
    superellipse,
)

TOPS = ("rectangle", "rounded", "round", "oval", "soft", "octagon")
BASES = (*LEG_STYLES, "hoops", "trestle", "column", "two-columns", "cross", "panels", "drum", "nest")


@dataclass(frozen=True)
class Table:
    """One table, lengths in centimetres.

    Attributes:
        top: one of TOPS.
        base: one of BASES.
        length: along x.
        width: along y.
        height: of the upper side.
        thickness: of the top.
        slant: how far the lower side of the top is drawn in.
        leg: thickness of a leg.
        splay: how far splayed feet stand out.
        inset: how far the legs stand in from the edge, as a share of the half side.
        apron: height of the boards below the top, 0 for none.
        shelf: height of a lower shelf as a share, 0 for none.
        top_role: what the top is made of.
        base_role: what carries it is made of.
    """

    top: str
    base: str
    length: float
    width: float
    height: float
    thickness: float
    slant: float
    leg: float
    splay: float
    inset: float
    apron: float
    shelf: float
    top_role: str
    base_role: str

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Table":
        """Choose a table: dining, coffee, side or bar table."""
        use = rng.choice(["dining", "coffee", "side", "bar"], p=[0.4, 0.3, 0.2, 0.1])
        length, share, height = {
            "dining": (rng.uniform(110, 220), rng.uniform(0.42, 0.72), rng.uniform(70, 78)),
            "coffee": (rng.uniform(70, 140), rng.uniform(0.45, 0.9), rng.uniform(28, 50)),
            "side": (rng.uniform(38, 60), rng.uniform(0.8, 1.0), rng.uniform(45, 65)),
            "bar": (rng.uniform(60, 130), rng.uniform(0.5, 1.0), rng.uniform(95, 112)),
        }[str(use)]
        top = str(rng.choice(TOPS))
        if top in ("round", "octagon"):
            length, share = min(length, 140) * 0.85, 1.0
        base = str(rng.choice(BASES))
        compact = base in LEG_STYLES
        metal = base in ("hoops", "cross", "hairpin") and rng.random() < 0.7
        return cls(
            top=top,
            base=base,
            length=float(length),
            width=float(length * share),
            height=float(height),
            thickness=float(rng.uniform(1.8, 6.5)),
            slant=float(rng.choice([0.0, 0.0, 2.0, 5.0])),
            leg=float(rng.uniform(3.5, 9.0)),
            splay=float(rng.uniform(3, 14)),
            inset=float(rng.uniform(0.04, 0.22)),
            apron=float(rng.uniform(6, 12)) if compact and rng.random() < 0.5 else 0.0,
            shelf=float(rng.uniform(0.18, 0.4))
            if base in ("square", "round", "hoops") and rng.random() < 0.5
            else 0.0,
            top_role=str(rng.choice(["wood", "wood", "wood", "paint", "plastic"])),
            base_role="metal" if metal else str(rng.choice(["wood", "wood", "paint"])),
        )

    def outline(self, share: Number = 1.0) -> np.ndarray:
        """Outline of the top, scaled by a share."""
        length, width = self.length * share, self.width * share
        if self.top == "rectangle":
            return rounded_rectangle(length, width, 0.0)
        if self.top == "rounded":
            return rounded_rectangle(length, width, 0.22 * width)
        if self.top == "octagon":
            return superellipse(length, width, 2.0, points=8) / np.cos(np.pi / 8)
        exponent = 3.2 if self.top == "soft" else 2.0
        return superellipse(length, width, exponent, points=56)

    def build(self) -> list[Part]:
        """Closed parts."""
        under = self.height - self.thickness
        bevel = min(0.6, 0.25 * self.thickness)
        slant = min(self.slant, 0.3 * self.thickness + 0.6 * self.slant)
        parts = [slab(self.top_role, self.outline(), under, self.height, bevel, slant)]
        # legs of a round top must stay below it
        fit = 0.68 if self.top in ("round", "oval", "octagon") else (0.84 if self.top == "soft" else 1.0)
        x = max(self.length / 2 * (1 - self.inset) * fit - self.leg / 2, self.leg)
        y = max(self.width / 2 * (1 - self.inset) * fit - self.leg / 2, self.leg)
        parts += self._base(x, y, under + 0.3)
        if self.apron:
            top = under + 0.2
            for across, size in (
                ((0, y), (2 * x, 2.2)),
                ((0, -y), (2 * x, 2.2)),
                ((x, 0), (2.2, 2 * y)),
                ((-x, 0), (2.2, 2 * y)),
            ):
                parts.append(box(self.base_role, (*across, top - self.apron / 2), (*size, self.apron)))
        if self.shelf:
            height = self.shelf * self.height
            parts.append(box(self.top_role, (0, 0, height), (2 * x + self.leg, 2 * y + self.leg, 2.0), 0.4))
        return parts

    def _base(self, x: Number, y: Number, top: Number) -> list[Part]:
        role, leg = self.base_role, self.leg
        if self.base in LEG_STYLES:
            return legs(role, self.base, corners(x, y), top, leg, self.splay)
        if self.base == "hoops":
            return sled(x, y, top, 0.55 * leg, role=role)
        if self.base == "trestle":
            parts = [beam(role, (-x * 0.8, 0, 0.3 * top), (x * 0.8, 0, 0.3 * top), (0.6 * leg, 1.3 * leg))]
            for side in (-1, 1):
                post = side * x * 0.8
                parts += [
                    beam(role, (post, foot * y, 0), (post, foot * 0.25 * y, top), (leg, 0.8 * leg))
                    for foot in (-1, 1)
                ]
                parts.append(beam(role, (post, -0.7 * y, top - 2), (post, 0.7 * y, top - 2), (leg, 4.0)))
            return parts
        if self.base == "column":
            reach = 0.32 * min(self.length, self.width) + self.splay
            return [pedestal(role, top, reach, leg * 1.3, curve=0.25 + 3.0 * self.inset)]
        if self.base == "two-columns":
            reach = 0.3 * self.width
            place = max(0.5 * self.length - 1.25 * reach, 0.18 * self.length)
            column = pedestal(role, top, min(reach, place), leg * 1.2, curve=0.6)
            return [column.moved(-place), column.moved(place)]
        if self.base == "cross":
            parts = []
            for side in (-1, 1):
                post = side * 0.85 * x
                for foot in (-1, 1):
                    parts.append(
                        beam(role, (post, foot * y, 0), (post, -foot * y, top), (0.8 * leg, 0.8 * leg))
                    )
            parts.append(frustum(role, (-0.85 * x, 0, top / 2), (0.85 * x, 0, top / 2), 0.3 * leg))
            return parts
        if self.base == "panels":
            return [
                box(role, (side * (x - 1), 0, top / 2), (0.6 * leg + 1, 2 * y, top), 0.3) for side in (-1, 1)
            ]
        if self.base == "drum":
            radius = 0.36 * min(self.length, self.width)
            waist = radius * (0.45 + 2.2 * self.inset)
            return [lathe(role, [(0, 0), (radius, 0), (waist, 0.5 * top), (radius, top), (0, top)], sides=32)]
        # a smaller table below: a second top on its own legs, pulled to the side
        small = 0.72
        lower = legs(role, "round", corners(x * small, y * small), top * 0.7, leg * 0.7)
        board = slab(self.top_role, self.outline(small), 0.7 * top, 0.7 * top + self.thickness, 0.4)
        shift = 0.34 * self.length
        upper = legs(role, "round", corners(x, y), top, 0.7 * leg)
        return [*upper, *(part.moved(shift, -0.1 * self.width) for part in (*lower, board))]
