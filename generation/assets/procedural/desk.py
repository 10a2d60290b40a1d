"""Desks: writing desks, office desks with drawers, corner desks, secretaries, standing desks."""

from dataclasses import dataclass

import numpy as np
from shapely.geometry import box as rectangle

from generation.assets.procedural.legs import corners, legs, sled
from generation.assets.procedural.solids import Number, Part, beam, box, frustum, lathe, plate

SUPPORTS = ("legs", "drawers", "panel", "frame", "trestle", "column")
LEG_STYLES = ("square", "tapered", "splayed", "turned", "hairpin", "round")


@dataclass(frozen=True)
class Desk:
    """One desk, lengths in centimetres.

    Attributes:
        left: one of SUPPORTS, below the left end.
        right: one of SUPPORTS, below the right end.
        leg_style: of supports of the kind 'legs'.
        width: along x.
        depth: front to back.
        height: of the upper side.
        thickness: of the top.
        leg: thickness of a leg.
        wing: depth of a corner desk's wing, 0 for none.
        wing_side: which end it is at: -1 or 1.
        modesty: height of a board at the back, 0 for none.
        hutch: height of shelves on top, 0 for none.
        hutch_rows: shelves in them.
        drawers: drawers in a box, or below the top.
        screen: has a screen standing on it.
        role: what the top is made of.
        base_role: what it stands on is made of.
    """

    left: str
    right: str
    leg_style: str
    width: float
    depth: float
    height: float
    thickness: float
    leg: float
    wing: float
    wing_side: int
    modesty: float
    hutch: float
    hutch_rows: int
    drawers: int
    screen: bool
    role: str
    base_role: str

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Desk":
        """Choose a desk."""
        left = str(rng.choice(SUPPORTS))
        right = left if rng.random() < 0.45 else str(rng.choice(SUPPORTS))
        return cls(
            left=left,
            right=right,
            leg_style=str(rng.choice(LEG_STYLES)),
            width=float(rng.uniform(95, 180)),
            depth=float(rng.uniform(50, 82)),
            height=float(rng.uniform(70, 80) if rng.random() < 0.85 else rng.uniform(95, 115)),
            thickness=float(rng.uniform(2.0, 5.0)),
            leg=float(rng.uniform(3.5, 7.0)),
            wing=float(rng.uniform(35, 75)) if rng.random() < 0.22 else 0.0,
            wing_side=int(rng.choice([-1, 1])),
            modesty=float(rng.uniform(12, 45)) if rng.random() < 0.5 else 0.0,
            hutch=float(rng.uniform(18, 60)) if rng.random() < 0.35 else 0.0,
            hutch_rows=int(rng.integers(1, 4)),
            drawers=int(rng.integers(1, 5)),
            screen=bool(rng.random() < 0.25),
            role=str(rng.choice(["wood", "wood", "paint"])),
            base_role=str(rng.choice(["wood", "metal", "paint"])),
        )

    def build(self) -> list[Part]:
        """Closed parts."""
        under = self.height - self.thickness
        d = self.depth / 2
        parts = [
            box(self.role, (0, 0, under + self.thickness / 2), (self.width, self.depth, self.thickness), 0.5)
        ]
        parts += self._support(self.left, -1, under)
        parts += self._support(self.right, 1, under)
        if self.modesty:
            parts.append(
                box(
                    self.base_role if self.base_role != "metal" else self.role,
                    (0, d - 5, under - self.modesty / 2),
                    (self.width - 9, 1.8, self.modesty),
                )
            )
        if self.left == "legs" and self.right == "legs":
            parts += self._under_top(under)
        if self.wing:
            parts += self._wing(under)
        if self.hutch:
            parts += self._hutch()
        if self.screen:
            parts += self._screen()
        return parts

    def _support(self, kind: str, side: int, under: Number) -> list[Part]:
        x, y = side * (self.width / 2 - self.leg), self.depth / 2 - self.leg
        top = under + 0.4
        if kind == "legs":
            every = legs(self.base_role, self.leg_style, corners(abs(x), y), top, self.leg, 5.0)
            # both ends together know which way is outward; keep this end's half
            return [part for part in every if np.sign(part.vertices[:, 0].mean()) == side]
        if kind == "drawers":
            wide = min(0.32 * self.width, 46.0)
            centre = side * (self.width / 2 - wide / 2 - 1.5)
            parts = [box(self.role, (centre, 0, under / 2 + 2.2), (wide, self.depth - 5, under - 4), 0.4)]
            parts.append(box(self.role, (centre, 1, 2.2), (wide - 3, self.depth - 9, 4.4)))
            step = (under - 6) / self.drawers
            for row in range(self.drawers):
                z = 4.5 + (row + 0.5) * step
                parts.append(
                    box(self.role, (centre, -self.depth / 2 + 2.2, z), (wide - 2, 1.8, step - 1.4), 0.4)
                )
                parts.append(
                    box(
                        "metal",
                        (centre, -self.depth / 2 + 0.6, z + 0.18 * step),
                        (0.34 * wide, 1.8, 1.4),
                        0.3,
                    )
                )
            return parts
        if kind == "panel":
            return [box(self.role, (x, 0, under / 2), (0.5 * self.leg + 1, self.depth - 3, under + 0.4), 0.3)]
        if kind == "frame":
            hoop = sled(abs(x), y, top, 0.6 * self.leg, role="metal")
            return [part for part in hoop if np.sign(part.vertices[:, 0].mean()) == side]
        if kind == "trestle":
            centre = side * (self.width / 2 - 0.16 * self.width)
            spread = 0.1 * self.width
            parts = []
            for end in (-1, 1):
                for lean in (-1, 1):
                    start, head = (
                        (centre + lean * spread, end * y, 0),
                        (centre + lean * 1.5, end * y * 0.85, top),
                    )
                    parts.append(beam(self.base_role, start, head, (0.7 * self.leg, 0.7 * self.leg)))
            parts.append(
                beam(self.base_role, (centre, -y, top - 2), (centre, y, top - 2), (0.9 * self.leg, 4.0))
            )
            for lean in (-1, 1):
                z = 0.3 * top
                bar_x = centre + lean * (spread * 0.7 + 0.45)
                parts.append(beam(self.base_role, (bar_x, -0.95 * y, z), (bar_x, 0.95 * y, z), (1.8, 3.0)))
            return parts
        # a lifting column on a foot
        x = side * (self.width / 2 - 0.16 * self.width)
        return [
            box("metal", (x, 0, 1.5), (8.0, 0.92 * self.depth, 3.0), 0.8),
            box("metal", (x, 0, under / 2), (6.5, 9.0, under - 1), 0.5),
            box("metal", (x, 0, under - 1.2), (7.5, 0.7 * self.depth, 3.0)),
        ]

    def _under_top(self, under: Number) -> list[Part]:
        inner = self.width - 4 * self.leg
        parts = [
            box(self.role, (0, 0, under - 4.5), (inner + 2.4 * self.leg, self.depth - 2 * self.leg, 9.4), 0.3)
        ]
        step = inner / self.drawers
        y = -self.depth / 2 + self.leg
        for index in range(self.drawers):
            x = -inner / 2 + (index + 0.5) * step
            parts.append(box(self.role, (x, y - 0.3, under - 4.7), (step - 1.4, 1.6, 7.4), 0.4))
            parts.append(
                lathe("metal", [(0, 0), (0.6, 0), (1.3, 1.6), (0, 2.4)], sides=12)
                .turned("x", 90)
                .moved(x, y - 1, under - 4.7)
            )
        return parts

    def _wing(self, under: Number) -> list[Part]:
        wide = min(0.42 * self.width, 62.0)
        x = self.wing_side * (self.width / 2 - wide / 2)
        centre_y = -self.depth / 2 - self.wing / 2
        z = under + self.thickness / 2
        parts = [box(self.role, (x, centre_y + 0.5, z), (wide, self.wing + 1, self.thickness), 0.5)]
        for end in (-1, 1):
            foot = (x + end * (wide / 2 - self.leg), -self.depth / 2 - self.wing + self.leg, 0.0)
            parts.append(beam(self.base_role, foot, (foot[0], foot[1], under + 0.3), (self.leg, self.leg)))
        return parts

    def _hutch(self) -> list[Part]:
        deep, y = 0.36 * self.depth, self.depth / 2 - 0.18 * self.depth
        low, high = self.height, self.height + self.hutch
        wide = self.width * (1.0 if self.drawers % 2 else 0.62)
        parts = [
            box(self.role, (side * (wide / 2 - 1.1), y, (low + high) / 2), (2.2, deep, self.hutch + 0.4), 0.2)
            for side in (-1, 1)
        ]
        boards = np.linspace(low, high, self.hutch_rows + 1)[1:]
        parts += [box(self.role, (0, y, float(z) - 1), (wide, deep, 2.0), 0.3) for z in boards]
        for divider in range(1, self.hutch_rows + 1):
            x = -wide / 2 + wide * divider / (self.hutch_rows + 1)
            parts.append(box(self.role, (x, y, (low + high) / 2), (1.6, deep - 1, self.hutch)))
        parts.append(box(self.role, (0, y + deep / 2 - 0.6, (low + high) / 2), (wide - 1, 1.0, self.hutch)))
        return parts

    def _screen(self) -> list[Part]:
        wide, tall = 0.36 * self.width, 0.22 * self.width
        y, z = 0.02 * self.depth, self.height
        frame = plate("plastic", rectangle(-wide / 2, 0, wide / 2, tall), -1.0, 1.0).turned("x", 90)
        foot = lathe(
            "plastic", [(0, 0), (0.18 * wide, 0), (0.16 * wide, 1.2), (0, 1.4)], (0, y + 2, z), sides=24
        )
        return [
            frame.moved(0, y, z + 9),
            foot,
            frustum("plastic", (0, y + 2, z + 1), (0, y + 1.6, z + 12), 1.6),
        ]
