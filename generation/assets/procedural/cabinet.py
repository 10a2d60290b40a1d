"""Cabinets: sideboards, chests of drawers, wardrobes, bedside tables, display cabinets."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from generation.assets.procedural.legs import corners, legs
from generation.assets.procedural.solids import (
    Number,
    Part,
    beam,
    box,
    frustum,
    lathe,
    rounded_rectangle,
    slab,
)

LAYOUTS = ("drawers", "doors", "mixed", "open-middle", "wardrobe", "glass", "sliding", "hutch")
HANDLES = ("knob", "bar", "long", "groove", "cup")
FEET = ("plinth", "tapered", "splayed", "square", "turned", "hairpin", "cabriole", "frame", "none")


@dataclass(frozen=True)
class _Area:
    """A rectangle of a cabinet's front, along x and z, centimetres."""

    left: Number
    right: Number
    low: Number
    high: Number

    def height_at(self, share: float) -> Number:
        """The height that divides it so that `share` of it lies below."""
        return self.low + share * (self.high - self.low)

    def above(self, height: Number) -> "_Area":
        """What lies above a height."""
        return replace(self, low=height)

    def below(self, height: Number) -> "_Area":
        """What lies below a height."""
        return replace(self, high=height)

    def between(self, left: Number, right: Number) -> "_Area":
        """What lies between two places along x."""
        return replace(self, left=left, right=right)

    def columns(self, count: int) -> list["_Area"]:
        """As many columns, of one width."""
        return [self.between(a, b) for a, b in pairwise(np.linspace(self.left, self.right, count + 1))]


@dataclass(frozen=True)
class Cabinet:
    """One cabinet, lengths in centimetres.

    Attributes:
        layout: one of LAYOUTS.
        handle: one of HANDLES.
        feet: one of FEET.
        width: along x.
        depth: front to back.
        height: of the body.
        columns: doors or columns of drawers.
        rows: rows of drawers.
        feet_height: height of the feet.
        overhang: how far the top stands out.
        top_thickness: of the top.
        roundness: radius of the body's upright edges.
        relief: depth of the frame on each front, 0 for flat ones.
        cornice: height of a moulding on top, 0 for none.
        role: what the body is made of.
        front_role: what the fronts are made of.
        handle_role: what the handles are made of.
    """

    layout: str
    handle: str
    feet: str
    width: float
    depth: float
    height: float
    columns: int
    rows: int
    feet_height: float
    overhang: float
    top_thickness: float
    roundness: float
    relief: float
    cornice: float
    role: str
    front_role: str
    handle_role: str

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Cabinet":
        """Choose a cabinet: bedside, chest, sideboard, wardrobe."""
        layout = str(rng.choice(LAYOUTS))
        use = (
            "wardrobe"
            if layout in ("wardrobe", "hutch")
            else str(rng.choice(["bedside", "chest", "sideboard", "tall"]))
        )
        width, height = {
            "bedside": (rng.uniform(38, 58), rng.uniform(36, 60)),
            "chest": (rng.uniform(70, 110), rng.uniform(70, 115)),
            "sideboard": (rng.uniform(120, 190), rng.uniform(50, 82)),
            "tall": (rng.uniform(40, 70), rng.uniform(110, 165)),
            "wardrobe": (rng.uniform(80, 150), rng.uniform(140, 200)),
        }[use]
        body = str(rng.choice(["wood", "wood", "paint"]))
        return cls(
            layout=layout,
            handle=str(rng.choice(HANDLES)),
            feet=str(rng.choice(FEET)),
            width=float(width),
            depth=float(rng.uniform(34, 58)),
            height=float(height),
            columns=max(1, round(float(width) / float(rng.uniform(36, 62)))),
            rows=max(1, round(float(height) / float(rng.uniform(17, 34)))),
            feet_height=float(rng.uniform(6, 26)),
            overhang=float(rng.choice([0.0, 1.0, 3.0])),
            top_thickness=float(rng.uniform(1.5, 4.5)),
            roundness=float(rng.choice([0.0, 0.0, 0.0, 6.0, 14.0])),
            relief=float(rng.choice([0.0, 0.0, 1.2])),
            cornice=float(rng.uniform(4, 9)) if use == "wardrobe" and rng.random() < 0.6 else 0.0,
            role=body,
            front_role=str(rng.choice([body, body, "paint", "accent"])) if body == "wood" else body,
            handle_role=str(rng.choice(["metal", "metal", "wood"])),
        )

    def build(self) -> list[Part]:
        """Closed parts."""
        bottom = 0.0 if self.feet == "none" else self.feet_height
        top = bottom + self.height
        outline = rounded_rectangle(self.width, self.depth, self.roundness)
        parts = []
        open_bays = self.layout in ("open-middle", "glass", "hutch")
        if open_bays:
            parts += self._carcass(bottom, top)
        else:
            parts.append(slab(self.role, outline, bottom, top, bevel=0.4))
        lid = rounded_rectangle(
            self.width + 2 * self.overhang, self.depth + 2 * self.overhang, self.roundness
        )
        parts.append(
            slab(self.role, lid, top - 0.2, top + self.top_thickness, bevel=0.4 * self.top_thickness)
        )
        parts += self._fronts(bottom, top)
        if self.cornice:
            wide = rounded_rectangle(self.width + 7, self.depth + 5, 0.0)
            parts.append(slab(self.role, wide, top + 1, top + self.cornice, bevel=0.5, under=3.0))
        return [*parts, *self._feet(bottom)]

    def _carcass(self, bottom: Number, top: Number) -> list[Part]:
        board, middle = 2.2, (bottom + top) / 2
        parts = [
            box(
                self.role, (side * (self.width - board) / 2, 0, middle), (board, self.depth, self.height), 0.2
            )
            for side in (-1, 1)
        ]
        parts.append(box(self.role, (0, 0, bottom + board / 2), (self.width - 1, self.depth - 0.4, board)))
        parts.append(box(self.role, (0, 0, top - board / 2), (self.width - 1, self.depth - 0.4, board)))
        parts.append(
            box(self.role, (0, self.depth / 2 - 0.8, middle), (self.width - 1, 1.2, self.height - 1))
        )
        return parts

    def _fronts(self, bottom: Number, top: Number) -> list[Part]:
        inset = 0.6 * self.roundness
        area = _Area(-self.width / 2 + 1.2 + inset, self.width / 2 - 1.2 - inset, bottom + 1.5, top - 1.5)
        if self.layout == "drawers":
            return self._drawers(area)
        if self.layout == "mixed":
            split = area.height_at(0.68)
            return [*self._drawers(area.above(split), rows=1), *self._doors(area.below(split))]
        if self.layout == "wardrobe":
            split = area.height_at(0.24 if self.rows % 2 else 0.0)
            drawers = self._drawers(area.below(split), rows=1) if split > area.low else []
            return [*drawers, *self._doors(area.above(split))]
        if self.layout == "sliding":
            return self._sliding_doors(area)
        if self.layout == "open-middle":
            return self._doors_and_open_middle(area)
        if self.layout == "hutch":
            return self._hutch_fronts(area)
        return self._glass_doors(area)

    def _sliding_doors(self, area: _Area) -> list[Part]:
        wide = (area.right - area.left) / 2
        rear = self._door(area.between(area.left, area.left + wide + 2), 0)
        front = self._door(area.between(area.right - wide - 2, area.right), 1)
        return rear + [part.moved(y=-1.6) for part in front]

    def _doors_and_open_middle(self, area: _Area) -> list[Part]:
        """A door at each end, and a bay of shelves between."""
        third = (area.right - area.left) * 0.3
        inner_left, inner_right = area.left + third, area.right - third
        parts = [
            *self._door(area.between(area.left, inner_left), 0),
            *self._door(area.between(inner_right, area.right), 1),
        ]
        wall, z = (2.0, self.depth - 1, area.high - area.low), (area.low + area.high) / 2
        parts += [box(self.role, (x, 0, z), wall) for x in (inner_left, inner_right)]
        size = (area.right - area.left - 2 * third, self.depth - 4, 1.8)
        return parts + [box(self.role, (0, 1, z), size) for z in self._shelf_heights(area)]

    def _hutch_fronts(self, area: _Area) -> list[Part]:
        """Doors below a worktop, open shelves above it."""
        split = area.height_at(0.32 + 0.012 * self.feet_height)
        worktop = (self.width + 2, self.depth * 1.1, 2.6)
        parts = [
            box(self.role, (0, -0.05 * self.depth, split), worktop, 0.5),
            *self._doors(area.below(split - 1.5)),
        ]
        for row in range(1, 3):
            z = split + (area.high - split) * row / 3
            parts.append(box(self.role, (0, 3, z), (self.width - 3, self.depth - 8, 1.6)))
        return parts

    def _glass_doors(self, area: _Area) -> list[Part]:
        """Doors that are frames without panes, shelves behind."""
        size = (self.width - 3, self.depth - 5, 1.6)
        parts = [box(self.role, (0, 1, z), size) for z in self._shelf_heights(area)]
        y = -self.depth / 2
        tall, z = area.high - area.low, (area.low + area.high) / 2
        for index, door in enumerate(area.columns(self.columns)):
            width, x = float(door.right - door.left) - 0.6, float(door.left + door.right) / 2
            for side in (-1, 1):
                parts.append(box(self.front_role, (x + side * (width / 2 - 2), y, z), (4, 2, tall), 0.3))
                parts.append(box(self.front_role, (x, y, z + side * (tall / 2 - 2)), (width, 2, 4), 0.3))
            parts.append(box(self.front_role, (x, y, z), (1.2, 1.2, tall)))
            parts += self._pull(x + (1 if index % 2 == 0 else -1) * (width / 2 - 2), z, tall, upright=True)
        return parts

    def _shelf_heights(self, area: _Area) -> list[Number]:
        """Of open shelves, about half as many as there would be drawers."""
        bays = max(2, self.rows // 2 + 1)
        return [area.low + (area.high - area.low) * row / bays for row in range(1, bays)]

    def _drawers(self, area: _Area, rows: int | None = None) -> list[Part]:
        parts = []
        count = rows or self.rows
        # the lower the drawer the higher its front, as in a chest; one fast row stays as it is
        weights = np.linspace(1.25, 0.85, count)
        edges = area.low + np.concatenate([[0], np.cumsum(weights) / weights.sum()]) * (area.high - area.low)
        columns = area.columns(self.columns if rows else max(1, self.columns - 1))
        for a, b in pairwise(edges):
            for column in columns:
                width = float(column.right - column.left)
                x, z = float(column.right + column.left) / 2, float(a + b) / 2
                parts += self._front(x, z, width - 1.0, float(b - a) - 1.0)
                parts += self._pull(x, z, width, upright=False)
        return parts

    def _doors(self, area: _Area) -> list[Part]:
        doors = area.columns(self.columns)
        return [part for index, door in enumerate(doors) for part in self._door(door, index)]

    def _door(self, area: _Area, index: int) -> list[Part]:
        x, z = float(area.left + area.right) / 2, (area.low + area.high) / 2
        width, tall = float(area.right - area.left) - 0.7, area.high - area.low - 0.7
        # neighbours open away from each other
        side = 1 if index % 2 == 0 else -1
        return [
            *self._front(x, z, width, tall),
            *self._pull(x + side * (width / 2 - 4), z, tall, upright=True),
        ]

    def _front(self, x: Number, z: Number, width: Number, tall: Number) -> list[Part]:
        y = -self.depth / 2
        parts = [box(self.front_role, (x, y - 0.4, z), (width, 2.0, tall), 0.4)]
        if self.relief and width > 18 and tall > 12:
            for side in (-1, 1):
                parts.append(
                    box(self.front_role, (x + side * (width / 2 - 2.6), y - 1.6, z), (5, 1.6, tall), 0.4)
                )
                parts.append(
                    box(self.front_role, (x, y - 1.6, z + side * (tall / 2 - 2.6)), (width, 1.6, 5), 0.4)
                )
        return parts

    def _pull(self, x: Number, z: Number, length: Number, upright: bool) -> list[Part]:
        y = -self.depth / 2 - 1.4 - (1.2 if self.relief else 0.0)
        if self.handle == "groove":
            return []
        if self.handle == "knob":
            ball = [(0.0, 0.0), (0.7, 0.0), (0.7, 1.2), (1.7, 2.2), (1.5, 3.3), (0.0, 3.7)]
            return [lathe(self.handle_role, ball, sides=14).turned("x", 90).moved(x, y + 0.3, z)]
        if self.handle == "cup":
            return [box(self.handle_role, (x, y - 0.6, z), (7.5, 2.4, 2.6), 0.9)]
        span = 0.5 * min(length, 30.0) if self.handle == "bar" else 0.72 * length
        ends = [(x, y - 1.8, z - span / 2), (x, y - 1.8, z + span / 2)]
        if not upright:
            ends = [(x - span / 2, y - 1.8, z), (x + span / 2, y - 1.8, z)]
        parts = [frustum(self.handle_role, ends[0], ends[1], 0.75, sides=10)]
        for end in ends:
            inward = (end[0] + 0.1 * (x - end[0]), end[1], end[2] + 0.1 * (z - end[2]))
            parts.append(beam(self.handle_role, inward, (inward[0], y + 0.8, inward[2]), (1.0, 1.0)))
        return parts

    def _feet(self, bottom: Number) -> list[Part]:
        x, y = self.width / 2 - 4.5 - 0.3 * self.roundness, self.depth / 2 - 4.5 - 0.3 * self.roundness
        if self.feet == "none":
            return []
        if self.feet == "plinth":
            return [box(self.role, (0, 1, bottom / 2), (2 * x + 3, 2 * y + 3, bottom + 0.4))]
        if self.feet == "frame":
            parts = [
                box("metal", (*corner, bottom / 2), (2.4, 2.4, bottom + 0.2)) for corner in corners(x, y)
            ]
            for side in (-1, 1):
                parts.append(box("metal", (side * x, 0, 1.2), (2.4, 2 * y, 2.4)))
                parts.append(box("metal", (side * x, 0, bottom - 1), (2.4, 2 * y, 2.4)))
                parts.append(box("metal", (0, side * y, bottom - 1), (2 * x, 2.4, 2.4)))
            return parts
        splay = min(0.35 * bottom, 6.0) if self.feet == "splayed" else 0.0
        heads = corners(x - splay, y - splay)
        return legs(self.role if self.role == "wood" else "wood", self.feet, heads, bottom + 0.6, 4.6, splay)
