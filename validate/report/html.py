"""The report as one HTML page: findings with thumbnails, cameras in 3D, histograms. It opens offline."""

import base64
import io
import os
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from objnerf.dataset import files, names
from objnerf.dataset.cameras import Intrinsics
from objnerf.dataset.files import write_text
from objnerf.dataset.untrusted import Unreadable, read_bytes
from objnerf.errors import ObjnerfError
from objnerf.visualization import CameraPlot, PlottedCamera
from objnerf.visualization.html import cameras_div, plotly_script
from validate.analysis.boxes import box_shares
from validate.analysis.model import Analysis
from validate.checks.catalogue import explain
from validate.findings import Finding
from validate.measure.pictures import READ
from validate.read import decode_image
from validate.report.text import where
from validate.result import Report

#: Pictures a finding, and how wide they are made.
_THUMBS, _THUMB_WIDTH = 6, 168

#: Cameras that are drawn: those that findings name, and others beside them.
_BAD_CAMERAS, _OTHER_CAMERAS = 24, 24

_RED, _BLUE = (190, 40, 40), (31, 111, 180)


@dataclass(frozen=True)
class Thumb:
    """A small picture as a data URL, or the reason why there is none."""

    caption: str
    data: str | None = None
    reason: str = ""


def write_html(report: Report, path: str | os.PathLike[str]) -> None:
    """Write the page, atomically.

    Raises:
        ValueError: the report does not hold the analysis that it rests on.
    """
    write_text(path, render_html(report))


def render_html(report: Report) -> str:
    """The whole page: no link leaves it, so that it opens without a network."""
    from jinja2 import Environment, PackageLoader
    from markupsafe import Markup

    analysis = report.analysis
    if analysis is None:
        raise ValueError("the report does not hold its analysis; pass one that run() returned")
    environment = Environment(loader=PackageLoader("validate.report", "."), autoescape=True)
    plot = _camera_plot(analysis, report)
    named = _named_views(report)
    page = environment.get_template("page.html.j2").render(
        name=report.dataset,
        report=report,
        findings=[
            {
                "finding": finding,
                "where": where(finding, 3),
                "thumbs": [_thumb(analysis, finding, view) for view in finding.views[:_THUMBS]],
                "page": explain(finding.id),
            }
            for finding in report.findings
        ],
        settings=[
            (name, _value(getattr(analysis.settings, name)), entry["source"])
            for name, entry in report.settings.items()
        ],
        suggested=[(name, _value(item.value), item.reason) for name, item in report.suggested.items()],
        script=Markup(plotly_script()),
        cameras=Markup(cameras_div(plot)) if plot is not None else None,
        cameras_note=""
        if plot is None
        else f"{len(plot.cameras)} of {int(analysis.pose_files.valid.sum())} cameras are shown.",
        has_bad=bool(named & set(np.flatnonzero(analysis.pose_files.valid).tolist())),
        charts=[Markup(chart) for chart in _charts(analysis)],
    )
    # File names may hold bytes that are no UTF-8.
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


def _value(value: float | tuple[float, float]) -> str:
    return ", ".join(f"{part:.6g}" for part in value) if isinstance(value, tuple) else f"{value:.4g}"


def _named_views(report: Report) -> set[int]:
    return {view for finding in report.findings if finding.id.startswith(_ON_POSES) for view in finding.views}


#: Findings whose views are worth showing in space.
_ON_POSES = ("POSE-", "WORLD-", "BOX-", "DEPTH-VIEWS", "VIEWS-SPREAD", "AZIMUTH", "PHOTO", "META")


def _thumb(analysis: Analysis, finding: Finding, view: int) -> Thumb:
    """What a finding is about: the mask for masks, depth for depth, else the picture."""
    stem = analysis.scan.views[view].stem
    suffix = ".png"
    if finding.id.startswith("MASK-") or (finding.path or "").endswith(names.MASK_SUFFIX):
        suffix = names.MASK_SUFFIX
    elif finding.id.startswith("DEPTH-"):
        suffix = names.DEPTH_SUFFIX
    caption = stem + suffix
    try:
        if suffix == names.DEPTH_SUFFIX:
            picture = _depth_picture(files.read_depth(analysis.scan.dataset.root / caption))
        else:
            picture = decode_image(read_bytes(analysis.scan.dataset.root / caption)).image.convert("RGBA")
            white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
            picture = Image.alpha_composite(white, picture).convert("RGB")
    except Unreadable as problem:
        return Thumb(caption, reason=str(problem))
    except (ObjnerfError, OSError, ValueError) as error:
        return Thumb(caption, reason=str(error)[:200])
    factor = _THUMB_WIDTH / picture.size[0]
    size = (_THUMB_WIDTH, max(1, min(2 * _THUMB_WIDTH, round(picture.size[1] * factor))))
    smooth = suffix == ".png" and factor < 1
    picture = picture.resize(size, Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return Thumb(caption, "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode())


def _depth_picture(depth: np.ndarray) -> Image.Image:
    """Near is bright, far is dark; what is no number is red."""
    finite = np.isfinite(depth)
    values = depth[finite]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    shade = 255 - 225 * (np.where(finite, depth, low) - low) / max(high - low, 1e-9)
    grey = np.repeat(np.clip(shade, 0, 255).astype(np.uint8)[..., None], 3, axis=-1)
    grey[~finite] = _RED
    return Image.fromarray(grey)


def _camera_plot(analysis: Analysis, report: Report) -> CameraPlot | None:
    """Cameras as stored: those that findings name in red, some others beside them."""
    valid = analysis.pose_files.valid & (
        np.abs(np.nan_to_num(analysis.pose_files.rigid)).max(axis=(1, 2)) < 1e6
    )
    named = _named_views(report)
    bad = [view for view in np.flatnonzero(valid).tolist() if view in named]
    others = [view for view in np.flatnonzero(valid).tolist() if view not in named]
    if not bad and not others:
        return None
    size = analysis.usual_size or (160, 120)
    cameras = []
    for views, limit, group, colour in (
        (bad, _BAD_CAMERAS, "named in a finding", _RED),
        (others, _OTHER_CAMERAS, "other cameras" if bad else "cameras", _BLUE),
    ):
        for view in views[:limit]:
            block = analysis.scan.scene_blocks[int(analysis.scan.scene_of[view])]
            cameras.append(
                PlottedCamera(
                    stem=analysis.scan.views[view].stem.encode("utf-8", "backslashreplace").decode(),
                    scene=int(analysis.scan.scene_of[view]),
                    order=view - block.start,
                    world_from_camera=analysis.pose_files.rigid[view],
                    intrinsics=analysis.lenses.intrinsics(view, *size),
                    group=group,
                    colour=colour,
                )
            )
    intrinsics = Intrinsics.from_focal_ratio(analysis.settings.focal_ratio, *size)
    return CameraPlot(report.dataset, tuple(cameras), intrinsics, analysis.settings.obj_scale)


def _charts(analysis: Analysis) -> list[str]:
    """Histograms of what the checks measured, each with its thresholds as lines."""
    charts = []
    usable = analysis.diagnosis.usable
    settings, limits = analysis.settings, analysis.limits
    if usable.any():
        positions = analysis.world_poses[usable][:, :3, 3]
        distance = np.linalg.norm(positions, axis=1)
        charts.append(
            _histogram(
                distance, "camera distance from the centre", {"near": settings.near, "far": settings.far}
            )
        )
        elevation = np.degrees(np.arcsin(np.clip(positions[:, 2] / np.maximum(distance, 1e-9), -1, 1)))
        charts.append(_histogram(elevation, "camera elevation, degrees", {}))
        shares, _ = box_shares(analysis)
        charts.append(
            _histogram(shares, "share of pixels that meet the locality box", {"expected": limits.box_pixels})
        )
        share = analysis.centring.share
        if np.isfinite(share).any():
            charts.append(
                _histogram(
                    share[np.isfinite(share)],
                    "scene centre off the origin, × obj_scale",
                    {"warning": limits.centre_warn, "error": limits.centre_error},
                )
            )
    if analysis.pictures is not None:
        rows = analysis.pictures.rows
        deep = rows[rows["depth_high"] > 0]
        if len(deep):
            charts.append(
                _histogram(
                    np.concatenate([deep["depth_low"], deep["depth_high"]]).astype(np.float64),
                    "nearest and farthest depth of each view",
                    {"near": settings.near, "far": settings.far},
                )
            )
            compared = deep[(deep["landed"] > 0) & np.isfinite(deep["pair_agree"])]
            if len(compared):
                agreement = compared["pair_agree"].astype(np.float64)
                charts.append(_histogram(agreement, "depth agreement with other views", {}))
                contradiction = compared["pair_contradict"].astype(np.float64)
                limit = {"error": limits.depth_contradict}
                charts.append(_histogram(contradiction, "depth contradiction with other views", limit))
        masks = rows[(rows["mask"] == READ) & (rows["n_colours"] > 0)]
        if len(masks):
            area = np.maximum(masks["mask_width"] * masks["mask_height"], 1).astype(np.float64)
            sizes = np.where(masks["pixels"] > 0, masks["pixels"], np.iinfo(np.int32).max).min(axis=1)
            limit = {"small": limits.mask_tiny}
            charts.append(_histogram(sizes / area, "share of pixels of each view's smallest label", limit))
    return charts


def _histogram(values: np.ndarray, title: str, lines: dict[str, float]) -> str:
    """A histogram as an HTML fragment. Binned here: a page must not hold 20,000 numbers a chart."""
    import plotly.graph_objects as go

    low, high = float(np.min(values)), float(np.max(values))
    # Rounding errors are no distribution.
    least = 1e-3 * max(1.0, abs(high))
    if high - low < least:
        low, high = low - least, high + least
    counts, edges = np.histogram(values, bins=30, range=(low, high))
    # Steps of a line: the pages' plotly.js has no bars.
    figure = go.Figure(
        go.Scatter(
            x=edges.tolist(),
            y=[*counts.tolist(), 0],
            line={"shape": "hv", "color": "#1f6fb4", "width": 1},
            fill="tozeroy",
            fillcolor="#1f6fb4",
            mode="lines",
            customdata=[*edges[1:].tolist(), None],
            hovertemplate="%{x:.4g} to %{customdata:.4g}: %{y}<extra></extra>",
        )
    )
    reach = high - low
    for name, value in lines.items():
        # A threshold far off would squeeze the bars into one line.
        if low - 1.5 * reach <= value <= high + 1.5 * reach:
            figure.add_vline(x=value, line={"color": "#b3261e", "dash": "dash"}, annotation_text=name)
    figure.update_layout(
        title={"text": title, "font": {"size": 13}},
        height=230,
        margin={"l": 40, "r": 12, "t": 40, "b": 30},
        template="plotly_white",
        showlegend=False,
    )
    options: dict[str, Any] = {"displayModeBar": False, "responsive": True}
    # An id of its own, where plotly would draw one: the same report has the same bytes.
    name = "chart-" + "-".join(re.findall(r"\w+", title))
    fragment: str = figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=options)
    return fragment
