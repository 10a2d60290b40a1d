"""Legs that chairs, tables, sofas and the like have in common."""

from collections.abc import Sequence

import numpy as np

from generation.assets.procedural.solids import Number, Part, beam, frustum, lathe, tube

LEG_STYLES = ("square", "tapered", "round", "splayed", "turned", "hairpin", "cabriole")
Point = tuple[float, float]

_CORNERS = ((-1, -1), (1, -1), (1, 1), (-1, 1))


def corners(x: Number, y: Number) -> list[Point]:
    """The four corners of a rectangle of half sides x and y, counter-clockwise from the front left."""
    return [(sx * x, sy * y) for sx, sy in _CORNERS]


def splay_of(style: str, splay: Number) -> float:
    """How far the feet of a style stand out, when its most splayed kind stands out by `splay`."""
    shares = {"square": 0.0, "round": 0.15, "tapered": 0.3, "turned": 0.2, "splayed": 1.0, "hairpin": 0.8}
    return shares.get(style, 0.0) * splay


def legs(
    role: str, style: str, heads: Sequence[Point], top: Number, thickness: Number, splay: Number = 0.0
) -> list[Part]:
    """A leg below each head.

    Args:
        role: what they are made of; hairpins are always metal.
        style: one of LEG_STYLES.
        heads: where they meet what they carry, as seen from above.
        top: height of the heads.
        thickness: of a leg.
        splay: how far the feet of the style 'splayed' stand out from the middle of all heads.
    """
    middle = np.mean(heads, axis=0)
    out = splay_of(style, splay)
    parts = []
    for head_x, head_y in heads:
        direction = np.sign(np.round(np.array([head_x, head_y]) - middle, 6))
        foot = np.array([head_x + direction[0] * out, head_y + direction[1] * out, 0.0])
        head = np.array([head_x, head_y, top])
        parts += _leg(role, style, foot, head, thickness, direction)
    return parts


def _leg(
    role: str, style: str, foot: np.ndarray, head: np.ndarray, thickness: Number, direction: np.ndarray
) -> list[Part]:
    if style == "square":
        return [beam(role, foot, head, (thickness, thickness))]
    if style == "tapered":
        return [beam(role, foot, head, (0.55 * thickness,) * 2, (1.15 * thickness,) * 2)]
    if style == "round":
        return [frustum(role, foot, head, 0.5 * thickness)]
    if style == "splayed":
        return [frustum(role, foot, head, 0.35 * thickness, 0.65 * thickness)]
    along = np.linspace(0, 1, 17)
    if style == "turned":
        radius = (0.42 + 0.18 * np.cos(along * 6 * np.pi) + 0.15 * along) * thickness
        return [tube(role, foot + along[:, None] * (head - foot), radius, sides=12)]
    if style == "cabriole":
        # an S: out at the knee, in at the ankle, out again at the foot
        bow = 0.9 * thickness * np.sin(2 * np.pi * along - 0.5) * np.sin(np.pi * (0.15 + 0.85 * along))
        path = foot + along[:, None] * (head - foot)
        path[:, :2] -= bow[:, None] * direction
        radius = (0.3 + 0.35 * along**2 + 0.25 * np.exp(-(((along - 0.02) / 0.07) ** 2))) * thickness
        path[0, :2], path[0, 2] = path[1, :2], 0.0
        return [tube(role, path, radius, sides=12)]
    wire = 0.22 * thickness + 0.35
    ends = [
        head - np.array([5.0 * (direction[0] or 1.0), 0, 0]),
        head - np.array([0, 5.0 * (direction[1] or 1.0), 0]),
    ]
    return [frustum("metal", foot + np.array([0, 0, wire * 0.2]), end, wire, sides=10) for end in ends]


def pedestal(role: str, top: Number, reach: Number, thickness: Number, curve: Number = 0.5) -> Part:
    """One turned column on a round foot.

    Args:
        role: what it is made of.
        top: height.
        reach: radius of the foot.
        thickness: of the column.
        curve: 0 a plate with a column, 1 a tulip.
    """
    heights = np.linspace(0.03, 1.0, 14)
    flare = 0.5 * thickness + (reach - 0.5 * thickness) * curve * np.exp(-heights * 7)
    flare += 0.5 * thickness * curve * np.clip(heights - 0.75, 0, None) * 8
    profile = [(0.0, 0.0), (reach, 0.0), (reach, 0.018 * top)]
    profile += [(float(radius), float(height * top)) for radius, height in zip(flare, heights, strict=True)]
    return lathe(role, [*profile, (0.0, top)], sides=32)


def star_base(top: Number, reach: Number, arms: int, castors: bool, column: Number = 2.4) -> list[Part]:
    """Column on a star of sloping arms, as of an office chair."""
    parts = [frustum("metal", (0, 0, 7), (0, 0, top), column)]
    for index in range(arms):
        angle = 2 * np.pi * (index + 0.25) / arms
        x, y = reach * np.cos(angle), reach * np.sin(angle)
        parts.append(frustum("metal", (0, 0, 8.5), (x, y, 5.5 if castors else 1.4), 2.2, 1.3, sides=10))
        if castors:
            wheel = [(0.0, 0.0), (1.8, 0.6), (2.4, 2.5), (1.8, 4.6), (0.0, 5.4)]
            parts.append(lathe("plastic", wheel, (x, y, 0), sides=12))
        else:
            parts.append(
                lathe("plastic", [(0.0, 0.0), (1.9, 0.0), (1.6, 1.6), (0.0, 1.6)], (x, y, 0), sides=12)
            )
    return parts


def sled(
    x: Number, y: Number, top: Number, thickness: Number, lean: Number = 0.0, role: str = "metal"
) -> list[Part]:
    """Two closed hoops of square bar, left and right, standing on their lower bars."""
    half = thickness / 2
    parts = []
    for side in (-1, 1):
        foot_x = side * (x + lean)
        front = beam(role, (foot_x, -y, 0), (side * x, -y, top), (thickness, thickness))
        back = beam(role, (foot_x, y, 0), (side * x, y, top), (thickness, thickness))
        lower = beam(role, (foot_x, -y, half), (foot_x, y, half), (thickness, thickness))
        upper = beam(role, (side * x, -y, top - half), (side * x, y, top - half), (thickness, thickness))
        parts += [front, back, lower, upper]
    return parts
