"""Stools: three and four legs, bar stools with a foot ring, swivel stools, folding stools, poufs."""

from dataclasses import dataclass

import numpy as np

from generation.assets.procedural.legs import LEG_STYLES, legs, pedestal, sled, splay_of, star_base
from generation.assets.procedural.solids import (
    Number,
    Part,
    beam,
    cushion,
    frustum,
    lathe,
    loft,
    panel,
    slab,
    superellipse,
    tube,
)

SEATS = ("board", "padded", "saddle", "thick", "dish")
BASES = ("three", "three", "four", "four", "four", "swivel", "star", "hoops", "cross", "pouf", "drum")


@dataclass(frozen=True)
class Stool:
    """One stool, lengths in centimetres.

    Attributes:
        seat: one of SEATS.
        base: one of BASES.
        leg_style: of three- and four-legged stools.
        width: of the seat.
        depth: of the seat.
        roundness: exponent of the seat's outline.
        height: of the sitting surface.
        padding: thickness of the seat.
        leg: thickness of a leg.
        splay: how far the feet stand out.
        ring: height of the foot ring as a share, 0 for none.
        low_back: height of a low back, 0 for none.
        role: what the frame is made of.
    """

    seat: str
    base: str
    leg_style: str
    width: float
    depth: float
    roundness: float
    height: float
    padding: float
    leg: float
    splay: float
    ring: float
    low_back: float
    role: str

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Stool":
        """Choose a stool, low or high."""
        high = bool(rng.random() < 0.45)
        width = float(rng.uniform(28, 46))
        base = str(rng.choice(BASES))
        if base == "pouf":
            width *= 1.5
        return cls(
            seat=str(rng.choice(SEATS)),
            base=base,
            leg_style=str(rng.choice([style for style in LEG_STYLES if style != "cabriole"])),
            width=width,
            depth=float(width * rng.choice([1.0, 1.0, rng.uniform(0.65, 0.95)])),
            roundness=float(rng.choice([2.0, 2.0, 3.5, 10.0])),
            height=float(rng.uniform(60, 80) if high and base != "pouf" else rng.uniform(30, 50)),
            padding=float(rng.uniform(3, 11)),
            leg=float(rng.uniform(2.5, 5.0)),
            splay=float(rng.uniform(2, 11)),
            ring=float(rng.uniform(0.22, 0.45)) if high or rng.random() < 0.4 else 0.0,
            low_back=float(rng.uniform(12, 26)) if high and rng.random() < 0.35 else 0.0,
            role=str(rng.choice(["wood", "wood", "metal", "paint"])),
        )

    def build(self) -> list[Part]:
        """Closed parts."""
        if self.base == "pouf":
            return self._pouf()
        thickness = self.padding if self.seat in ("padded", "thick") else 3.2
        under = self.height - thickness
        parts = [*self._seat(under), *self._base(under + 0.8)]
        if self.low_back:
            parts += self._back()
        return parts

    def _seat(self, under: Number) -> list[Part]:
        outline = superellipse(self.width, self.depth, self.roundness)
        board = "wood" if self.role == "metal" else self.role
        if self.seat == "padded":
            parts = [slab("fabric", outline, under, self.height, bevel=0.45 * self.padding)]
            return [*parts, slab(board, outline * 0.96, under - 1.5, under + 0.5)]
        if self.seat == "thick":
            return [
                slab(board, outline, under, self.height, bevel=0.3 * self.padding, under=0.15 * self.width)
            ]
        if self.seat == "saddle":
            across = np.linspace(-1, 1, 13)
            rows = np.linspace(-1, 1, 9)
            grid = np.array(
                [
                    [
                        (a * self.width / 2, -r * self.depth / 2, under + 1.6 + 3.5 * a**2 - r**2)
                        for a in across
                    ]
                    for r in rows
                ]
            )
            return [panel(board, grid[::-1], 3.0)]
        if self.seat == "dish":
            rings = [(0.25, -0.4), (0.8, -0.4), (1.0, 1.8), (1.0, 3.2), (0.94, 3.4), (0.6, 2.0), (0.2, 1.6)]
            levels = [
                np.column_stack([outline * share, np.full(len(outline), under + z)]) for share, z in rings
            ]
            return [loft("plastic" if self.role == "metal" else board, np.stack(levels))]
        return [slab(board, outline, under, self.height, bevel=1.0)]

    def _base(self, top: Number) -> list[Part]:
        inside = 0.36 if self.roundness < 3 else 0.42
        x, y = inside * self.width, inside * self.depth
        if self.base in ("three", "four"):
            return self._legs(x, y, top)
        if self.base == "swivel":
            return self._swivel(top)
        if self.base == "star":
            arms = 5 if self.leg > 3.5 else 4
            return star_base(top, 0.5 * self.width + 0.5 * self.splay, arms, self.leg > 3)
        if self.base == "hoops":
            return sled(x, y, top, 0.6 * self.leg, lean=0.5 * self.splay, role=self.role)
        if self.base == "cross":
            return self._crossed_legs(x, y, top)
        return [self._drum(top)]

    def _legs(self, x: Number, y: Number, top: Number) -> list[Part]:
        """Three or four legs whose heads are within ±x, ±y, with a ring for the feet."""
        count = 3 if self.base == "three" else 4
        angles = (np.arange(count) + 0.5) * 2 * np.pi / count + (np.pi / 2 if count == 3 else 0)
        reach = 1.0 if count == 3 else np.sqrt(2)
        heads = [(x * reach * np.cos(a), y * reach * np.sin(a)) for a in angles]
        spread = splay_of(self.leg_style, self.splay) + 1.0
        parts = []
        for head, angle in zip(heads, angles, strict=True):
            # each leg is splayed in its own direction, so it is made alone and its foot moved
            foot = np.array([head[0] + spread * np.cos(angle), head[1] + spread * np.sin(angle), 0])
            for part in legs(self.role, self.leg_style, [head], top, self.leg):
                shear = (1 - part.vertices[:, 2:] / top) * (foot - [head[0], head[1], 0])
                vertices = part.vertices + shear
                parts.append(Part(part.role, vertices - [0, 0, min(vertices[:, 2].min(), 0)], part.faces))
        if self.ring:
            height = self.ring * top
            out = spread * (1 - self.ring)
            places = [
                (head[0] + out * np.cos(angle), head[1] + out * np.sin(angle), height)
                for head, angle in zip(heads, angles, strict=True)
            ]
            parts += self._foot_rest(places, y / x if count == 4 else 1.0)
        return parts

    def _foot_rest(self, places: list[tuple[float, float, float]], stretch: Number) -> list[Part]:
        """A ring through the given places on the legs if it is of metal, else bars from one to the next.

        Args:
            stretch: of the ring along y.
        """
        if self.role == "metal":
            radius = np.hypot(*places[0][:2])
            return [_foot_ring(radius, radius * stretch, places[0][2], 1.0)]
        following = [*places[1:], places[0]]
        return [
            frustum(self.role, here, there, 0.3 * self.leg, sides=10)
            for here, there in zip(places, following, strict=True)
        ]

    def _swivel(self, top: Number) -> list[Part]:
        """A column on a foot, with a ring on a bar."""
        parts = [pedestal("metal", top, 0.45 * self.width + 0.4 * self.splay, 4.5, 0.35)]
        if self.ring:
            radius, height = 0.38 * self.width, self.ring * top
            parts.append(_foot_ring(radius, radius, height, 1.1))
            parts.append(frustum("metal", (-radius, 0, height), (radius, 0, height), 0.9))
        return parts

    def _crossed_legs(self, x: Number, y: Number, top: Number) -> list[Part]:
        """Two pairs of crossed legs and the bar that they turn on."""
        parts = []
        for side in (-1, 1):
            for end_of in (-1, 1):
                start, end = (side * x, end_of * (y + self.splay), 0), (side * x * 0.96, -end_of * y, top)
                parts.append(beam(self.role, start, end, (0.7 * self.leg, self.leg)))
        parts.append(frustum(self.role, (-x, 0, 0.5 * top), (x, 0, 0.5 * top), 0.3 * self.leg))
        return parts

    def _drum(self, top: Number) -> Part:
        """A solid of revolution with a waist."""
        waist = 0.3 * self.width * (0.6 + 0.05 * self.splay)
        lower = [(0.0, 0.0), (0.44 * self.width, 0.0), (0.44 * self.width, 1.0), (waist, 0.5 * top)]
        upper = [(0.42 * self.width, top - 1), (0.42 * self.width, top), (0, top)]
        return lathe(self.role, [*lower, *upper], sides=32)

    def _back(self) -> list[Part]:
        depth, half = 0.42 * self.depth, 0.42 * self.width
        top = self.height + self.low_back
        role = "fabric" if self.seat == "padded" else ("wood" if self.role == "metal" else self.role)
        across = np.linspace(-1, 1, 11)
        rows = (top - 0.45 * self.low_back, top)
        grid = np.array(
            [[(half * a, depth + 2 - 5 * a**2 + 0.1 * (z - self.height), z) for a in across] for z in rows]
        )
        posts = [
            frustum(
                self.role,
                (side * 0.6 * half, depth - 1, self.height - 2),
                (side * 0.6 * half, depth + 1.5, top - 3),
                1.1,
            )
            for side in (-1, 1)
        ]
        return [*posts, panel(role, grid, 2.2)]

    def _pouf(self) -> list[Part]:
        """Something soft without legs: a cube, a barrel, a drum with bands, a pumpkin, a sack."""
        h, r = self.height, self.width / 2
        if self.roundness > 3:
            size = (self.width, self.depth, h)
            soft = cushion("fabric", (0, 0, h / 2), size, 0.8 * self.padding, crown=0.3 * self.padding)
            parts = [soft.moved(z=-float(soft.vertices[:, 2].min()))]
            if self.seat in ("padded", "saddle"):
                parts.append(cushion("accent", (0, 0, h), (self.width, self.depth, 4), 1.8, crown=2.0))
            return parts
        along = np.linspace(0, 1, 17)
        bulge = 0.1 + 0.03 * self.padding
        if self.seat == "dish":
            # a sack, widest near the floor and drawn together on top
            radius = (
                r * (1 - 0.75 * along**1.8) * np.sqrt(np.clip(np.sin(np.pi * (0.12 + 0.86 * along)), 0, 1))
            )
        elif self.seat == "board":
            radius = np.full(17, r)
        else:
            radius = (
                r
                * (1 - bulge + bulge * np.sin(np.pi * along))
                * np.minimum(1, 2.4 * np.sin(np.pi * along) ** 0.5)
            )
        lobes = {"saddle": 8, "thick": 12}.get(self.seat, 0)
        turn = np.arange(48) * (2 * np.pi / 48)
        wave = 1 - 0.09 * np.abs(np.sin(turn * lobes / 2 + 0.01)) if lobes else np.ones(48)
        inner = slice(1, -1) if self.seat != "board" else slice(None)
        rings = np.stack(
            [
                np.column_stack([rad * wave * np.cos(turn), rad * wave * np.sin(turn), np.full(48, z * h)])
                for rad, z in zip(radius[inner], along[inner], strict=True)
            ]
        )
        squeeze = np.array([1.0, self.depth / self.width, 1.0])
        parts = [loft("fabric", rings * squeeze)]
        bands = {"padded": (0.5,), "board": (0.04, 0.93)}.get(self.seat, ())
        for share in bands:
            wide = 1.02 * float(np.interp(share, along, radius))
            band = [(0, share * h - 1), (wide, share * h - 1), (wide, share * h + 1.6), (0, share * h + 1.6)]
            part = lathe("accent", band, sides=48)
            parts.append(Part(part.role, part.vertices * squeeze, part.faces))
        if lobes:
            button = lathe(
                "accent", [(0, 0), (2.2, 0), (1.8, 1.4), (0, 2.0)], (0, 0, 0.985 * h * along[-2]), sides=16
            )
            parts.append(button)
        return parts


def _foot_ring(radius_x: Number, radius_y: Number, height: Number, thickness: Number) -> Part:
    """A level ring of metal tube about the stool's axis."""
    turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    loop = np.column_stack([radius_x * np.cos(turn), radius_y * np.sin(turn), np.full(28, height)])
    return tube("metal", loop, thickness, sides=8, closed=True)
