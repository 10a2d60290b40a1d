"""Lamps: floor, table, tripod, arc, arm and globe lamps with many shades."""

from dataclasses import dataclass

import numpy as np

from generation.assets.procedural.solids import (
    Number,
    Part,
    box,
    frustum,
    lathe,
    loft,
    rounded_rectangle,
    smooth_path,
    tube,
)

KINDS = ("column", "column", "vase", "tripod", "arc", "arm", "globe", "lantern", "twist")
SHADES = ("cone", "drum", "dome", "bell", "globe", "bowl", "square", "tiers")


@dataclass(frozen=True)
class Lamp:
    """One lamp, lengths in centimetres.

    Attributes:
        kind: one of KINDS.
        shade: one of SHADES.
        height: to the middle of the shade.
        shade_radius: at its widest.
        shade_height: top to bottom.
        shade_taper: upper radius as a share of the lower.
        foot: radius of the foot.
        stem: radius of the stem.
        bulge: how much the body swells.
        knots: number of swellings of the body.
        reach: how far an arm stands out.
        role: what body and stem are made of.
    """

    kind: str
    shade: str
    height: float
    shade_radius: float
    shade_height: float
    shade_taper: float
    foot: float
    stem: float
    bulge: float
    knots: int
    reach: float
    role: str

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Lamp":
        """Choose a lamp that stands on a table or on the floor."""
        kind = str(rng.choice(KINDS))
        tall = kind in ("tripod", "arc") or (kind in ("column", "arm", "twist") and rng.random() < 0.45)
        height = float(rng.uniform(95, 150) if tall else rng.uniform(32, 62))
        radius = float(rng.uniform(13, 22) if not tall else rng.uniform(17, 30))
        return cls(
            kind=kind,
            shade=str(rng.choice(SHADES)),
            height=height,
            shade_radius=radius,
            shade_height=float(radius * rng.uniform(0.8, 1.9)),
            shade_taper=float(rng.uniform(0.35, 0.95)),
            foot=float(rng.uniform(9, 14) if not tall else rng.uniform(14, 20)),
            stem=float(rng.uniform(0.8, 1.8)),
            bulge=float(rng.uniform(0.3, 1.0)),
            knots=int(rng.integers(1, 5)),
            reach=float(rng.uniform(0.25, 0.6)),
            role=str(rng.choice(["metal", "wood", "paint", "paint"])),
        )

    def build(self) -> list[Part]:
        """Closed parts."""
        if self.kind == "globe":
            return self._globes()
        if self.kind == "lantern":
            return self._lantern()
        if self.kind == "arc":
            return self._arc()
        if self.kind == "arm":
            return self._arm()
        parts = self._shade(self.height)
        stem_top = self.height + 0.2 * self.shade_height
        if self.kind == "tripod":
            hub = 0.86 * self.height
            reach = 0.26 * self.height
            for index in range(3):
                angle = 2 * np.pi * index / 3 + np.pi / 2
                foot = (reach * np.cos(angle), reach * np.sin(angle), 0.0)
                parts.append(frustum(self.role, foot, (0, 0, hub), 0.8 * self.stem, 1.2 * self.stem))
            return [*parts, frustum("metal", (0, 0, hub - 4), (0, 0, stem_top), self.stem)]
        if self.kind == "vase":
            along = np.linspace(0, 1, 22)
            top = self.height - 0.42 * self.shade_height
            body = (
                0.45 * self.foot
                + self.foot * self.bulge * np.sin(np.pi * along ** (0.5 + 0.3 * self.knots)) ** 2
            )
            profile = [(0.0, 0.0), (0.62 * self.foot, 0.0)]
            profile += [(float(r), float(2 + z * (top - 2))) for r, z in zip(body, along, strict=True)]
            vase = lathe("paint" if self.role == "metal" else self.role, [*profile, (0.0, top)], sides=32)
            return [*parts, vase, frustum("metal", (0, 0, top - 1), (0, 0, stem_top), 0.8)]
        if self.kind == "twist":
            turn = np.linspace(0, 2 * np.pi * self.knots, 60)
            swing = self.foot * 0.35 * self.bulge * np.sin(np.linspace(0, np.pi, 60))
            path = np.column_stack(
                [swing * np.cos(turn), swing * np.sin(turn), np.linspace(1.5, stem_top, 60)]
            )
            return [*parts, *self._foot(), tube(self.role, path, 1.2 * self.stem, sides=10)]
        along = np.linspace(0, 1, 8 * self.knots + 1)
        swell = self.stem * (
            1 + 1.6 * self.bulge * np.sin(np.pi * self.knots * along) ** 2 * (self.knots < 4)
        )
        heights = 1.5 + along * (stem_top - 1.5)
        profile = [
            (0.0, 1.5),
            *((float(r), float(z)) for r, z in zip(swell, heights, strict=True)),
            (0.0, stem_top),
        ]
        return [*parts, *self._foot(), lathe(self.role, profile, sides=16)]

    def _foot(self) -> list[Part]:
        low = 1.2 + 1.5 * self.bulge
        if self.knots == 1:
            return [box(self.role, (0, 0, low / 2), (1.7 * self.foot, 1.7 * self.foot, low), 0.5)]
        dome = [(0.0, 0.0), (self.foot, 0.0), (self.foot, 0.4 * low), (0.85 * self.foot, 0.8 * low)]
        return [lathe(self.role, [*dome, (0.3 * self.foot, 1.4 * low), (0.0, 2.0 * low)], sides=32)]

    def _shade(self, middle: Number, x: Number = 0.0, y: Number = 0.0) -> list[Part]:
        """A hollow shade about `middle`: skin with an inside, closed as one body."""
        bottom, top = middle - self.shade_height / 2, middle + self.shade_height / 2
        wide, narrow = self.shade_radius, self.shade_radius * self.shade_taper
        at = (x, y, 0.0)
        if self.shade == "globe":
            return [lathe("shade", _ball(0.8 * wide), (x, y, middle), 36)]
        if self.shade == "square":
            ring = rounded_rectangle(2, 2, 0.06)
            levels = [(wide, bottom), (narrow, top), (0.93 * narrow, top), (0.95 * wide, bottom + 0.6)]
            rings = [np.column_stack([ring * r * 0.85 + [x, y], np.full(len(ring), z)]) for r, z in levels]
            skin = np.stack([rings[3], rings[0], rings[1], rings[2]])
            return [loft("shade", skin)]
        along = np.linspace(0, 1, 12)
        if self.shade == "tiers":
            outer = []
            for tier in range(3):
                share = 1 - 0.28 * tier
                low, high = bottom + tier / 3 * self.shade_height, bottom + (tier + 1) / 3 * self.shade_height
                outer += [(wide * share, low), (wide * share * (0.72 + 0.1 * self.shade_taper), high)]
        elif self.shade == "bowl":
            outer = [
                (0.3 * wide + 0.7 * wide * np.sin(a * np.pi / 2), bottom + a**1.6 * self.shade_height * 0.6)
                for a in along
            ]
        else:
            radius = {
                "cone": wide + (narrow - wide) * along,
                "drum": np.full(12, 0.86 * wide),
                "dome": wide * np.sqrt(np.clip(1 - (0.97 * along) ** 2, 0, 1)),
                "bell": narrow * 0.7 + (wide - narrow * 0.7) * (1 - along) ** 2.2,
            }[self.shade]
            outer = [
                (float(r), float(bottom + a * self.shade_height)) for r, a in zip(radius, along, strict=True)
            ]
        # the inside comes up to a ceiling below the rim: open to look at from below, and one closed body
        inner = [(max(r - 0.6, 0.2), z) for r, z in outer[:-3]]
        ceiling = inner[-1][1]
        return [lathe("shade", [(0.0, ceiling), *reversed(inner), *outer, (0.0, outer[-1][1])], at, 36)]

    def _globes(self) -> list[Part]:
        """One to four balls, each on a piece of stem, smaller towards the top."""
        parts, low = self._foot(), 1.0 + 3.0 * self.bulge
        for index in range(self.knots):
            radius = self.shade_radius * (1.0 - 0.22 * index) * (0.85 if self.knots > 1 else 1.0)
            stem = 0.35 * self.height * self.reach * (2.4 if self.knots == 1 else 0.5)
            squash = 0.55 + 0.45 * self.shade_taper
            ball = [(r, z * squash) for r, z in _ball(radius)]
            middle = low + stem + radius * squash
            parts.append(frustum(self.role, (0, 0, low - 1), (0, 0, middle), 1.5 * self.stem))
            parts.append(lathe("shade", ball, (0, 0, middle), 36))
            low = middle + 0.95 * radius * squash
        return parts

    def _lantern(self) -> list[Part]:
        """A paper box or prism between a floor and a roof, its upper end narrower or wider than its lower."""
        sides = (4, 4, 6, 8)[self.knots - 1]
        tall = self.shade_height * (1.0 + 1.2 * self.bulge)
        low, high = self.shade_radius, self.shade_radius * (0.55 + 0.6 * self.shade_taper)
        frame = "wood" if self.role == "paint" else self.role

        def at(angle: Number, share: Number, out: Number) -> tuple[float, float, float]:
            radius = (low + (high - low) * share) * out
            return float(radius * np.cos(angle)), float(radius * np.sin(angle)), float(2 + share * (tall - 2))

        parts = [
            lathe(frame, [(0, 0), (1.08 * low, 0), (1.08 * low, 2.4), (0, 2.4)], sides=sides),
            lathe(
                frame,
                [(0, tall), (1.08 * high, tall), (1.08 * high, tall + 2.4), (0, tall + 2.4)],
                sides=sides,
            ),
            lathe("shade", [(0, 1.5), (0.9 * low, 1.5), (0.9 * high, tall + 1), (0, tall + 1)], sides=sides),
        ]
        angles = 2 * np.pi * np.arange(sides) / sides
        parts += [frustum(frame, at(a, -0.02, 0.97), at(a, 1.02, 0.97), 0.9, sides=8) for a in angles]
        bars = 1 + int(4 * self.reach * self.bulge)
        for share in (
            np.linspace(0, 1, bars + 2)[1:-1] if self.shade in ("square", "tiers", "drum", "bowl") else ()
        ):
            ring = [at(a, share, 0.95) for a in angles]
            for here, following in zip(ring, [*ring[1:], ring[0]], strict=True):
                parts.append(frustum(frame, here, following, 0.5, sides=6))
        top = tall + 1.5
        if self.shade in ("cone", "square", "bell"):
            rise = high * (0.3 + 0.8 * self.bulge)
            eaves = [(0.0, top), (1.35 * high, top), (0.25 * high, top + rise), (0.0, top + 1.05 * rise)]
            parts.append(lathe(frame, eaves, sides=sides))
        elif self.shade in ("dome", "globe"):
            arch = np.linspace(0, np.pi / 2, 8)[:-1]
            dome = [(float(1.05 * high * np.cos(a)), float(top + 0.7 * high * np.sin(a))) for a in arch]
            parts.append(lathe(frame, [(0.0, top), *dome, (0.0, top + 0.7 * high)], sides=sides))
        else:
            turn = np.linspace(0, np.pi, 14)
            handle = np.column_stack([0.6 * high * np.cos(turn), 0 * turn, top + 0.8 * high * np.sin(turn)])
            parts.append(tube("metal", handle, 0.7, sides=8))
        # a flat side to the front
        return [part.turned("z", 180 / sides) for part in parts]

    def _arc(self) -> list[Part]:
        out = self.height * (0.35 + 0.5 * self.reach)
        top = self.height * 1.15
        path = smooth_path(
            [
                (0, 0, 1.5),
                (-0.02 * out, 0, 0.55 * top),
                (0.12 * out, 0, 0.9 * top),
                (0.5 * out, 0, top),
                (out, 0, 0.86 * top),
            ],
            8,
        )
        hang = 0.86 * top - 0.35 * self.shade_height
        foot = lathe(self.role, [(0, 0), (1.3 * self.foot, 0), (1.3 * self.foot, 3.5), (0, 4.5)], sides=32)
        return [foot, tube("metal", path, 1.1 * self.stem), *self._shade(hang, out, 0)]

    def _arm(self) -> list[Part]:
        elbow = (-self.reach * 0.5 * self.height, 0.0, 0.62 * self.height)
        head = (self.reach * 0.55 * self.height, 0.0, self.height)
        size = 0.55 * self.shade_radius
        cone = [
            (0.0, 0.0),
            (size, -0.2 * size),
            (1.02 * size, 0.1 * size),
            (0.45 * size, 1.3 * size),
            (0.0, 1.5 * size),
        ]
        shade = lathe("paint" if self.role == "wood" else self.role, cone, sides=28)
        bulb = lathe("shade", _ball(0.5 * size), (0, 0, 0.05 * size), 20)
        parts = [
            part.turned("y", -25 - 20 * self.bulge).moved(head[0], 0, head[2] - size)
            for part in (shade, bulb)
        ]
        parts += [
            frustum("metal", (0, 0, 2), elbow, 0.8 * self.stem),
            frustum("metal", elbow, head, 0.8 * self.stem),
            lathe("metal", _ball(1.9 * self.stem), elbow, 12),
        ]
        return [*parts, *self._foot()]


def _ball(radius: Number) -> list[tuple[float, float]]:
    """Profile of a ball about height 0."""
    angles = np.linspace(-np.pi / 2, np.pi / 2, 17)[1:-1]
    middle = [(float(radius * np.cos(a)), float(radius * np.sin(a))) for a in angles]
    return [(0.0, -radius), *middle, (0.0, radius)]
