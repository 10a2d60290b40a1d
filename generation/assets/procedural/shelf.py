"""Shelves: bookcases, cube shelves, ladder shelves, metal racks and staggered ones, empty or filled."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from generation.assets.procedural.solids import Number, Part, beam, box, frustum, lathe, slab

KINDS = ("bookcase", "bookcase", "cubes", "ladder", "rack", "staggered", "round-posts", "corner")


@dataclass(frozen=True)
class Shelf:
    """One shelf, lengths in centimetres.

    Attributes:
        kind: one of KINDS.
        width: along x.
        depth: front to back.
        height: to the top.
        rows: number of boards above the lowest.
        columns: number of bays side by side.
        board: thickness of a board.
        back: has a closed back.
        feet: height of feet or plinth, 0 for none.
        lean: of a ladder shelf: how far the top stands behind the foot.
        filled: share of the bays that hold something.
        stagger: of staggered shelves: how far the boards stand out by turns.
        contents: chooses what stands on the boards.
        role: what boards are made of.
    """

    kind: str
    width: float
    depth: float
    height: float
    rows: int
    columns: int
    board: float
    back: bool
    feet: float
    lean: float
    filled: float
    stagger: float
    contents: int
    role: str

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Shelf":
        """Choose a shelf, low or high."""
        kind = str(rng.choice(KINDS))
        low = bool(rng.random() < 0.4)
        rows = int(rng.integers(1, 4) if low else rng.integers(3, 7))
        columns = int(rng.integers(1, 4)) if kind in ("bookcase", "cubes") else 1
        cell = float(rng.uniform(28, 40))
        width = columns * cell * float(rng.uniform(0.9, 1.4) if kind == "bookcase" else 1.0)
        if columns == 1 and kind != "corner":
            width = float(rng.uniform(45, 110))
        if kind == "cubes":
            width, columns = columns * cell, columns
        return cls(
            kind=kind,
            width=width,
            depth=float(rng.uniform(24, 42)),
            height=rows * cell * float(1.0 if kind == "cubes" else rng.uniform(0.8, 1.15)),
            rows=rows,
            columns=columns,
            board=float(rng.uniform(1.8, 4.5)),
            back=bool(rng.random() < 0.55) and kind in ("bookcase", "cubes"),
            feet=float(rng.choice([0.0, 3.0, 7.0, 14.0])),
            lean=float(rng.uniform(8, 32)),
            filled=float(rng.choice([0.0, 0.35, 0.6, 0.85])),
            stagger=float(rng.uniform(0.12, 0.34)),
            contents=int(rng.integers(2**31)),
            role=str(rng.choice(["wood", "wood", "paint"])),
        )

    def build(self) -> list[Part]:
        """Closed parts."""
        if self.kind == "ladder":
            return self._ladder()
        if self.kind == "staggered":
            return self._staggered()
        if self.kind == "corner":
            return self._corner()
        if self.kind in ("rack", "round-posts"):
            return self._rack()
        return self._case()

    def _levels(self) -> np.ndarray:
        base = self.feet if self.kind != "rack" else max(self.feet, 6.0)
        return np.linspace(base + self.board / 2, base + self.height - self.board / 2, self.rows + 1)

    def _case(self) -> list[Part]:
        levels, depth = self._levels(), self.depth
        top = self.feet + self.height
        parts = [box(self.role, (0, 0, z), (self.width, depth, self.board), 0.3) for z in levels]
        for column in range(self.columns + 1):
            x = -self.width / 2 + column * self.width / self.columns
            x = float(np.clip(x, (self.board - self.width) / 2, (self.width - self.board) / 2))
            parts.append(
                box(self.role, (x, 0, (self.feet + top) / 2), (self.board, depth - 0.4, self.height), 0.3)
            )
        if self.back:
            centre = (0, depth / 2 - 0.8, (self.feet + top) / 2)
            parts.append(box(self.role, centre, (self.width - 1, 1.0, self.height - 1)))
        if self.feet >= 7:
            for sx in (-1, 1):
                for sy in (-1, 1):
                    x, y = sx * (self.width / 2 - 4), sy * (depth / 2 - 4)
                    parts.append(beam(self.role, (x, y, 0), (x, y, self.feet + 0.5), (2.4, 2.4), (3.6, 3.6)))
        elif self.feet:
            parts.append(box(self.role, (0, 1, self.feet / 2), (self.width - 3, depth - 4, self.feet + 0.4)))
        bay = self.width / self.columns - self.board
        for low, high in pairwise(levels):
            for column in range(self.columns):
                x = -self.width / 2 + (column + 0.5) * self.width / self.columns
                index = len(parts)
                parts += self._things(
                    x, bay, float(low) + self.board / 2, float(high - low) - self.board, index
                )
        return parts

    def _rack(self) -> list[Part]:
        levels = self._levels()
        post = 1.6 + 0.4 * self.board
        top = float(levels[-1]) + (6.0 if self.kind == "rack" else 1.0)
        parts = [box(self.role, (0, 0, z), (self.width, self.depth, self.board), 0.3) for z in levels]
        x, y = self.width / 2 - post, self.depth / 2 - post
        for sx in (-1, 1):
            for sy in (-1, 1):
                if self.kind == "rack":
                    parts.append(box("metal", (sx * (x + post), sy * y, top / 2), (post, post, top)))
                else:
                    knob = [(0.0, 0.0), (1.1, 0.0), (1.4, 3.0)]
                    for z in levels:
                        knob += [(1.2, z - 3), (2.2, z), (1.2, z + 3)]
                    profile = [(r * post / 1.8, z) for r, z in knob if z < top] + [(0.0, top)]
                    parts.append(lathe(self.role, profile, (sx * x, sy * y, 0), sides=12))
        if self.kind == "rack" and self.back is False and self.rows > 2:
            for sign in (-1, 1):
                start = (sign * (x + post), self.depth / 2, float(levels[0]))
                parts.append(beam("metal", start, (-sign * (x + post), self.depth / 2, top - 4), (0.5, 1.6)))
        for low, high in pairwise(levels):
            parts += self._things(
                0, 2 * x - 2, float(low) + self.board / 2, float(high - low) - self.board, len(parts)
            )
        return parts

    def _ladder(self) -> list[Part]:
        half = self.width / 2
        top = self.height
        parts = []
        for side in (-1, 1):
            x = side * half
            parts.append(
                beam(self.role, (x, -self.depth / 2, 0), (x, self.lean - self.depth / 2, top), (2.4, 3.6))
            )
            parts.append(
                beam(
                    self.role,
                    (x, self.depth / 2 + self.lean, 0),
                    (x, self.lean - self.depth / 2 + 4, top),
                    (2.4, 3.0),
                )
            )
        for index, z in enumerate(np.linspace(0.1, 0.94, self.rows + 1) * top):
            share = float(z) / top
            front = -self.depth / 2 + self.lean * share
            rear = self.depth / 2 + self.lean - (self.depth - 4) * share
            centre = (0, (front + rear) / 2, float(z))
            parts.append(box(self.role, centre, (self.width, rear - front + 2, self.board), 0.3))
            if index < self.rows:
                things = self._things(
                    0, self.width - 8, float(z) + self.board / 2, 0.84 * top / self.rows - self.board, index
                )
                shrink = min(1.0, (rear - front) / self.depth)
                parts += [
                    Part(part.role, part.vertices * [1, shrink, 1], part.faces).moved(y=centre[1] * 1.0)
                    for part in things
                ]
        return parts

    def _staggered(self) -> list[Part]:
        levels = self._levels()
        shift = self.stagger * self.width
        parts = []
        for index, z in enumerate(levels):
            side = 1 if index % 2 else -1
            parts.append(box(self.role, (side * shift / 2, 0, z), (self.width, self.depth, self.board), 0.3))
            if index < self.rows:
                rise = float(levels[1] - levels[0])
                for post in (-1, 1):
                    x = post * (self.width / 2 - shift / 2 - self.board) * (0.9 if side == post else 0.55)
                    parts.append(
                        box(self.role, (x, 0, float(z) + rise / 2), (self.board, self.depth * 0.92, rise))
                    )
                bay = 0.5 * self.width
                parts += self._things(
                    side * shift / 4, bay, float(z) + self.board / 2, rise - self.board, index
                )
        if self.feet:
            for sx in (-1, 1):
                x = sx * (self.width / 2 - 5) - shift / 2
                parts.append(box("metal", (x, 0, self.feet / 2), (2.5, self.depth * 0.8, self.feet + 0.4)))
        return parts

    def _corner(self) -> list[Part]:
        """Boards in a corner: quarter discs, triangles or five-sided; between walls or on posts."""
        radius = self.depth + 0.35 * self.width
        style = self.contents % 3
        arc = np.linspace(0, np.pi / 2, 14) if style == 0 else np.array([0, np.pi / 2])
        edge = np.column_stack([np.cos(arc), np.sin(arc)]) * radius
        if style == 2:
            edge = np.array([[1.0, 0.0], [1.0, 0.45], [0.45, 1.0], [0.0, 1.0]]) * radius
        board = np.concatenate([[[0.0, 0.0]], edge])
        half, tall = self.board / 2, self.height + self.feet
        levels = self._levels()
        # boards may shrink towards the top, as those of an étagère
        shrink = np.linspace(1.0, 1.0 if self.back or self.lean < 18 else 0.55, len(levels))
        parts = [
            slab(self.role, board * share, float(z) - half, float(z) + half)
            for z, share in zip(levels, shrink, strict=True)
        ]
        if self.stagger < 0.22:
            reach = radius * float(shrink[-1])
            parts.append(box(self.role, (reach / 2, -half, tall / 2), (reach, self.board, tall), 0.3))
            parts.append(box(self.role, (-half, reach / 2, tall / 2), (self.board, reach, tall), 0.3))
        else:
            for x, y in ((0.06, 0.06), (0.93, 0.04), (0.04, 0.93)):
                foot, head = (
                    (x * radius, y * radius, 0),
                    (x * radius * shrink[-1], y * radius * shrink[-1], tall),
                )
                parts.append(frustum(self.role, foot, head, 1.2 + 0.2 * self.board, sides=12))
        for low, high in pairwise(levels):
            room = float(high - low) - self.board
            things = self._things(0, 0.42 * radius, float(low) + half, room, len(parts))
            scale = np.array([1, 0.38 * radius / self.depth, 1])
            parts += [
                Part(t.role, t.vertices * scale, t.faces).moved(0.3 * radius, 0.3 * radius) for t in things
            ]
        return [part.turned("z", -90) for part in parts]

    def _things(self, x: Number, width: Number, floor: Number, room: Number, index: int) -> list[Part]:
        """Books, boxes or a vase in a bay of a width, standing on `floor` with `room` above."""
        rng = np.random.default_rng([self.contents, index])
        if rng.random() > self.filled or room < 8:
            return []
        kind = rng.choice(["books", "books", "box", "vase"])
        if kind == "box":
            size = (width * rng.uniform(0.5, 0.9), self.depth * 0.72, min(room * rng.uniform(0.45, 0.8), 24))
            return [
                box(str(rng.choice(["accent", "fabric", "linen"])), (x, -1, floor + size[2] / 2), size, 0.8)
            ]
        if kind == "vase":
            tall = min(room * rng.uniform(0.5, 0.85), 32.0)
            body = [
                (0.0, 0.0),
                (0.18, 0.0),
                (0.3, 0.35),
                (0.24, 0.65),
                (0.09, 0.85),
                (0.14, 1.0),
                (0.0, 0.97),
            ]
            profile = [(r * tall, z * tall) for r, z in body]
            return [lathe("accent", profile, (x + width * rng.uniform(-0.25, 0.25), 0, floor), sides=16)]
        parts: list[Part] = []
        left = x - width / 2 + 0.5
        end = x - width / 2 + width * rng.uniform(0.45, 0.95)
        while left < end:
            thick, tall = (
                float(rng.uniform(2.0, 5.5)),
                min(room - 2, float(rng.uniform(0.62, 0.92)) * min(room, 34)),
            )
            if left + thick > x + width / 2:
                break
            deep = self.depth * float(rng.uniform(0.55, 0.75))
            role = str(rng.choice(["fabric", "accent", "linen", "plastic"]))
            centre = (left + thick / 2, self.depth / 2 - deep / 2 - 2.5, floor + tall / 2)
            parts.append(box(role, centre, (thick * 0.94, deep, tall)))
            left += thick
        return parts
