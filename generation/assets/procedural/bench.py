"""Benches: garden and park benches with slats, upholstered, panelled, storage and log benches."""

from dataclasses import dataclass

import numpy as np

from generation.assets.procedural.legs import corners, legs, sled
from generation.assets.procedural.solids import Part, beam, box, cushion, frustum, slab, smooth_path, tube

SEATS = ("board", "slats", "long-slats", "padded", "cushions", "live")
BASES = ("square", "tapered", "splayed", "turned", "hairpin", "hoops", "panels", "cross", "box", "iron")
BACKS = ("none", "none", "none", "slats", "rails", "padded", "cross", "curved")


@dataclass(frozen=True)
class Bench:
    """One bench, lengths in centimetres.

    Attributes:
        seat: one of SEATS.
        base: one of BASES.
        back: one of BACKS.
        width: along x.
        depth: front to back.
        height: of the sitting surface.
        thickness: of the seat.
        back_height: above the seat.
        back_lean: degrees.
        leg: thickness of a leg.
        splay: how far splayed feet stand out.
        count: slats, rails or cushions.
        arms: has arm rests (with a back only).
        shelf: has a board below the seat.
        role: what it is made of.
        base_role: what the legs are made of.
    """

    seat: str
    base: str
    back: str
    width: float
    depth: float
    height: float
    thickness: float
    back_height: float
    back_lean: float
    leg: float
    splay: float
    count: int
    arms: bool
    shelf: bool
    role: str
    base_role: str

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Bench":
        """Choose a bench."""
        base = str(rng.choice(BASES))
        metal = base in ("hoops", "hairpin", "iron", "cross") and rng.random() < 0.75
        role = str(rng.choice(["wood", "wood", "wood", "paint"]))
        return cls(
            seat=str(rng.choice(SEATS)),
            base=base,
            back=str(rng.choice(BACKS)),
            width=float(rng.uniform(75, 175)),
            depth=float(rng.uniform(32, 52)),
            height=float(rng.uniform(36, 52)),
            thickness=float(rng.uniform(3, 9)),
            back_height=float(rng.uniform(28, 52)),
            back_lean=float(rng.uniform(4, 16)),
            leg=float(rng.uniform(3.5, 8.0)),
            splay=float(rng.uniform(3, 9)),
            count=int(rng.integers(3, 10)),
            arms=bool(rng.random() < 0.6),
            shelf=bool(rng.random() < 0.35),
            role=role,
            base_role="metal" if metal else role,
        )

    def build(self) -> list[Part]:
        """Closed parts."""
        parts = [*self._seat(), *self._base()]
        if self.back != "none":
            parts += self._back()
            if self.arms:
                parts += self._arms()
        return parts

    @property
    def _under(self) -> float:
        return self.height - (self.thickness if self.seat in ("padded", "cushions", "live") else 3.4)

    def _seat(self) -> list[Part]:
        w, d, under = self.width, self.depth, self._under
        if self.seat == "board":
            return [box(self.role, (0, 0, under + 1.7), (w, d, 3.4), 0.6)]
        if self.seat == "live":
            # a thick slab whose long edges wander
            x = np.linspace(-1, 1, 15)
            edge = 0.05 * np.sin(x * self.count) + 0.04 * np.sin(x * 9 + self.leg)
            outline = np.concatenate(
                [
                    np.column_stack([x * w / 2, -d / 2 * (1 + edge)]),
                    np.column_stack([x[::-1] * w / 2, d / 2 * (1 - 0.8 * edge[::-1])]),
                ]
            )
            return [slab(self.role, outline, under, self.height, bevel=1.2, under=0.2 * self.thickness)]
        if self.seat == "padded":
            pad = cushion(
                "fabric", (0, 0, under + self.thickness / 2), (w, d, self.thickness), 2.5, crown=1.2
            )
            return [pad, box(self.role, (0, 0, under - 0.8), (w - 2, d - 2, 2.6))]
        if self.seat == "cushions":
            seats = max(1, round(w / 55))
            step = w / seats
            parts = [box(self.role, (0, 0, under - 0.8), (w, d, 2.6), 0.4)]
            size = (step - 0.8, d - 1, self.thickness)
            for index in range(seats):
                centre = (-w / 2 + (index + 0.5) * step, 0, under + self.thickness / 2 + 0.4)
                parts.append(cushion("fabric", centre, size, 3.0, crown=1.5))
            return parts
        parts = []
        if self.seat == "slats":
            count = max(6, round(w / (3 + self.count)))
            for x in (np.arange(count) + 0.5) / count * w - w / 2:
                parts.append(box(self.role, (x, 0, under + 1.7), (0.72 * w / count, d, 2.2), 0.3))
            for side in (-1, 1):
                parts.append(box(self.role, (0, side * (d / 2 - 4), under - 0.2), (w, 3.4, 2.8)))
            return parts
        count = max(3, self.count - 1)
        for y in (np.arange(count) + 0.5) / count * d - d / 2:
            parts.append(box(self.role, (0, y, under + 1.7), (w, 0.78 * d / count, 3.0), 0.4))
        for side in (-1, 0, 1):
            parts.append(box(self.base_role, (side * (w / 2 - 8), 0, under - 0.3), (4, d - 1, 2.6)))
        return parts

    def _base(self) -> list[Part]:
        x, y = self.width / 2 - 0.8 * self.leg - 2, self.depth / 2 - 0.6 * self.leg
        top, role = self._under + 0.5, self.base_role
        parts: list[Part] = []
        if self.base in ("square", "tapered", "splayed", "turned", "hairpin"):
            parts = legs(role, self.base, corners(x, y), top, self.leg, self.splay)
        elif self.base == "hoops":
            parts = sled(x, y, top, 0.55 * self.leg, role=role)
        elif self.base == "panels":
            parts = [
                box(self.role, (side * x, 0, top / 2), (0.6 * self.leg + 1.5, self.depth - 2, top), 0.5)
                for side in (-1, 1)
            ]
            parts.append(box(self.role, (0, 0, 0.4 * top), (2 * x, 2.6, 7)))
        elif self.base == "cross":
            for side in (-1, 1):
                for foot in (-1, 1):
                    start, end = (side * 0.8 * x, foot * (y + 2), 0), (side * 0.8 * x, -foot * y, top)
                    parts.append(beam(role, start, end, (0.8 * self.leg, 0.8 * self.leg)))
            parts.append(beam(self.role, (-0.8 * x, 0, top / 2), (0.8 * x, 0, top / 2), (2.4, 4.0)))
        elif self.base == "box":
            lower = 3.0
            parts = [
                box(self.role, (0, 0, (top + lower) / 2), (self.width - 4, self.depth - 3, top - lower), 0.5)
            ]
            parts.append(
                box(self.role, (0, 0, lower / 2 + 0.2), (self.width - 9, self.depth - 8, lower + 0.4))
            )
            fronts = max(1, self.count // 2)
            step = (self.width - 6) / fronts
            for index in range(fronts):
                centre = (
                    -self.width / 2 + 3 + (index + 0.5) * step,
                    -self.depth / 2 + 1.2,
                    (top + lower) / 2,
                )
                parts.append(box(self.role, centre, (step - 2.5, 1.6, top - lower - 5), 0.5))
        else:
            # cast iron: a bent S at each end
            for side in (-1, 1):
                at = side * 0.82 * x
                path = [(at, -y - 1, 1), (at, -y + 5, 0.5 * top), (at, -y - 1, top), (at, y, top - 1)]
                parts.append(tube("metal", smooth_path(path), 1.7))
                path = [(at, y + 4, 1), (at, y - 4, 0.5 * top), (at, y, top)]
                parts.append(tube("metal", smooth_path(path), 1.7))
            parts.append(frustum("metal", (-0.82 * x, 0, 0.45 * top), (0.82 * x, 0, 0.45 * top), 0.9))
        if self.shelf and self.base in ("square", "tapered", "turned", "hoops"):
            parts.append(box(self.role, (0, 0, 0.28 * top), (2 * x + 1, 2 * y + 1, 2.2), 0.4))
        return parts

    def _leaning(self, part: Part) -> Part:
        return part.turned("x", -self.back_lean, about=(0.0, self.depth / 2 - 2, self.height))

    def _back(self) -> list[Part]:
        y, low, high = self.depth / 2 - 2.0, self.height, self.height + self.back_height
        w = self.width - 2
        posts = [
            box(self.base_role, (s * (w / 2 - 2), y, (low + high) / 2 - 2), (3.2, 3.2, high - low + 4))
            for s in (-1, 1)
        ]
        if w > 120:
            posts.append(box(self.base_role, (0, y, (low + high) / 2 - 2), (3.2, 3.2, high - low)))
        parts = posts
        if self.back == "slats":
            parts.append(box(self.role, (0, y, high), (w, 2.6, 6), 0.6))
            parts.append(box(self.role, (0, y, low + 5), (w, 2.4, 4), 0.6))
            count = round(w / (4 + self.count))
            for x in (np.arange(count) + 0.5) / count * (w - 6) - (w - 6) / 2:
                parts.append(
                    box(self.role, (x, y, (low + high) / 2 + 2), (0.55 * w / count, 1.6, high - low - 4))
                )
        elif self.back == "rails":
            count = max(2, self.count // 2)
            for z in np.linspace(low + 0.28 * self.back_height, high, count):
                parts.append(box(self.role, (0, y - 2, z), (w, 2.4, 0.62 * self.back_height / count), 0.6))
        elif self.back == "cross":
            parts.append(box(self.role, (0, y, high), (w, 2.8, 5), 0.6))
            parts.append(box(self.role, (0, y, low + 4), (w, 2.8, 4), 0.6))
            bays = max(1, round(w / 60))
            for bay in range(bays):
                a, b = -w / 2 + bay * w / bays + 2, -w / 2 + (bay + 1) * w / bays - 2
                parts.append(beam(self.role, (a, y, low + 5), (b, y, high - 2), (1.8, 3.0)))
                parts.append(beam(self.role, (b, y, low + 5), (a, y, high - 2), (1.8, 3.0)))
        elif self.back == "padded":
            lying = cushion("fabric", (0, 0, 0), (w, self.back_height - 6, 8), 3.0, crown=1.5)
            parts.append(lying.turned("x", 90).moved(0, y - 3, (low + high) / 2 + 3))
        else:
            across = np.linspace(-1, 1, 15)
            rise = 0.35 * self.back_height
            path = np.column_stack([across * (w / 2 - 2), np.full(15, y), high - rise * across**2])
            parts = [tube(self.role, path, 2.0)]
            for x in np.linspace(-1, 1, 2 * self.count + 1):
                end = high - rise * x**2
                parts.append(
                    frustum(self.role, (x * (w / 2 - 2), y, low - 3), (x * (w / 2 - 2), y, end), 1.0, sides=8)
                )
        return [self._leaning(part) for part in parts]

    def _arms(self) -> list[Part]:
        z = self.height + min(0.5 * self.back_height, 22)
        rear = self.depth / 2 - 2 + np.tan(np.deg2rad(self.back_lean)) * (z - self.height)
        parts = []
        for side in (-1, 1):
            x = side * (self.width / 2 - 2.5)
            front = -self.depth / 2 + 2
            parts.append(beam(self.base_role, (x, front + 2, self._under - 1), (x, front + 2, z), (3.0, 3.0)))
            parts.append(beam(self.role, (x, front - 2, z), (x, rear + 1, z), (5.5, 2.6)))
        return parts
