"""Lens models: how a pinhole's image is bent, as pure functions of normalised coordinates.

A point (X, Y, Z) in camera axes (OpenCV: x right, y down, z forward) has the normalised coordinates
(x, y) = (X / Z, Y / Z). A lens model maps them to *distorted* normalised coordinates (x', y'), and the pixel
is (fx x' + cx, fy y' + cy). In this file pixel centres are at whole numbers, as everywhere in this package:
COLMAP's and nerfstudio's cx, cy count from the corner of the first pixel and are greater by one half.

With r² = x² + y² and θ = atan r (the angle from the optical axis), every model's equation stands at its
function. Names and order of the coefficients are COLMAP's (src/colmap/sensor/models); those of other programs
are mapped to them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from objnerf.dataset.cameras import Intrinsics

#: A distorted coordinate of this size or below is at the optical axis, where r'/r is the limit.
_TINY = 1e-12
#: A lens that bends by less is a pinhole, pixels.
_NO_BEND = 0.01

Coefficients = tuple[float, ...]
Coordinates = Float[np.ndarray, "*batch 2"]


def none(points: Coordinates, coefficients: Coefficients) -> Coordinates:
    """A pinhole: x' = x, y' = y (SIMPLE_PINHOLE, PINHOLE)."""
    return points


def polynomial(points: Coordinates, coefficients: Coefficients) -> Coordinates:
    """Radial polynomial: (x', y') = (x, y) (1 + k1 r² + k2 r⁴ + …) (SIMPLE_RADIAL: k1; RADIAL: k1, k2)."""
    return points * _series(_square(points), coefficients)[..., None]


def brown(points: Coordinates, coefficients: Coefficients) -> Coordinates:
    """Brown's radial and tangential distortion, as OpenCV orders it: k1, k2, p1, p2[, k3, k4] (OPENCV).

    x' = x (1 + k1 r² + k2 r⁴ + k3 r⁶ + k4 r⁸) + 2 p1 x y + p2 (r² + 2 x²), and
    y' = y (…) + p1 (r² + 2 y²) + 2 p2 x y. OpenCV and COLMAP stop at k2 here; k3 and k4 are as nerfstudio has
    them (``_compute_residual_and_jacobian`` in cameras/camera_utils.py).
    """
    k1, k2, p1, p2, *more = coefficients
    square = _square(points)
    return points * _series(square, (k1, k2, *more))[..., None] + _tangential(points, square, p1, p2)


def rational(points: Coordinates, coefficients: Coefficients) -> Coordinates:
    """OpenCV's rational model: k1, k2, p1, p2, k3, k4, k5, k6 (FULL_OPENCV).

    x' = x (1 + k1 r² + k2 r⁴ + k3 r⁶) / (1 + k4 r² + k5 r⁴ + k6 r⁶) + the tangential part of ``brown``
    (OpenCV's calib3d, ``projectPoints``).
    """
    k1, k2, p1, p2, k3, k4, k5, k6 = coefficients
    square = _square(points)
    radial = _series(square, (k1, k2, k3)) / _series(square, (k4, k5, k6))
    return points * radial[..., None] + _tangential(points, square, p1, p2)


def fisheye(points: Coordinates, coefficients: Coefficients) -> Coordinates:
    """Equidistant fisheye with a radial polynomial: r' = θ (1 + k1 θ² + k2 θ⁴ + k3 θ⁶ + k4 θ⁸).

    Kannala and Brandt, "A generic camera model and calibration method…", PAMI 2006, as OpenCV's fisheye
    module has it (OPENCV_FISHEYE: k1 … k4; RADIAL_FISHEYE: k1, k2; SIMPLE_RADIAL_FISHEYE: k1; FISHEYE: none).
    """
    bent = _equidistant(points)
    return bent * _series(_square(bent), coefficients)[..., None]


def field_of_view(points: Coordinates, coefficients: Coefficients) -> Coordinates:
    """The one-angle model: r' = atan(2 r tan(ω / 2)) / ω (FOV).

    Devernay and Faugeras, "Straight lines have to be straight", Machine Vision and Applications, 2001.
    """
    (omega,) = coefficients
    if abs(omega) < 1e-6:
        return points
    radius = np.sqrt(_square(points))
    slope = 2 * np.tan(omega / 2)
    factor = np.arctan(radius * slope) / (np.maximum(radius, _TINY) * omega)
    return points * np.where(radius > _TINY, factor, slope / omega)[..., None]


def thin_prism_fisheye(points: Coordinates, coefficients: Coefficients) -> Coordinates:
    """Fisheye with tangential and thin-prism terms: k1, k2, p1, p2, k3, k4, sx1, sy1 (THIN_PRISM_FISHEYE).

    With (u, v) = (x, y) θ / r and ρ² = u² + v²: x' = u (1 + k1 ρ² + k2 ρ⁴ + k3 ρ⁶ + k4 ρ⁸) + 2 p1 u v +
    p2 (ρ² + 2 u²) + sx1 ρ², and y' alike with sy1 (Weng, Cohen and Herniou, PAMI 1992).
    """
    k1, k2, p1, p2, k3, k4, sx1, sy1 = coefficients
    bent = _equidistant(points)
    square = _square(bent)
    prism = square[..., None] * np.array([sx1, sy1])
    return bent * _series(square, (k1, k2, k3, k4))[..., None] + _tangential(bent, square, p1, p2) + prism


def rad_tan_thin_prism_fisheye(points: Coordinates, coefficients: Coefficients) -> Coordinates:
    """Project Aria's Fisheye624: k0 … k5, p0, p1, s0 … s3 (RAD_TAN_THIN_PRISM_FISHEYE).

    With (u, v) = (x, y) θ / r · (1 + k0 θ² + … + k5 θ¹²) and ρ² = u² + v²:
    x' = u + p0 (ρ² + 2 u²) + 2 p1 u v + s0 ρ² + s1 ρ⁴ and y' = v + p1 (ρ² + 2 v²) + 2 p0 u v + s2 ρ² + s3 ρ⁴
    (projectaria_tools, camera_intrinsic_models).
    """
    radial, (p0, p1, s0, s1, s2, s3) = coefficients[:6], coefficients[6:]
    bent = fisheye(points, radial)
    square = _square(bent)
    prism = square[..., None] * np.array([s0, s2]) + (square**2)[..., None] * np.array([s1, s3])
    return bent + _tangential(bent, square, p1, p0) + prism


def division(points: Coordinates, coefficients: Coefficients) -> Coordinates:
    """The division model, which is closed in the other direction: r = r' / (1 + k r'²) (DIVISION).

    Its inverse is r' = 2 r / (1 + √(1 - 4 k r²)), and there is none where the root is negative (Fitzgibbon,
    CVPR 2001).
    """
    (k,) = coefficients
    root = 1 - 4 * k * _square(points)
    factor = 2 / (1 + np.sqrt(np.where(root >= 0, root, np.nan)))
    return points * factor[..., None]


def unified(points: Coordinates, coefficients: Coefficients) -> Coordinates:
    """The enhanced unified model: (x', y') = (x, y) / (α √(β r² + 1) + 1 - α) (EUCM: α, β).

    Khomutenko, Garcia and Martinet, "An Enhanced Unified Camera Model", RA-L 2016.
    """
    alpha, beta = coefficients
    rho = beta * _square(points) + 1
    below = alpha * np.sqrt(np.where(rho >= 0, rho, np.nan)) + 1 - alpha
    return points / np.where(below > _TINY, below, np.nan)[..., None]


def f_theta(points: Coordinates, coefficients: Coefficients) -> Coordinates:
    """NVIDIA's f-theta: the angle is a polynomial of the radius in pixels, θ = p0 + p1 R + … + p4 R⁴.

    The coordinates here are r' = p1 R, so that a lens of focal lengths 1 / p1 has pixels R from its centre
    (instant-ngp, ``f_theta_undistortion`` in common_device.h). Solved by Newton's method; nan where the angle
    is below p0 or the polynomial does not rise.
    """
    coefficients = (*coefficients, *[0.0] * (5 - len(coefficients)))
    angle = np.arctan(np.sqrt(_square(points)))
    polynomial_ = np.polynomial.Polynomial(coefficients)
    slope = polynomial_.deriv()
    pixels = (angle - coefficients[0]) / coefficients[1]
    for _ in range(30):
        rise = slope(pixels)
        pixels = pixels - (polynomial_(pixels) - angle) / np.where(rise > 0, rise, np.nan)
    solved = (np.abs(polynomial_(pixels) - angle) < 1e-9) & (pixels >= 0)
    radius = np.sqrt(_square(points))
    factor = np.where(solved, pixels * coefficients[1], np.nan) / np.maximum(radius, _TINY)
    return points * np.where(radius > _TINY, factor, 1.0)[..., None]


#: The models by name (COLMAP's; BROWN is nerfstudio's OPENCV with k3 and k4, F_THETA is instant-ngp's), with
#: the number of coefficients that each takes.
MODELS: dict[str, tuple[Callable[[Coordinates, Coefficients], Coordinates], int]] = {
    "SIMPLE_PINHOLE": (none, 0),
    "PINHOLE": (none, 0),
    "SIMPLE_RADIAL": (polynomial, 1),
    "RADIAL": (polynomial, 2),
    "OPENCV": (brown, 4),
    "BROWN": (brown, 6),
    "FULL_OPENCV": (rational, 8),
    "OPENCV_FISHEYE": (fisheye, 4),
    "RADIAL_FISHEYE": (fisheye, 2),
    "SIMPLE_RADIAL_FISHEYE": (fisheye, 1),
    "SIMPLE_FISHEYE": (fisheye, 0),
    "FISHEYE": (fisheye, 0),
    "FOV": (field_of_view, 1),
    "THIN_PRISM_FISHEYE": (thin_prism_fisheye, 8),
    "RAD_TAN_THIN_PRISM_FISHEYE": (rad_tan_thin_prism_fisheye, 12),
    "SIMPLE_DIVISION": (division, 1),
    "DIVISION": (division, 1),
    "EUCM": (unified, 2),
    "F_THETA": (f_theta, 5),
}


@dataclass(frozen=True)
class Lens:
    """A camera of any model, as a source describes it.

    Attributes:
        model: a name of ``MODELS``.
        width, height: the image's size, pixels.
        fx, fy: focal lengths, pixels.
        cx, cy: the principal point, pixels; pixel centres are at whole numbers.
        coefficients: of the distortion, in the order of the model's function.
    """

    model: str
    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    coefficients: Coefficients = ()

    @classmethod
    def pinhole(cls, intrinsics: Intrinsics) -> "Lens":
        """The lens of a pinhole."""
        size = intrinsics.width, intrinsics.height
        return cls("PINHOLE", *size, intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy)

    @property
    def straight(self) -> bool:
        """Whether it is a pinhole: it bends no place along the image's edge by a hundredth of a pixel."""
        x = (np.array([0.0, 0.5, 1.0]) * (self.width - 1) - self.cx) / self.fx
        y = (np.array([0.0, 0.5, 1.0]) * (self.height - 1) - self.cy) / self.fy
        edge = np.stack(np.meshgrid(x, y), axis=-1)
        bend = np.abs(self.distort(edge) - edge) * [self.fx, self.fy]
        return bool((bend < _NO_BEND).all())

    def intrinsics(self) -> Intrinsics:
        """The same pinhole in our terms, its distortion left out; it should be ``straight``."""
        return Intrinsics(self.width, self.height, self.fx, self.fy, *self.off_centre)

    @property
    def off_centre(self) -> tuple[float, float]:
        """How far the principal point is right of the image's middle and below it, pixels."""
        return self.cx - (self.width - 1) / 2, self.cy - (self.height - 1) / 2

    def distort(self, points: Coordinates) -> Coordinates:
        """Distorted normalised coordinates of normalised coordinates; nan where the model has none."""
        return MODELS[self.model][0](points, self.coefficients)

    def project(self, points: Coordinates) -> Coordinates:
        """Pixel (column, row) of normalised coordinates (X / Z, Y / Z); nan where the model has none."""
        return self.distort(points) * np.array([self.fx, self.fy]) + np.array([self.cx, self.cy])

    def scaled(self, width: int, height: int) -> "Lens":
        """The lens of the same image at another size in pixels, each side scaled by itself."""
        x, y = width / self.width, height / self.height
        corner = (self.cx + 0.5) * x - 0.5, (self.cy + 0.5) * y - 0.5
        return replace(
            self, width=width, height=height, fx=self.fx * x, fy=self.fy * y, cx=corner[0], cy=corner[1]
        )

    def turned(self) -> "Lens":
        """The lens of the image turned clockwise by a quarter: what was right is down, what was down left.

        With R the turn (x, y) → (-y, x), R f(R⁻¹ n) is the turned model. All radial terms stay; the
        tangential ones are r² t + 2 (t · n) n with t = (p2, p1), and those of the thin prism s r² and s r⁴,
        so that the vectors t and s turn along.
        """
        c = self.coefficients
        if self.model in ("OPENCV", "BROWN", "FULL_OPENCV"):
            c = (*c[:2], c[3], -c[2], *c[4:])
        elif self.model == "THIN_PRISM_FISHEYE":
            c = (*c[:2], c[3], -c[2], *c[4:6], -c[7], c[6])
        elif self.model == "RAD_TAN_THIN_PRISM_FISHEYE":
            c = (*c[:6], -c[7], c[6], -c[10], -c[11], c[8], c[9])
        centre = self.height - 1 - self.cy, self.cx
        return Lens(self.model, self.height, self.width, self.fy, self.fx, *centre, c)

    def central_focal(self) -> float:
        """Pixels that a unit of normalised coordinates takes up at the optical axis, both axes' mean."""
        if self.straight:
            return float(np.sqrt(self.fx * self.fy))
        step = 1e-5
        ends = self.project(step * np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
        columns, rows = (ends[0] - ends[1]) / (2 * step), (ends[2] - ends[3]) / (2 * step)
        return float(np.sqrt(abs(columns[0] * rows[1] - columns[1] * rows[0])))


def _square(points: Coordinates) -> Float[np.ndarray, "*batch"]:
    """r² of each point."""
    return np.asarray((points**2).sum(axis=-1))


def _series(square: Float[np.ndarray, "*batch"], coefficients: Coefficients) -> Float[np.ndarray, "*batch"]:
    """1 + c1 s + c2 s² + …, by Horner's rule."""
    total = np.zeros_like(square)
    for coefficient in reversed(coefficients):
        total = (total + coefficient) * square
    return np.asarray(1 + total)


def _tangential(
    points: Coordinates, square: Float[np.ndarray, "*batch"], p1: float, p2: float
) -> Coordinates:
    """(2 p1 x y + p2 (r² + 2 x²), 2 p2 x y + p1 (r² + 2 y²))."""
    x, y = points[..., 0], points[..., 1]
    return np.stack(
        [2 * p1 * x * y + p2 * (square + 2 * x**2), 2 * p2 * x * y + p1 * (square + 2 * y**2)], axis=-1
    )


def _equidistant(points: Coordinates) -> Coordinates:
    """(x, y) θ / r: the ideal equidistant fisheye."""
    radius = np.sqrt(_square(points))
    factor = np.arctan(radius) / np.maximum(radius, _TINY)
    return points * np.where(radius > _TINY, factor, 1.0)[..., None]
