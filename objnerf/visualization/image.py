"""Cameras as a still picture: lines projected by hand and drawn with pillow."""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from objnerf.dataset.cameras import Intrinsics, frustum_corners, look_at, project
from objnerf.dataset.files import atomic_path
from objnerf.visualization.camera_plot import AXIS_COLOURS, CameraPlot, LineSet, plot_lines
from objnerf.visualization.contact_sheets import Colour

_OVERSAMPLING = 3
_MARGIN = 28
_FOOTER = 34
_HEADER = 40
_INK = (34, 40, 49)
_FAINT = (112, 120, 132)
_WIDTHS = {"ground": 1.0, "plumb line": 1.0, "locality box": 1.6, "camera": 1.8}


def draw_cameras(plot: CameraPlot, *, size: tuple[int, int] = (1200, 900)) -> Image.Image:
    """Draw a plot as seen from the front, a little to the right and above; world z points up in the picture.

    Args:
        size: width and height in pixels.
    """
    width, height = size
    lines = plot_lines(plot)
    view, spectator = _spectator(lines, width, height)
    scale = _OVERSAMPLING
    canvas = Image.new("RGBA", (width * scale, height * scale), "white")

    faces = _image_planes(plot)
    veil = Image.new("RGBA", canvas.size, (255, 255, 255, 0))
    veil_draw = ImageDraw.Draw(veil)
    for corners, colour, strong in faces:
        xy, depth = project(corners, view, spectator)
        if (depth > 0).all():
            veil_draw.polygon([tuple(p) for p in (xy * scale).tolist()], fill=(*colour, 90 if strong else 30))

    draw = ImageDraw.Draw(canvas)
    for segment, colour, line_width in _far_to_near(lines, view, spectator):
        draw.line(
            [tuple(p) for p in (segment * scale).tolist()], fill=colour, width=round(line_width * scale)
        )
    canvas = Image.alpha_composite(canvas, veil)
    picture = canvas.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    _letter(picture, plot, view, spectator)
    return picture


def write_png(plot: CameraPlot, path: Path) -> Path:
    """Write `draw_cameras` as PNG. Atomic."""
    picture = draw_cameras(plot)
    with atomic_path(path) as partial:
        picture.save(partial, format="PNG", optimize=True)
    return path


def _spectator(lines: list[LineSet], width: int, height: int) -> tuple[Intrinsics, Float[np.ndarray, "4 4"]]:
    """Intrinsics and pose (OpenCV axes) of a spectator who sees all lines, filling the image."""
    points = np.concatenate([line_set.segments.reshape(-1, 3) for line_set in lines])
    # One far-off camera must not shrink the rest to a dot: outliers may leave the image.
    low, high = np.percentile(points, [0.5, 99.5], axis=0)
    centre = (low + high) / 2
    radius = max(float(np.linalg.norm(high - low)) / 2, 1e-6)
    direction = np.array([0.5, -1.0, 0.5])
    spectator = look_at(centre + 3.6 * radius * direction / np.linalg.norm(direction), centre)
    inside = points[((points >= low - 1e-9) & (points <= high + 1e-9)).all(axis=1)]
    unit = Intrinsics(width, height, 1.0, 1.0)
    xy, _ = project(inside, unit, spectator)
    xy = xy - [unit.cx, unit.cy]
    low_xy, high_xy = xy.min(axis=0), xy.max(axis=0)
    room = np.array([width - 2 * _MARGIN, height - 2 * _MARGIN - _HEADER - _FOOTER])
    focal = float((room / np.maximum(high_xy - low_xy, 1e-9)).min())
    # Shift the spectator sideways so that the drawing sits in the middle of the room left by the captions.
    middle = (low_xy + high_xy) / 2
    wanted = np.array([0.0, (_HEADER - _FOOTER) / 2 / focal])
    distance = 3.6 * radius
    offset = (middle - wanted) * distance
    spectator[:3, 3] += spectator[:3, 0] * offset[0] + spectator[:3, 1] * offset[1]
    return Intrinsics(width, height, focal, focal), spectator


def _far_to_near(
    lines: list[LineSet], view: Intrinsics, spectator: Float[np.ndarray, "4 4"]
) -> list[tuple[Float[np.ndarray, "2 2"], Colour, float]]:
    """Projected segments in the order in which they are painted: the ground first, then by depth."""
    pieces = []
    for line_set in lines:
        width = _WIDTHS.get(line_set.part, 2.4 if line_set.part.startswith("world") else 1.6)
        xy, depth = project(line_set.segments, view, spectator)
        for segment, ends in zip(xy, depth, strict=True):
            # A line that passes the spectator has no end in the image.
            if ends.min() > 1e-6 and np.abs(segment).max() < 1e5:
                pieces.append(
                    (
                        line_set.part not in ("ground", "plumb line"),
                        -float(ends.mean()),
                        segment,
                        line_set.colour,
                        width,
                    )
                )
    pieces.sort(key=lambda piece: piece[:2])
    return [(segment, colour, width) for _, _, segment, colour, width in pieces]


def _image_planes(plot: CameraPlot) -> list[tuple[Float[np.ndarray, "4 3"], Colour, bool]]:
    """Corners (world units), colour and whether it is an input view, for each camera's image plane."""
    return [
        (
            frustum_corners(plot.intrinsics_of(camera), camera.world_from_camera, plot.frustum_depth),
            camera.colour,
            camera.order == 0,
        )
        for camera in plot.cameras
    ]


def _letter(
    picture: Image.Image, plot: CameraPlot, view: Intrinsics, spectator: Float[np.ndarray, "4 4"]
) -> None:
    """Write title, axis letters, legend and, where they are few, the cameras' names."""
    draw = ImageDraw.Draw(picture)
    title, text, small = (ImageFont.load_default(points) for points in (22, 14, 12))
    n_cameras, n_scenes = len(plot.cameras), len(plot.scenes)
    draw.text((_MARGIN, 14), f"Cameras of {plot.name}", fill=_INK, font=title)
    summary = plot.summary
    if plot.left_out:
        summary += f", {plot.left_out} not shown"
    if plot.skipped:
        summary += f", {len(plot.skipped)} unreadable"
    draw.text((picture.width - _MARGIN, 18), summary, fill=_FAINT, font=text, anchor="ra")
    for axis in range(3):
        xy, depth = project(0.56 * plot.obj_scale * np.eye(3)[axis], view, spectator)
        if depth > 0:
            draw.text(tuple(xy.tolist()), "xyz"[axis], fill=AXIS_COLOURS[axis], font=text, anchor="mm")
    if n_cameras <= 8:
        for camera in plot.cameras:
            xy, depth = project(camera.world_from_camera[:3, 3], view, spectator)
            if depth > 0:
                draw.text((xy[0] + 7, xy[1] - 7), camera.stem, fill=camera.colour, font=small, anchor="ls")
    colours = {camera.group: camera.colour for camera in plot.cameras}
    if len(colours) <= 24 and n_scenes > 1:
        for row, (group, colour) in enumerate(colours.items()):
            draw.text((_MARGIN, _HEADER + 10 + 17 * row), group, fill=colour, font=small)
    legend = (
        f"box: locality box ±{plot.obj_scale:g}   ·   grid: ground z = 0, side {2 * plot.ground_half:.3g}   "
        "·   camera axes: x right (red), y down (green), z forward (blue)   ·   roof: upper edge   ·   "
        "filled: input view"
    )
    draw.text((_MARGIN, picture.height - 26), legend, fill=_FAINT, font=small)
