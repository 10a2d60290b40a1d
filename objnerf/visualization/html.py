"""Cameras as an interactive picture: one HTML file that works offline and turns with the mouse."""

import base64
import html
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from objnerf.dataset.cameras import distance_elevation, frustum_corners
from objnerf.dataset.files import write_text
from objnerf.visualization.camera_plot import (
    CameraPlot,
    LineSet,
    PlottedCamera,
    box_lines,
    camera_lines,
    ground_lines,
    plumb_lines,
    world_axes_lines,
)
from objnerf.visualization.contact_sheets import Colour

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Images at the cameras are meshes with a colour at each vertex: beyond this many vertices in all, a browser
# without a fast graphics card turns the scene haltingly.
_MAX_PICTURE_VERTICES = 150_000


#: Lets a page load nothing, from nowhere: what it shows is in the file.
OFFLINE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)


def cameras_figure(plot: CameraPlot, *, height: int | None = None) -> "go.Figure":
    """A plotly figure of a plot's cameras, locality box, ground and axes; world z points up.

    Args:
        height: pixels; default: as high as what the figure stands in.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.add_trace(_line_trace([ground_lines(plot.ground_half)], "ground, z = 0", 1))
    figure.add_trace(_line_trace([box_lines(plot.obj_scale)], f"locality box ±{plot.obj_scale:g}", 3))
    figure.add_trace(_line_trace([plumb_lines(plot)], "plumb lines", 1))
    for lines in world_axes_lines(plot.obj_scale / 2):
        figure.add_trace(_line_trace([lines], lines.part, 6, legend=False))
    _add_axis_letters(figure, plot)
    for name, cameras in _groups(plot).items():
        outline: list[LineSet] = []
        for camera in cameras:
            outline += camera_lines(
                plot.intrinsics_of(camera), camera.world_from_camera, plot.frustum_depth, camera.colour
            )[:1]
        figure.add_trace(_line_trace(outline, name, 3, group=name))
        figure.add_trace(_position_trace(cameras, name))
    shown_axes: dict[str, list[LineSet]] = {}
    for camera in plot.cameras:
        for lines in camera_lines(
            plot.intrinsics_of(camera), camera.world_from_camera, plot.frustum_depth, camera.colour
        )[1:]:
            shown_axes.setdefault(lines.part, []).append(lines)
    for number, (_, of_axis) in enumerate(shown_axes.items()):
        name = "camera axes x, y, z (red, green, blue)"
        figure.add_trace(_line_trace(of_axis, name, 3, group=name, legend=number == 0))
    pictures = _pictures_trace(plot)
    if pictures is not None:
        figure.add_trace(pictures)

    hidden_axis = {"visible": False, "showspikes": False}
    figure.update_layout(
        height=height,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        paper_bgcolor="white",
        font={"family": "system-ui, sans-serif", "size": 12, "color": "#222831"},
        legend={"x": 0.01, "y": 0.99, "bgcolor": "rgba(255,255,255,0.8)", "groupclick": "togglegroup"},
        # Turning the scene and hiding cameras must survive a redraw.
        uirevision="cameras",
        scene={
            "aspectmode": "data",
            "xaxis": hidden_axis,
            "yaxis": hidden_axis,
            "zaxis": hidden_axis,
            "dragmode": "turntable",
            "camera": {
                "up": {"x": 0, "y": 0, "z": 1},
                "eye": {"x": 0.78, "y": -1.17, "z": 0.6},
                "center": {"x": 0, "y": 0, "z": -0.14},
            },
        },
    )
    return figure


def plotly_script() -> str:
    """The `<script>` elements that draw figures (0.8 MB); a page needs them once, before any figure.

    They hold plotly.js's partial bundle for 3D, compressed: the traces scatter, scatter3d, mesh3d, surface,
    cone, isosurface, streamtube and volume.
    """
    package = resources.files("objnerf.visualization")
    library = base64.b64encode((package / "plotly" / "plotly-gl3d.min.js.gz").read_bytes()).decode("ascii")
    loader = (package / "figures.js").read_text(encoding="utf-8")
    return f'<script type="application/gzip" id="plotly-gzip">{library}</script>\n<script>\n{loader}</script>'


def cameras_div(plot: CameraPlot, *, height: int | None = 520, div_id: str = "cameras") -> str:
    """The figure as an HTML fragment for a page that holds `plotly_script()` once.

    Args:
        height: pixels; None fills what the fragment stands in.
        div_id: its id in the page; two figures of one page need two.
    """
    fragment: str = cameras_figure(plot, height=height).to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=div_id,
        default_height="100%" if height is None else f"{height}px",
        config={
            "displaylogo": False,
            "responsive": True,
            "scrollZoom": True,
            # The button that uploads the figure to the library's makers.
            "showSendToCloud": False,
        },
    )
    return fragment


def write_html(plot: CameraPlot, path: Path) -> Path:
    """Write the cameras as one HTML file that needs no network. Atomic."""
    summary = plot.summary
    if plot.left_out:
        summary += f", {plot.left_out} more not shown"
    notes = [
        "World: right-handed, z up. Cameras: x right, y down, z forward; a roof marks the image's top.",
        "Drag to turn, scroll to zoom, right-drag to shift, point at a camera for its name.",
    ]
    skipped = "".join(f"<li>{html.escape(reason)}</li>" for _, reason in plot.skipped)
    warning = (
        f'<details class="warning" open><summary>{len(plot.skipped)} views could not be drawn</summary>'
        f"<ul>{skipped}</ul></details>"
        if plot.skipped
        else ""
    )
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{OFFLINE_POLICY}">
<title>Cameras of {html.escape(plot.name)}</title>
<style>
  html, body {{ margin: 0; height: 100%; font-family: system-ui, sans-serif; color: #222831; }}
  body {{ display: flex; flex-direction: column; }}
  header {{ padding: 12px 18px 10px; border-bottom: 1px solid #e3e6ea; }}
  h1 {{ font-size: 18px; margin: 0 0 2px; }}
  p {{ margin: 0; font-size: 13px; color: #5a6270; }}
  main {{ flex: 1; min-height: 360px; }}
  .warning {{ margin-top: 8px; font-size: 13px; color: #9a2b20; max-height: 25vh; overflow: auto; }}
</style>
{plotly_script()}
</head>
<body>
<header>
<h1>Cameras of {html.escape(plot.name)}</h1>
<p>{summary}. {" ".join(notes)}</p>
{warning}
</header>
<main>{cameras_div(plot, height=None)}</main>
</body>
</html>
"""
    write_text(path, page)
    return path


def _groups(plot: CameraPlot) -> dict[str, list[PlottedCamera]]:
    """Cameras by what the legend switches on and off."""
    groups: dict[str, list[PlottedCamera]] = {}
    for camera in plot.cameras:
        groups.setdefault(camera.group, []).append(camera)
    return groups


def _line_trace(
    lines: list[LineSet], name: str, width: int, *, group: str | None = None, legend: bool = True
) -> "go.Scatter3d":
    """All segments as one trace; a nan after each pair lifts the pen."""
    import plotly.graph_objects as go

    segments = np.concatenate([line_set.segments for line_set in lines])
    gaps = np.full((len(segments), 1, 3), np.nan)
    points = np.concatenate([segments, gaps], axis=1).reshape(-1, 3).astype(np.float32)
    return go.Scatter3d(
        x=points[:, 0],
        y=points[:, 1],
        z=points[:, 2],
        mode="lines",
        line={"color": _css(lines[0].colour), "width": width},
        name=name,
        legendgroup=group,
        showlegend=legend,
        hoverinfo="skip",
        connectgaps=False,
    )


def _position_trace(cameras: list[PlottedCamera], group: str) -> "go.Scatter3d":
    """A dot at each camera's position, which carries the text that the mouse finds."""
    import plotly.graph_objects as go

    positions = np.array([camera.world_from_camera[:3, 3] for camera in cameras])
    texts = []
    for camera in cameras:
        distance, elevation = distance_elevation(camera.world_from_camera)
        x, y, z = camera.world_from_camera[:3, 3]
        role = "input view" if camera.order == 0 else f"view {camera.order}"
        texts.append(
            f"<b>{html.escape(camera.stem)}</b><br>scene {camera.scene}, {role}<br>"
            f"position {x:.3f}, {y:.3f}, {z:.3f}<br>distance {distance:.2f}, elevation {elevation:.1f}°"
        )
    return go.Scatter3d(
        x=positions[:, 0],
        y=positions[:, 1],
        z=positions[:, 2],
        mode="markers",
        marker={
            "size": [5 if camera.order == 0 else 3 for camera in cameras],
            "color": _css(cameras[0].colour),
        },
        name=group,
        legendgroup=group,
        showlegend=False,
        text=texts,
        hovertemplate="%{text}<extra></extra>",
    )


def _pictures_trace(plot: CameraPlot) -> "go.Mesh3d | None":
    """The thumbnails as one mesh on the cameras' image planes, each pixel a coloured quad.

    The mesh itself is made in the page, by the loader in `plotly_script`: its hundreds of thousands of
    triangles follow from each image's corners, size and colours, which `meta` holds.
    """
    import plotly.graph_objects as go

    pictures, vertices = [], 0
    for camera in plot.cameras:
        if camera.thumbnail is None:
            continue
        height, width = camera.thumbnail.shape[:2]
        vertices += (height + 1) * (width + 1)
        if vertices > _MAX_PICTURE_VERTICES:
            break
        corners = frustum_corners(plot.intrinsics_of(camera), camera.world_from_camera, plot.frustum_depth)
        pictures.append(
            {
                "width": width,
                "height": height,
                "corners": [[float(f"{value:.7g}") for value in corner] for corner in corners],
                "rgb": base64.b64encode(camera.thumbnail.tobytes()).decode("ascii"),
            }
        )
    if not pictures:
        return None
    return go.Mesh3d(
        meta={"pictures": pictures},
        # The images' own colours, not lit ones.
        lighting={"ambient": 1, "diffuse": 0, "specular": 0, "fresnel": 0},
        flatshading=True,
        name="pictures",
        showlegend=True,
        hoverinfo="skip",
    )


def _add_axis_letters(figure: "go.Figure", plot: CameraPlot) -> None:
    import plotly.graph_objects as go

    tips = 0.55 * plot.obj_scale * np.eye(3)
    figure.add_trace(
        go.Scatter3d(
            x=tips[:, 0],
            y=tips[:, 1],
            z=tips[:, 2],
            mode="text",
            text=["x", "y", "z"],
            textfont={"size": 14, "color": "#222831"},
            showlegend=False,
            hoverinfo="skip",
        )
    )


def _css(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
