"""Chairs: legs, cantilevers, columns and sleds below; slats, spindles, boards, shells and pads behind."""

from dataclasses import dataclass

import numpy as np

from generation.assets.procedural.legs import LEG_STYLES, Point, corners, legs, splay_of, star_base
from generation.assets.procedural.solids import (
    Number,
    Part,
    beam,
    cushion,
    frustum,
    lathe,
    panel,
    slab,
    smooth_path,
    superellipse,
    tube,
)

BASES = (
    "square",
    "tapered",
    "splayed",
    "turned",
    "cabriole",
    "hairpin",
    "sled",
    "cantilever",
    "pedestal",
    "star",
)
BACKS = ("slats", "spindles", "solid", "ladder", "padded", "hoop", "cross", "shell", "open")
ARMS = ("none", "none", "none", "straight", "curved", "padded")


@dataclass(frozen=True)
class Chair:
    """One chair, lengths in centimetres.

    Attributes:
        base: one of BASES.
        back: one of BACKS.
        arms: one of ARMS.
        seat_width: across.
        seat_depth: front to back.
        seat_height: of the sitting surface.
        seat_roundness: exponent of the seat's outline, 2.2 round to 12 square.
        seat_cushion: thickness of the upholstery on the seat, 0 for none.
        back_height: from the seat to the top.
        back_lean: degrees.
        back_taper: width of the back's top as a share of its bottom.
        back_curve: how far the middle of the back lies behind its sides.
        count: slats, spindles or rungs.
        leg: thickness of a leg.
        splay: how far the feet stand out beyond the seat.
        stretchers: bars between the legs.
        frame: 'wood', 'metal' or 'paint'.
    """

    base: str
    back: str
    arms: str
    seat_width: float
    seat_depth: float
    seat_height: float
    seat_roundness: float
    seat_cushion: float
    back_height: float
    back_lean: float
    back_taper: float
    back_curve: float
    count: int
    leg: float
    splay: float
    stretchers: bool
    frame: str

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Chair":
        """Choose a chair."""
        base = str(rng.choice(BASES))
        back = str(rng.choice(BACKS))
        metal = base in ("sled", "cantilever", "hairpin", "star")
        seat_width = float(rng.uniform(38, 58))
        return cls(
            base=base,
            back=back,
            arms=str(rng.choice(ARMS)),
            seat_width=seat_width,
            seat_depth=float(seat_width * rng.uniform(0.82, 1.08)),
            seat_height=float(rng.uniform(36, 56)),
            seat_roundness=float(rng.choice([2.4, 3.5, 6.0, 12.0])),
            seat_cushion=float(rng.choice([0.0, 3.0, 6.0, 9.0])) if back != "shell" else 0.0,
            back_height=float(rng.uniform(28, 68)),
            back_lean=float(rng.uniform(4, 18)),
            back_taper=float(rng.uniform(0.72, 1.12)),
            back_curve=float(rng.uniform(0, 7)),
            count=int(rng.integers(3, 8)),
            leg=float(rng.uniform(2.6, 5.2) if not metal else rng.uniform(1.8, 3.0)),
            splay=float(rng.uniform(2, 9)),
            stretchers=bool(rng.random() < 0.45),
            frame="metal" if metal else str(rng.choice(["wood", "wood", "paint"])),
        )

    def build(self) -> list[Part]:
        """Closed parts."""
        parts = [*self._seat(), *self._base(), *self._back()]
        if self.arms != "none" and self.back != "shell":
            parts += self._arms()
        return parts

    def _seat(self) -> list[Part]:
        board_role = "plastic" if self.back == "shell" else ("wood" if self.frame == "metal" else self.frame)
        outline = superellipse(self.seat_width, self.seat_depth, self.seat_roundness)
        board_top = self.seat_height - self.seat_cushion
        parts = [slab(board_role, outline, board_top - 3.4, board_top, bevel=1.0)]
        if self.seat_cushion:
            soft = superellipse(self.seat_width * 0.97, self.seat_depth * 0.97, self.seat_roundness)
            parts.append(
                slab("fabric", soft, board_top - 0.5, self.seat_height, bevel=0.4 * self.seat_cushion)
            )
        return parts

    def _base(self) -> list[Part]:
        x, y = self.seat_width / 2 - self.leg, self.seat_depth / 2 - self.leg
        if self.seat_roundness < 4:
            x, y = 0.82 * x, 0.82 * y
        top = self.seat_height - self.seat_cushion - 1.5
        heads = corners(x, y)
        parts: list[Part] = []
        if self.base in LEG_STYLES:
            parts += legs(self.frame, self.base, heads, top, self.leg, self.splay)
            if self.stretchers and self.base not in ("hairpin", "cabriole"):
                out = splay_of(self.base, self.splay)
                parts += self._stretchers(corners(x + out, y + out), heads, top)
        elif self.base == "sled":
            for side in (-1, 1):
                loop = [
                    (side * x, -0.8 * y, top),
                    (side * (x + 1), -y - 2, 0.5 * self.leg),
                    (side * (x + 1), y + 2, 0.5 * self.leg),
                    (side * x, 0.8 * y, top),
                ]
                parts.append(tube("metal", np.array(loop), 0.5 * self.leg))
            parts.append(
                frustum("metal", (-x - 1, y, 0.5 * self.leg), (x + 1, y, 0.5 * self.leg), 0.4 * self.leg)
            )
        elif self.base == "cantilever":
            height = 0.5 * self.leg
            for side in (-1, 1):
                run = [
                    (side * x, y, top),
                    (side * x, -y + 2, top),
                    (side * x, -y - 1, top - 5),
                    (side * x, -y - 1, 6),
                    (side * x, -y + 2, height),
                    (side * x, y + 2, height),
                ]
                parts.append(tube("metal", smooth_path(run), 0.5 * self.leg))
            parts.append(frustum("metal", (-x, y + 2, height), (x, y + 2, height), 0.5 * self.leg))
        elif self.base == "pedestal":
            foot = 0.42 * self.seat_width + self.splay
            profile = [(0.0, 0.0), (foot, 0.0), (foot, 1.2), (0.3 * foot, 3.5), (0.6 * self.leg + 1, 9)]
            profile += [(0.5 * self.leg, 0.6 * top), (self.leg + 2.5, top), (0.0, top)]
            parts.append(lathe("metal" if self.frame == "metal" else self.frame, profile))
        else:
            parts += star_base(top, 0.45 * self.seat_width + self.splay, 5, castors=self.count % 3 != 0)
        return parts

    def _stretchers(self, feet: list[Point], heads: list[Point], top: Number) -> list[Part]:
        share = 0.32
        points = [
            np.array([*(np.array(foot) * (1 - share) + np.array(head) * share), share * top])
            for foot, head in zip(feet, heads, strict=True)
        ]
        pairs = [(0, 3), (1, 2)] if self.count % 2 else [(0, 1), (1, 2), (2, 3), (3, 0)]
        bars = [frustum(self.frame, points[a], points[b], 0.28 * self.leg, sides=10) for a, b in pairs]
        if len(pairs) == 2:
            left, right = (points[0] + points[3]) / 2, (points[1] + points[2]) / 2
            bars.append(frustum(self.frame, left, right, 0.28 * self.leg, sides=10))
        return bars

    def _on_back(self, across: Number, up: Number) -> tuple[float, float, float]:
        """Point of the back: `across` -1 … 1, `up` 0 at the seat … 1 at the top."""
        half = (self.seat_width / 2 - 2) * (1 + (self.back_taper - 1) * up)
        if self.seat_roundness < 4:
            half *= 0.86
        bend = self.back_curve * (1 - across**2)
        lean = np.tan(np.deg2rad(self.back_lean)) * self.back_height * up
        inset = 2.0 if self.seat_roundness >= 4 else 0.12 * self.seat_depth
        depth = self.seat_depth / 2 - inset - (0.0 if self.seat_roundness >= 4 else 0.02)
        return (
            half * across,
            depth + lean + bend,
            self.seat_height - self.seat_cushion + self.back_height * up,
        )

    def _surface(self, low: Number, high: Number, span: Number, rows: int = 8) -> np.ndarray:
        ups = np.linspace(low, high, rows)
        return np.array([[self._on_back(a, u) for a in np.linspace(-span, span, 11)] for u in ups])

    def _posts(self, upper: Number = 1.0) -> list[Part]:
        radius = 0.45 * self.leg
        return [
            frustum(self.frame, self._on_back(side, -0.03), self._on_back(side, upper), radius, 0.8 * radius)
            for side in (-1, 1)
        ]

    def _rail(self, up: Number, height: Number, thickness: Number = 2.2) -> Part:
        low, high = up - height / 2 / self.back_height, up + height / 2 / self.back_height
        role = "wood" if self.frame == "metal" else self.frame
        return panel(role, self._surface(low, high, 1.0, 3), thickness)

    def _back(self) -> list[Part]:
        role = "wood" if self.frame == "metal" else self.frame
        if self.back == "slats":
            bars = [
                panel(role, self._strip(across, 0.9 / self.count), 1.4)
                for across in np.linspace(-0.78, 0.78, self.count)
            ]
            return [*self._posts(), self._rail(0.95, 7), *bars]
        if self.back == "spindles":
            bars = [
                frustum(role, self._on_back(across, -0.02), self._on_back(across, 0.93), 0.9, 0.7, sides=8)
                for across in np.linspace(-0.85, 0.85, self.count + 2)
            ]
            return [*self._posts(), self._rail(0.95, 6), *bars]
        if self.back == "ladder":
            return [
                *self._posts(),
                *(self._rail(up, 5.5) for up in np.linspace(0.28, 0.92, max(2, self.count - 2))),
            ]
        if self.back == "cross":
            bars = [
                frustum(role, self._on_back(-0.92, 0.06), self._on_back(0.92, 0.9), 1.1, sides=8),
                frustum(role, self._on_back(0.92, 0.06), self._on_back(-0.92, 0.9), 1.1, sides=8),
            ]
            return [*self._posts(), self._rail(0.95, 6), self._rail(0.08, 4), *bars]
        if self.back == "hoop":
            angles = np.linspace(0, np.pi, 25)
            path = np.array(
                [self._on_back(-np.cos(a), np.sin(a) ** 0.7 if 0 < a < np.pi else -0.03) for a in angles]
            )
            bars = []
            for across in np.linspace(-0.7, 0.7, self.count):
                reach = float(np.sqrt(1 - across**2)) ** 0.7
                bars.append(
                    frustum(
                        role, self._on_back(across, -0.02), self._on_back(across * 1.05, reach), 0.8, sides=8
                    )
                )
            return [tube(self.frame, path, 0.4 * self.leg + 0.3), *bars]
        if self.back == "padded":
            low = 0.12 + 0.04 * self.count
            pad = [panel("fabric", self._surface(low, 1.0, 0.98), 3.5 + 0.5 * self.seat_cushion)]
            return [*pad, *self._posts(0.9)]
        if self.back == "shell":
            ups = np.linspace(-0.12, 1.0, 9)
            grid = []
            for up in ups:
                narrowing = 1.0 - 0.35 * max(up, 0.0) ** 3
                row = []
                for a in np.linspace(-1, 1, 13):
                    x, y, z = self._on_back(a * narrowing, up)
                    row.append(
                        (x, y - 5.0 * a**2 * (1 - up), z - 0.25 * self.back_height * a**4 * max(up, 0.0))
                    )
                grid.append(row)
            return [panel("plastic", np.array(grid), 1.8)]
        if self.back == "open":
            return [*self._posts(), panel(role, self._surface(0.6, 1.0, 1.0, 4), 2.0)]
        return [*self._posts(0.8), panel(role, self._surface(0.1, 1.0, 1.0), 2.2)]

    def _strip(self, across: Number, width: Number) -> np.ndarray:
        columns = (across - width / 2, across + width / 2)
        return np.array([[self._on_back(a, u) for a in columns] for u in np.linspace(-0.02, 0.94, 6)])

    def _arms(self) -> list[Part]:
        parts = []
        height = self.seat_height + 0.38 * min(self.back_height, 55)
        up = (height - self.seat_height + self.seat_cushion) / self.back_height
        for side in (-1, 1):
            rear = np.array(self._on_back(side, up))
            rear[0] += side * 1.5
            x = side * (self.seat_width / 2 + 1.5)
            front = np.array([x, -0.28 * self.seat_depth, height])
            foot = np.array(
                [side * (self.seat_width / 2 - 1.5), -0.24 * self.seat_depth, self.seat_height - 3.0]
            )
            foot[2] -= self.seat_cushion
            if self.arms == "straight":
                parts.append(beam(self.frame, rear, front, (4.5, 2.4)))
                parts.append(beam(self.frame, foot, front + np.array([0, 3, 0]), (2.6, 2.6)))
            elif self.arms == "curved":
                path = smooth_path([rear, (rear + front) / 2 + np.array([side * 3, 0, 0.5]), front, foot])
                parts.append(tube(self.frame, path, 0.4 * self.leg + 0.3))
            else:
                middle = (rear + front) / 2
                parts.append(
                    cushion("fabric", middle + np.array([0, 0, 1]), (7, abs(rear[1] - front[1]) + 3, 5), 2)
                )
                parts.append(beam(self.frame, foot, front + np.array([0, 5, 0]), (2.6, 2.6)))
        return parts
