"""Beds: single and double, headboards of many kinds, four-posters, bunks, divans; all of them made up."""

from dataclasses import dataclass

import numpy as np

from generation.assets.procedural.legs import corners, legs
from generation.assets.procedural.solids import (
    Number,
    Part,
    beam,
    box,
    cushion,
    frustum,
    lathe,
    slab,
    standing,
)

HEADS = ("panel", "padded", "slats", "arch", "bars", "wings", "none", "boards")
KINDS = ("plain", "plain", "plain", "four-poster", "canopy", "bunk", "divan", "sleigh", "day")


@dataclass(frozen=True)
class Bed:
    """One bed, lengths in centimetres; the head is at +y.

    Attributes:
        kind: one of KINDS.
        head: one of HEADS.
        width: of the mattress.
        length: of the mattress.
        base_height: lower side of the mattress.
        mattress: its thickness.
        head_height: above the mattress.
        foot_height: of the footboard above the frame, 0 for none.
        blanket: share of the length that the blanket covers.
        blanket_hang: how far it hangs down.
        pillows: how many.
        leg_style: of the feet.
        leg: thickness of legs and posts.
        count: slats or bars.
        drawers: has drawers below.
        role: what the frame is made of.
    """

    kind: str
    head: str
    width: float
    length: float
    base_height: float
    mattress: float
    head_height: float
    foot_height: float
    blanket: float
    blanket_hang: float
    pillows: int
    leg_style: str
    leg: float
    count: int
    drawers: bool
    role: str

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Bed":
        """Choose a bed."""
        kind = str(rng.choice(KINDS))
        double = bool(rng.random() < 0.5) and kind not in ("bunk", "day")
        width = float(rng.uniform(135, 180) if double else rng.uniform(75, 105))
        return cls(
            kind=kind,
            head=str(rng.choice(HEADS)),
            width=width,
            length=float(rng.uniform(175, 205)),
            base_height=float(rng.uniform(16, 40)),
            mattress=float(rng.uniform(12, 28)),
            head_height=float(rng.uniform(22, 75)),
            foot_height=float(rng.choice([0.0, 0.0, 12.0, 26.0])),
            blanket=float(rng.uniform(0.35, 0.8)),
            blanket_hang=float(rng.uniform(0.2, 1.0)),
            pillows=int(rng.integers(2, 5)) if double else int(rng.integers(1, 3)),
            leg_style=str(rng.choice(["square", "tapered", "round", "turned", "splayed"])),
            leg=float(rng.uniform(5, 10)),
            count=int(rng.integers(4, 10)),
            drawers=bool(rng.random() < 0.35),
            role=str(rng.choice(["wood", "wood", "paint", "metal"])),
        )

    def build(self) -> list[Part]:
        """Closed parts."""
        if self.kind == "bunk":
            return self._bunk()
        if self.kind == "day":
            return self._day()
        parts = [*self._bedding(self.base_height), *self._frame()]
        if self.kind == "sleigh":
            return [*parts, *self._sleigh()]
        if self.kind in ("four-poster", "canopy"):
            parts += self._posts()
        return [*parts, *self._head(), *self._footboard()]

    @property
    def _top(self) -> float:
        return self.base_height + self.mattress

    def _bedding(self, floor: Number) -> list[Part]:
        w, n, m = self.width, self.length, self.mattress
        parts = [cushion("linen", (0, 0, floor + m / 2), (w, n, m), 4.0)]
        cover = self.blanket * n
        hang = 2.5 + self.blanket_hang * (m + 2)
        centre = (0, -n / 2 + cover / 2 - 1.5, floor + m + 2.5 - hang / 2)
        parts.append(cushion("fabric", centre, (w + 4, cover, hang), 2.4, crown=1.0))
        fold = (0, -n / 2 + cover - 10, floor + m + 2.6)
        parts.append(cushion("accent", fold, (w + 4.6, 20, 3.6), 1.7, crown=0.8))
        per_row = 2 if w > 120 else 1
        size = (min(0.44 * w, 62) if per_row == 2 else 0.68 * w, 38, 13)
        for index in range(self.pillows):
            row, place = divmod(index, per_row)
            x = (place - (per_row - 1) / 2) * 0.48 * w
            pillow = cushion("linen" if row % 2 == 0 else "accent", (0, 0, 0), size, 5.5, crown=4.0)
            pillow = pillow.turned("x", 14 + 26 * row)
            parts.append(pillow.moved(x, n / 2 - 24 - 17 * row, floor + m + 7 + 3 * row))
        return parts

    def _frame(self) -> list[Part]:
        w, n = self.width + 5, self.length + 5
        role = "fabric" if self.kind == "divan" else self.role
        if self.kind == "divan":
            lower = 6.0
            height = self.base_height - lower + 1.5
            parts = [cushion(role, (0, 0, lower + height / 2), (w, n, height), 1.5, cells=1)]
            heads = corners(w / 2 - 8, n / 2 - 8)
            parts += [
                lathe("wood", [(0, 0), (2.2, 0), (3, lower + 0.5), (0, lower + 0.5)], (*h, 0), 16)
                for h in heads
            ]
            if self.drawers:
                for end in (-1, 1):
                    centre = (w / 2, end * n / 4, lower + height / 2)
                    parts.append(box("fabric", centre, (1.6, n / 2 - 8, height - 5), 0.5))
            return parts
        rail = min(14.0, 0.55 * self.base_height)
        parts = [box(role, (0, 0, self.base_height - rail / 2 + 1.5), (w, n, rail), 0.8)]
        top = self.base_height - rail + 2
        if self.drawers and top > 10:
            parts.append(box(role, (0, 0, top / 2 + 1.5), (w - 6, n - 10, top - 2)))
            for end in (-1, 1):
                for side in (-1, 1):
                    centre = (side * (w / 2 - 3), end * n / 4, top / 2 + 1.5)
                    parts.append(box(role, centre, (1.8, n / 2 - 14, top - 5), 0.5))
                    parts.append(
                        box("metal", (side * (w / 2 - 1.8), end * n / 4, top / 2 + 2), (1.6, 12, 1.6))
                    )
        splay = 5.0 if self.leg_style == "splayed" else 0.0
        inset = self.leg / 2 + splay
        heads = corners(w / 2 - inset, n / 2 - inset)
        return [
            *parts,
            *legs("wood" if role == "paint" else role, self.leg_style, heads, top, self.leg, splay),
        ]

    def _head(self) -> list[Part]:
        if self.head == "panel":
            low, high = self._head_span
            return [
                box(
                    self._board_role,
                    (0, self._head_y + 2, (low + high) / 2),
                    (self._outer_width, 5, high - low),
                    1.2,
                )
            ]
        if self.head == "boards":
            return self._boarded_head()
        if self.head in ("padded", "wings"):
            return self._upholstered_head()
        if self.head == "arch":
            return self._arched_head()
        return self._railed_head()

    @property
    def _outer_width(self) -> float:
        return self.width + 5

    @property
    def _head_y(self) -> float:
        return self.length / 2 + 3

    @property
    def _head_span(self) -> tuple[float, float]:
        """Lower and upper end of the headboard."""
        return 0.4 * self.base_height, self._top + self.head_height

    @property
    def _board_role(self) -> str:
        """Boards of a metal bed are of wood."""
        return "wood" if self.role == "metal" else self.role

    def _boarded_head(self) -> list[Part]:
        w, y, role = self._outer_width, self._head_y, self._board_role
        low, high = self._head_span
        count = max(self.count - 2, 2)
        step = (high - low) / count
        boards = [
            box(role, (0, y + 2, low + (i + 0.5) * step), (w, 3.4, step - 1.8), 0.8) for i in range(count)
        ]
        battens = [
            box(role, (s * 0.35 * w, y + 4, (low + high) / 2), (8, 2.5, high - low - 4)) for s in (-1, 1)
        ]
        return [*boards, *battens]

    def _upholstered_head(self) -> list[Part]:
        w, y = self._outer_width, self._head_y
        low, high = self._head_span
        rise = high - low
        parts = [box("fabric", (0, y + 4, (low + high) / 2), (w, 6, rise), 1.5)]
        columns = self.count if self.head == "padded" else max(1, self.count // 3)
        step = w / columns
        visible = high - self._top + 8
        for index in range(columns):
            lying = cushion("fabric", (0, 0, 0), (step - 0.4, visible, 6), 2.6, crown=1.5)
            place = (-w / 2 + (index + 0.5) * step, y + 1.5, high - visible / 2)
            parts.append(lying.turned("x", 90).moved(*place))
        if self.head == "wings":
            for side in (-1, 1):
                centre = (side * (w / 2 + 2), y - 8, (low + high) / 2)
                parts.append(cushion("fabric", centre, (7, 26, rise), 2.5, cells=1))
        return parts

    def _arched_head(self) -> list[Part]:
        w, (low, high) = self._outer_width, self._head_span
        across = np.linspace(-1, 1, 25)
        crown = 0.35 * self.head_height
        upper = [(w / 2 * a, high - crown * a**2) for a in across[::-1]]
        outline = np.array([(-w / 2, low), (w / 2, low), *upper])
        return [standing(slab(self._board_role, outline, -2.5, 2.5, bevel=0.8)).moved(0, self._head_y + 2, 0)]

    def _railed_head(self) -> list[Part]:
        """Posts and two rails with slats or bars between; a four-poster's posts alone, or nothing."""
        w, y, high = self._outer_width, self._head_y, self._head_span[1]
        posts = [
            frustum(
                self.role,
                (side * (w / 2 - 3), y + 2, 0),
                (side * (w / 2 - 3), y + 2, high + 3),
                0.4 * self.leg,
            )
            for side in (-1, 1)
        ]
        if self.head == "none" or self.kind == "four-poster":
            return posts if self.kind == "four-poster" and self.head != "none" else []
        parts = [*posts, box(self.role, (0, y + 2, high - 3), (w - 6, 3.5, 6), 0.8)]
        parts.append(box(self.role, (0, y + 2, self._top - 4), (w - 6, 3.0, 5), 0.8))
        for x in np.linspace(-0.42, 0.42, self.count) * w:
            if self.head == "slats":
                centre = (x, y + 2, (self._top + high) / 2 - 3)
                parts.append(box(self.role, centre, (0.5 * w / self.count, 1.8, high - self._top)))
            else:
                parts.append(
                    frustum(self.role, (x, y + 2, self._top - 4), (x, y + 2, high - 3), 1.1, sides=10)
                )
        return parts

    def _footboard(self) -> list[Part]:
        if not self.foot_height or self.kind == "divan":
            return []
        w, y = self.width + 5, -self.length / 2 - 4
        low, high = 0.4 * self.base_height, self.base_height + self.foot_height
        role = "wood" if self.role == "metal" else self.role
        if self.head in ("bars", "slats"):
            parts = [box(self.role, (0, y, z), (w, 3.2, 4.5), 0.8) for z in (low + 3, high)]
            bars = np.linspace(-0.46, 0.46, self.count) * w
            return parts + [frustum(self.role, (x, y, low), (x, y, high), 1.1, sides=10) for x in bars]
        return [
            box("fabric" if self.head == "wings" else role, (0, y, (low + high) / 2), (w, 5, high - low), 1.2)
        ]

    def _posts(self) -> list[Part]:
        w, n = self.width / 2 + 2, self.length / 2 + 2
        top = self._top + 48 + 0.6 * self.head_height
        half = 0.6 * self.leg
        parts = []
        for x, y in corners(w, n):
            if self.kind == "canopy":
                parts.append(box(self.role, (x, y, top / 2), (1.6 * half, 1.6 * half, top), 0.3))
            else:
                along = np.linspace(0, 1, 20)
                radius = half * (0.75 + 0.3 * np.cos(along * np.pi * 2 * (2 + self.count % 3)))
                profile = [(0.0, 0.0), *zip(radius.tolist(), (along * top).tolist(), strict=True)]
                knob = [(0.9 * half, top + 1), (1.3 * half, top + half + 1), (0.7 * half, top + 2 * half + 1)]
                parts.append(lathe(self.role, [*profile, *knob, (0.0, top + 2.4 * half)], (x, y, 0), 16))
        if self.kind == "canopy":
            bar = 1.6 * half
            for sign in (-1, 1):
                parts.append(box(self.role, (0, sign * n, top - bar / 2), (2 * w, bar, bar)))
                parts.append(box(self.role, (sign * w, 0, top - bar / 2), (bar, 2 * n, bar)))
            if self.count % 2:
                parts.append(cushion("linen", (0, 0, top + 1), (2 * w + 6, 2 * n + 6, 2.5), 1.2, crown=2.0))
        return parts

    def _sleigh(self) -> list[Part]:
        w = self.width + 6
        parts = []
        for end, rise in ((1, self.head_height), (-1, 0.55 * self.head_height)):
            y, high = end * (self.length / 2 + 3), self._top + rise
            along = np.linspace(0, 1, 15)
            z = 0.3 * self.base_height + along * (high - 0.3 * self.base_height)
            out = y + end * (14 * along**2.5 + 3 * np.sin(along * np.pi))
            outer = np.column_stack([out + end * 2.5, z])
            inner = np.column_stack([out - end * 2.5, z])
            ring = np.concatenate([outer, inner[::-1]])
            rings = np.array([[(x, py, pz) for py, pz in ring] for x in (-w / 2, w / 2)])
            parts.append(_skin(self.role if self.role != "metal" else "wood", rings, end))
            roll_y = float(out[-1])
            role = self.role if self.role != "metal" else "wood"
            parts.append(
                frustum(role, (-w / 2 - 1, roll_y + end * 2, high), (w / 2 + 1, roll_y + end * 2, high), 5.0)
            )
        return parts

    def _bunk(self) -> list[Part]:
        w, n = self.width / 2 + 3, self.length / 2 + 3
        upper = self.base_height + 85
        top = upper + 42
        thick = max(5.0, 0.8 * self.leg)
        parts = [*self._bedding(self.base_height), *self._bedding(upper)]
        parts += [box(self.role, (x, y, top / 2), (thick, thick, top), 0.6) for x, y in corners(w, n)]
        for floor in (self.base_height, upper):
            parts.append(box(self.role, (0, 0, floor - 3), (2 * w, 2 * n, 8), 0.5))
        for sign in (-1, 1):
            for share in (0.45, 0.9):
                parts.append(box(self.role, (0, sign * n, upper + share * 40), (2 * w, 2.2, 6)))
            parts.append(box(self.role, (sign * w, 0, upper + 36), (2.2, 2 * n, 6)))
            parts.append(box(self.role, (0, sign * n, self.base_height + 18), (2 * w, 2.2, 6)))
        for side in (0.35, 0.75):
            y = -n + 2 * n * (1 - side)
            parts.append(box(self.role, (-w - 3, y, (upper + 36) / 2), (2.8, 4, upper + 36)))
        for rung in np.linspace(0.12, 0.92, 6) * upper:
            y = -n + 2 * n * 0.45
            parts.append(box(self.role, (-w - 3, y, rung), (2.2, 0.8 * n, 3.4)))
        return parts

    def _day(self) -> list[Part]:
        w, n = self.width / 2 + 3, self.length / 2 + 3
        high = self._top + 0.7 * self.head_height
        parts = [*self._bedding(self.base_height), *self._frame()]
        parts += [box(self.role, (0, y, high / 2 + 5), (2 * w, 3, high - 10), 0.8) for y in (-n, n)]
        for index in range(self.count):
            y = -n + 2 * n * (index + 0.5) / self.count
            parts.append(box(self.role, (w, y, high / 2 + 6), (2.2, 0.55 * 2 * n / self.count, high - 16)))
        parts.append(beam(self.role, (w, -n, high - 2), (w, n, high - 2), (3.4, 6)))
        parts.append(beam(self.role, (w, -n, self.base_height), (w, n, self.base_height), (3.4, 6)))
        return parts


def _skin(role: str, rings: np.ndarray, end: int) -> Part:
    """Two equal outlines joined along x; the outline is not star-shaped, so its caps are zipped across."""
    points = rings.shape[1]
    half = points // 2
    faces: list[tuple[int, int, int]] = []
    for here in range(points):
        following = (here + 1) % points
        faces += [(here, following, points + following), (here, points + following, points + here)]
    for here in range(half - 1):
        across = points - 1 - here
        faces += [(here, across, across - 1), (here, across - 1, here + 1)]
        faces += [
            (points + here, points + across - 1, points + across),
            (points + here, points + here + 1, points + across - 1),
        ]
    array = np.array(faces)
    return Part(role, rings.reshape(-1, 3), array if end > 0 else array[:, ::-1])
