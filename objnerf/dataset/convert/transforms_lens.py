"""The lens of a ``transforms.json``: the keys that nerfstudio and instant-ngp read, as a ``Lens``.

nerfstudio: ``camera_model`` with fl_x, fl_y, cx, cy, w, h, k1 … k4, p1, p2 or ``distortion_params``, in the
file or in a frame (nerfstudio_dataparser.py). instant-ngp: the same, ``is_fisheye``, ``ftheta_p0`` …
``ftheta_p4``, and fields of view in radians (``camera_angle_x``) or degrees (``x_fov``) (nerf_loader.cu).
"""

import math
from typing import Any

from objnerf.dataset.convert.lenses import MODELS, Lens
from objnerf.errors import InputError

#: What a ``camera_model`` means; nerfstudio reads the coefficients of all perspective ones alike.
_PERSPECTIVE = (
    "OPENCV",
    "PINHOLE",
    "SIMPLE_PINHOLE",
    "PERSPECTIVE",
    "SIMPLE_RADIAL",
    "RADIAL",
    "FULL_OPENCV",
)
_FISHEYE = ("OPENCV_FISHEYE", "FISHEYE", "RADIAL_FISHEYE", "SIMPLE_RADIAL_FISHEYE")
_ARIA = ("FISHEYE624", "RAD_TAN_THIN_PRISM_FISHEYE")
#: Images of all directions, for which no pinhole can stand; by the key that says so.
_PANORAMAS = ("equirectangular", "latlong")


def lens_of(content: dict[str, Any], size: tuple[int, int], where: str) -> Lens:
    """The lens of a frame.

    Args:
        content: the frame's keys over the file's.
        size: width and height of the image, which count where the keys say none.
    Raises:
        InputError: a model or a number that cannot be used.
    """
    _refuse_panoramas(content, where)
    width, height = integer(content, "w", size[0], where), integer(content, "h", size[1], where)
    centre = number(content, "cx", width / 2, where) - 0.5, number(content, "cy", height / 2, where) - 0.5
    if "ftheta_p0" in content:
        return _f_theta(content, width, height, centre, where)
    fx = _focal(content, "x", width, where)
    fy = _focal(content, "y", height, where)
    if fx is None and fy is None:
        raise InputError(
            f"{where}: expected a focal length under 'fl_x' or 'camera_angle_x' (or 'fl_y', "
            "'camera_angle_y', 'x_fov', 'y_fov'), found neither"
        )
    # Square pixels where nothing is said about one of the sides.
    fx, fy = fx or fy, fy or fx
    assert fx is not None
    assert fy is not None
    model, coefficients = _distortion(content, where)
    return Lens(model, width, height, fx, fy, *centre, coefficients)


def _refuse_panoramas(content: dict[str, Any], where: str) -> None:
    name = str(content.get("camera_model", "OPENCV"))
    for key in _PANORAMAS:
        if content.get(key):
            raise InputError(
                f"{where}: {key!r} says that the images show all directions (equirectangular); cut pinhole "
                "views out of them first"
            )
    if name not in (*_PERSPECTIVE, *_FISHEYE, *_ARIA, *MODELS):
        raise InputError(
            f"{where}: camera_model {name!r} cannot be undistorted to a pinhole; expected one of "
            f"{', '.join((*_PERSPECTIVE, _FISHEYE[0], _ARIA[0]))}"
        )


def _distortion(content: dict[str, Any], where: str) -> tuple[str, tuple[float, ...]]:
    """Model and coefficients."""
    name = content.get("camera_model", "OPENCV")
    listed = _listed(content, where)
    if name in _ARIA:
        if listed is None or len(listed) != 12:
            raise InputError(
                f"{where}: expected 12 numbers under 'distortion_params' for the camera_model {name!r}, "
                f"found {listed if listed is None else len(listed)}"
            )
        return "RAD_TAN_THIN_PRISM_FISHEYE", listed
    if listed is not None and len(listed) > 6:
        raise InputError(
            f"{where}: expected up to six numbers under 'distortion_params' (k1, k2, k3, k4, p1, p2), found "
            f"{len(listed)}"
        )
    keys = ("k1", "k2", "k3", "k4", "p1", "p2", "k5", "k6")
    k1, k2, k3, k4, p1, p2, k5, k6 = (number(content, key, 0.0, where) for key in keys)
    if listed is not None:
        k1, k2, k3, k4, p1, p2 = (*listed, *[0.0] * (6 - len(listed)))
    if content.get("is_fisheye") or name in _FISHEYE:
        return "OPENCV_FISHEYE", (k1, k2, k3, k4)
    if name == "FULL_OPENCV" or k5 or k6:
        return "FULL_OPENCV", (k1, k2, p1, p2, k3, k4, k5, k6)
    if k3 or k4:
        return "BROWN", (k1, k2, p1, p2, k3, k4)
    return "OPENCV", (k1, k2, p1, p2)


def _listed(content: dict[str, Any], where: str) -> tuple[float, ...] | None:
    """``distortion_params`` as numbers."""
    values = content.get("distortion_params")
    if values is None:
        return None
    if not isinstance(values, list):
        raise InputError(f"{where}: expected a list of numbers under 'distortion_params', found {values!r}")
    return tuple(number({"distortion_params": value}, "distortion_params", 0.0, where) for value in values)


def _f_theta(
    content: dict[str, Any], width: int, height: int, centre: tuple[float, float], where: str
) -> Lens:
    """NVIDIA's f-theta lens."""
    parameters = tuple(number(content, f"ftheta_p{power}", 0.0, where) for power in range(5))
    if not parameters[1] > 0:
        raise InputError(
            f"{where}: expected a positive 'ftheta_p1' (radians a pixel at the centre), found {parameters[1]}"
        )
    return Lens("F_THETA", width, height, 1 / parameters[1], 1 / parameters[1], *centre, parameters)


def _focal(content: dict[str, Any], axis: str, side: int, where: str) -> float | None:
    """A focal length in pixels, said directly or as a field of view."""
    keys = {f"fl_{axis}": 0.0, f"camera_angle_{axis}": 1.0, f"{axis}_fov": math.pi / 180}
    key = next((key for key in keys if key in content), None)
    if key is None:
        return None
    value = number(content, key, 0.0, where)
    if not value > 0:
        raise InputError(f"{where}: expected a positive focal length or angle under {key!r}, found {value}")
    if not keys[key]:
        return value
    angle = value * keys[key]
    if angle >= math.pi:
        remedy = ""
        if key.startswith("camera") and value < 180:
            radians = math.radians(value)
            remedy = f"; {value:g} degrees are {radians:.4g} radians (or write it under '{axis}_fov')"
        unit = "degrees below 180" if key.endswith("fov") else "radians below pi"
        raise InputError(
            f"{where}: expected the field of view under {key!r} in {unit}, found {value:g}{remedy}"
        )
    return side / (2 * math.tan(angle / 2))


def number(content: dict[str, Any], key: str, default: float, where: str) -> float:
    """A finite number under a key.

    Raises:
        InputError: something else is there.
    """
    value = content.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{where}: expected a number under {key!r}, found {value!r}")
    return float(value)


def integer(content: dict[str, Any], key: str, default: int, where: str) -> int:
    """A whole positive number under a key, written as an integer or not.

    Raises:
        InputError: something else is there.
    """
    value = number(content, key, float(default), where)
    if value < 1 or value != int(value):
        raise InputError(f"{where}: expected a whole number of pixels under {key!r}, found {value!r}")
    return int(value)
