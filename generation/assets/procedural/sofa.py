"""Sofas and armchairs: one to four seats, arms of several kinds, cushions, a chaise, feet."""

from dataclasses import dataclass

import numpy as np

from generation.assets.procedural.legs import corners, legs
from generation.assets.procedural.solids import Number, Part, beam, box, cushion, frustum, loft

ARMS = ("block", "rolled", "sloped", "slim", "wood", "none", "flared")
BACKS = ("cushions", "tight", "wing", "low", "round", "channels")
FEET = ("square", "tapered", "turned", "splayed", "hairpin", "plinth", "sled")


@dataclass(frozen=True)
class Sofa:
    """One sofa or armchair, lengths in centimetres.

    Attributes:
        arms: one of ARMS.
        back: one of BACKS.
        feet: one of FEET.
        seats: 1 to 4.
        seat_width: of one seat.
        seat_depth: front to back.
        seat_height: of the sitting surface.
        cushion: thickness of a seat cushion.
        back_height: above the seat.
        back_lean: degrees.
        arm_height: above the seat.
        arm_width: thickness of an arm.
        feet_height: of the feet.
        chaise: which end is long: -1, 0 for none, 1.
        pillows: how many lie on it.
        softness: radius of the cushions' edges.
    """

    arms: str
    back: str
    feet: str
    seats: int
    seat_width: float
    seat_depth: float
    seat_height: float
    cushion: float
    back_height: float
    back_lean: float
    arm_height: float
    arm_width: float
    feet_height: float
    chaise: int
    pillows: int
    softness: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Sofa":
        """Choose a sofa; four in ten are armchairs."""
        seats = int(rng.choice([1, 2, 3, 4], p=[0.4, 0.28, 0.24, 0.08]))
        return cls(
            arms=str(rng.choice(ARMS)),
            back=str(rng.choice(BACKS)),
            feet=str(rng.choice(FEET)),
            seats=seats,
            seat_width=float(rng.uniform(54, 74) if seats == 1 else rng.uniform(52, 68)),
            seat_depth=float(rng.uniform(52, 70)),
            seat_height=float(rng.uniform(36, 47)),
            cushion=float(rng.uniform(8, 18)),
            back_height=float(rng.uniform(26, 58)),
            back_lean=float(rng.uniform(4, 16)),
            arm_height=float(rng.uniform(10, 26)),
            arm_width=float(rng.uniform(8, 24)),
            feet_height=float(rng.uniform(4, 18)),
            chaise=int(rng.choice([-1, 0, 0, 0, 1])) if seats >= 3 else 0,
            pillows=int(rng.integers(0, 4)) if seats > 1 else int(rng.integers(0, 2)),
            softness=float(rng.uniform(1.5, 6.5)),
        )

    def build(self) -> list[Part]:
        """Closed parts."""
        width = self.seats * self.seat_width
        parts = [*self._body(width), *self._seat_cushions(width), *self._back(width), *self._pillows(width)]
        if self.arms != "none":
            parts += self._arms(width)
        return parts + self._feet(width)

    @property
    def _arm(self) -> float:
        thin = {"slim": 0.45, "wood": 0.35, "none": 0.0}
        return self.arm_width * thin.get(self.arms, 1.0)

    @property
    def _front(self) -> float:
        return -self.seat_depth / 2

    @property
    def _back_thickness(self) -> float:
        return 16.0 if self.back != "low" else 12.0

    def _body(self, width: Number) -> list[Part]:
        bottom, top = self.feet_height, self.seat_height - self.cushion
        if self.arms == "wood":
            bottom = max(bottom, top - 9.0)
        depth = self.seat_depth + self._back_thickness
        centre_y = self._front + depth / 2
        height = top - bottom + 1.0
        parts = [cushion("fabric", (0, centre_y, bottom + height / 2), (width, depth, height), 1.5, cells=1)]
        if self.chaise:
            reach = 0.75 * self.seat_depth
            x = self.chaise * (width / 2 - self.seat_width / 2)
            centre = (x, self._front - reach / 2 + 2, bottom + height / 2)
            parts.append(cushion("fabric", centre, (self.seat_width, reach + 4, height), 1.5, cells=1))
        return parts

    def _seat_cushions(self, width: Number) -> list[Part]:
        parts = []
        for index in range(self.seats):
            x = -width / 2 + (index + 0.5) * self.seat_width
            front = self._front - 1.5
            if self.chaise and index == (0 if self.chaise < 0 else self.seats - 1):
                front -= 0.75 * self.seat_depth
            depth = self.seat_depth / 2 - front
            centre = (x, front + depth / 2, self.seat_height - self.cushion / 2)
            size = (self.seat_width - 0.6, depth, self.cushion)
            parts.append(cushion("fabric", centre, size, self.softness, crown=0.12 * self.cushion))
        return parts

    def _back(self, width: Number) -> list[Part]:
        """All of the back, leaning about the rear edge of the seat."""
        height = self.cushion + self.back_height * (0.62 if self.back == "low" else 1.0)
        parts = self._back_frame(width, height)
        if self.back == "cushions":
            parts += self._back_cushions(width, height)
        if self.back == "channels":
            parts += self._back_channels(width, height)
        if self.back == "wing" and self.arms != "none":
            parts += self._wings(width, height)
        pivot = (0.0, self.seat_depth / 2, self._back_bottom)
        return [part.turned("x", -self.back_lean, about=pivot) for part in parts]

    @property
    def _back_bottom(self) -> float:
        return self.seat_height - self.cushion

    def _back_frame(self, width: Number, height: Number) -> list[Part]:
        base_y, bottom, thick = self.seat_depth / 2, self._back_bottom, self._back_thickness
        frame_height = height * (0.82 if self.back == "cushions" else 1.0)
        if self.back == "round":
            rings = []
            for a in np.linspace(-1, 1, 15):
                up = bottom + frame_height * (0.62 + 0.38 * np.cos(a * np.pi / 2))
                profile = [
                    (-thick / 2, bottom),
                    (thick / 2, bottom),
                    (thick / 2, up - 3),
                    (0, up),
                    (-thick / 2, up - 3),
                ]
                rings.append([(a * width / 2, base_y + thick / 2 + y, z) for y, z in profile])
            return [loft("fabric", np.array(rings))]
        size = (width, thick * (0.6 if self.back == "cushions" else 1.0), frame_height)
        set_back = thick * 0.2 if self.back == "cushions" else 0
        centre = (0, base_y + thick / 2 + set_back, bottom + frame_height / 2)
        return [cushion("fabric", centre, size, min(4.0, self.softness), cells=1)]

    def _back_cushions(self, width: Number, height: Number) -> list[Part]:
        """A loose cushion for each seat."""
        parts = []
        rise = height - self.cushion + 3
        for index in range(self.seats):
            x = -width / 2 + (index + 0.5) * self.seat_width
            lying = cushion("fabric", (0, 0, 0), (self.seat_width - 1.5, rise, 13), self.softness + 1, 3.5)
            place = (x, self.seat_depth / 2 + 1, self.seat_height + rise / 2 - 1)
            parts.append(lying.turned("x", 90).moved(*place))
        return parts

    def _back_channels(self, width: Number, height: Number) -> list[Part]:
        """Upright ribs of upholstery, four for each seat."""
        parts = []
        count = 4 * self.seats
        step = width / count
        rise = height - self.cushion + 2
        for index in range(count):
            x = -width / 2 + (index + 0.5) * step
            lying = cushion("fabric", (0, 0, 0), (step, rise, 7), 3.2, segments=2, cells=1)
            place = (x, self.seat_depth / 2 + 1.5, self.seat_height + rise / 2 - 1)
            parts.append(lying.turned("x", 90).moved(*place))
        return parts

    def _wings(self, width: Number, height: Number) -> list[Part]:
        """The sides of a wing chair's back, above the arms."""
        rise = height + 1
        size = (max(self._arm, 7), 24, rise)
        y, z = self.seat_depth / 2 - 2, self._back_bottom + rise / 2
        ends = (side * (width / 2 + self._arm / 2) for side in (-1, 1))
        return [cushion("fabric", (x, y, z), size, 3.0, cells=1) for x in ends]

    def _arms(self, width: Number) -> list[Part]:
        make = {
            "wood": self._wooden_arm,
            "block": self._block_arm,
            "slim": self._block_arm,
            "rolled": self._rolled_arm,
            "sloped": self._sloped_arm,
            "flared": self._flared_arm,
        }[self.arms]
        return [part for side in (-1, 1) for part in make(side * (width / 2 + self._arm / 2), side)]

    @property
    def _arm_depth(self) -> float:
        return self.seat_depth + 0.7 * self._back_thickness

    @property
    def _arm_middle(self) -> float:
        return self._front + self._arm_depth / 2

    @property
    def _arm_top(self) -> float:
        return self.seat_height + self.arm_height

    def _wooden_arm(self, x: Number, side: int) -> list[Part]:
        """An open frame of two posts, an armrest and a rail."""
        front, rear = self._front, self._arm_middle + self._arm_depth / 2
        top, rail = self._arm_top, self.feet_height + 5
        post = (3.2, 4.2)
        return [
            beam("wood", (x, front + 3, 0), (x, front + 3, top - 2), post),
            beam("wood", (x, rear - 4, 0), (x, rear - 4, top - 2), post),
            box("wood", (x, self._arm_middle, top - 1), (6.5, self._arm_depth + 3, 3.0), 0.8),
            beam("wood", (x, front, rail), (x, rear, rail), (3.0, 5.0)),
        ]

    def _block_arm(self, x: Number, side: int) -> list[Part]:
        height = self._arm_top - self.feet_height
        centre = (x, self._arm_middle, self.feet_height + height / 2)
        size = (self._arm, self._arm_depth, height)
        return [cushion("fabric", centre, size, 0.8 * self.softness, cells=1)]

    def _rolled_arm(self, x: Number, side: int) -> list[Part]:
        """A wall with a cylinder on top that stands out a little."""
        depth, middle, top = self._arm_depth, self._arm_middle, self._arm_top
        radius = 0.5 * self._arm + 2
        lower = top - self.feet_height - radius
        wall = box("fabric", (x, middle, self.feet_height + lower / 2), (self._arm, depth, lower), 0.6)
        front, rear = middle - depth / 2 - 1, middle + depth / 2
        roll = frustum("fabric", (x, front, top - radius), (x, rear, top - radius), radius)
        return [wall, roll.moved(side * 1.5)]

    def _sloped_arm(self, x: Number, side: int) -> list[Part]:
        """A wall that rises from the seat's front to the back."""
        depth, middle, bottom = self._arm_depth, self._arm_middle, self.feet_height
        front, rear = self.seat_height + 2, self._arm_top + 4
        half = self._arm / 2
        heights = (
            (middle - depth / 2, front),
            (middle, (front + rear) / 2 + 2),
            (middle + depth / 2, rear),
        )
        rings = [
            [(x + half, y, bottom), (x - half, y, bottom), (x - half, y, up), (x + half, y, up)]
            for y, up in heights
        ]
        return [loft("fabric", np.array(rings))]

    def _flared_arm(self, x: Number, side: int) -> list[Part]:
        """A wall that leans outwards above the seat."""
        depth, top = self._arm_depth, self._arm_top
        flare = side * 0.45 * self.arm_height
        half = self._arm / 2
        rings = []
        for z, lean in ((self.feet_height, 0.0), (self.seat_height, 0.15), (top - 2, 0.85), (top, 1.0)):
            shrink = half * (0.75 if z == top else 1.0)
            ring = [(-shrink, depth / 2), (-shrink, -depth / 2), (shrink, -depth / 2), (shrink, depth / 2)]
            rings.append([(x + dx + lean * flare, self._arm_middle + dy, z) for dx, dy in ring])
        return [loft("fabric", np.array(rings))]

    def _feet(self, width: Number) -> list[Part]:
        depth = self.seat_depth + self._back_thickness
        x, y = width / 2 + 0.3 * self._arm - 4, depth / 2 - 5
        centre = self._front + depth / 2
        if self.arms == "wood":
            feet = []
        elif self.feet == "plinth":
            feet = [box("wood", (0, centre, self.feet_height / 2), (2 * x, 2 * y, self.feet_height + 0.4))]
        elif self.feet == "sled":
            feet = []
            for side in (-1, 1):
                for end in (-1, 1):
                    feet.append(
                        beam(
                            "metal",
                            (side * x, centre + end * y, 0),
                            (side * x, centre + end * y, self.feet_height + 1),
                            (2.0, 2.0),
                        )
                    )
                feet.append(beam("metal", (side * x, centre - y, 1), (side * x, centre + y, 1), (2.0, 2.0)))
        else:
            splay = 0.5 * self.feet_height
            feet = legs(
                "wood",
                self.feet,
                corners(x - splay * 0.5, y - splay * 0.5),
                self.feet_height + 0.8,
                4.5,
                splay,
            )
            feet = [part.moved(y=centre) for part in feet]
        if self.chaise:
            reach = self._front - 0.75 * self.seat_depth + 6
            outer = self.chaise * (width / 2 - 6)
            inner = self.chaise * (width / 2 - self.seat_width + 6)
            bottom = self.feet_height if self.arms != "wood" else self.seat_height - self.cushion - 9
            feet += [
                frustum("wood", (end, reach, 0), (end, reach, bottom + 1), 2.0) for end in (outer, inner)
            ]
        return feet

    def _pillows(self, width: Number) -> list[Part]:
        parts = []
        side = min(0.72 * self.seat_width, self.back_height + 6, 44)
        for index in range(self.pillows):
            end = -1 if index % 2 else 1
            x = end * (width / 2 - side * (0.5 + 0.62 * (index // 2))) if self.seats > 1 else 0.0
            soft = cushion("accent", (0, 0, 0), (side, side, 9), 4.3, crown=4.0)
            tilted = soft.turned("z", 45 * (index == 2)).turned("x", 68).turned("z", -end * 12.0)
            y = self.seat_depth / 2 - 9.5
            low = float(tilted.vertices[:, 2].min())
            parts.append(tilted.moved(x, y, self.seat_height + 0.08 * self.cushion - low))
        return parts
