"""The demo's page and its figures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from objnerf.console import format_seconds
from objnerf.dataset.index import Dataset
from objnerf.evaluation.evaluate import Evaluation
from objnerf.evaluation.gallery import EditPictures, SceneGallery
from objnerf.evaluation.report import (
    environment,
    gallery_content,
    headline_tiles,
    inline,
    inline_animation,
    tables,
)
from objnerf.visualization.contact_sheets import contact_sheet

#: Scenes on the page's contact sheet, and scenes whose cameras it draws.
SHEET_SCENES = 36
CAMERA_SCENES = 6


@dataclass(frozen=True)
class Step:
    """A step of the demo."""

    name: str
    seconds: float
    command: str
    """What does the same from a shell."""


def demo_page(
    dataset: Dataset,
    verdict: Mapping[str, Any],
    run: Path,
    evaluation: Evaluation,
    galleries: Sequence[SceneGallery],
    steps: Sequence[Step],
    *,
    edits: EditPictures | None = None,
    turning: Sequence[np.ndarray] = (),
) -> str:
    """The page of the demo: the whole way from scenes to figures, in one file that works offline.

    Args:
        dataset: that was generated.
        verdict: the validator's report, as in its JSON.
        run: the run folder, for its ``metrics.jsonl``.
        evaluation: on held-out scenes.
        galleries: images of some of these.
        steps: what was done, in order.
        edits: a scene before and after edits.
        turning: frames of an orbit around a scene.
    """
    from markupsafe import Markup

    from objnerf.visualization.html import plotly_script

    seconds = sum(step.seconds for step in steps)
    return (
        environment()
        .get_template("demo.html.j2")
        .render(
            title="objnerf demo",
            scripts=Markup(plotly_script()),
            minutes=f"{seconds / 60:.0f}",
            sections=(
                *(("results", "Objects found"), ("figures", "Metrics"), ("dataset", "Dataset")),
                *(("cameras", "Cameras"), ("validation", "Validation"), ("training", "Training")),
                ("steps", "Commands"),
            ),
            verdict=verdict,
            steps=[
                {"name": step.name, "time": format_seconds(step.seconds), "command": step.command}
                for step in steps
            ],
            machine=_machine(),
            **_results_content(evaluation, galleries, edits, turning),
            **_dataset_content(dataset),
            **_training_content(run, evaluation),
        )
    )


def _results_content(
    evaluation: Evaluation,
    galleries: Sequence[SceneGallery],
    edits: EditPictures | None,
    turning: Sequence[np.ndarray],
) -> dict[str, Any]:
    """The template's variables of the sections "Objects found" and "Metrics"."""
    edited = None
    if edits is not None:
        pictures = [{"name": name, "source": inline(picture)} for name, picture in edits.pictures]
        edited = {"scene": edits.scene, "pictures": pictures}
    return {
        "scene_count_evaluated": len(evaluation.scenes),
        "tiles": headline_tiles(evaluation),
        "galleries": [gallery_content(gallery) for gallery in galleries],
        "edits": edited,
        "turning": inline_animation(turning) if turning else None,
        **tables(evaluation),
    }


def _dataset_content(dataset: Dataset) -> dict[str, Any]:
    """The template's variables of the sections "Dataset" and "Cameras"."""
    from markupsafe import Markup

    from objnerf.visualization.camera_plot import read_camera_plot
    from objnerf.visualization.html import cameras_div

    views = max(len(scene.views) for scene in dataset.scenes.values())
    plot = read_camera_plot(dataset, max_views=CAMERA_SCENES * views, thumbnails=32)
    inputs = [scene.views[0] for scene in dataset.scenes.values()][:SHEET_SCENES]
    images = [view.image() for view in inputs]
    height, width = images[0].shape[:2]
    sheet = contact_sheet(images, [f"scene {view.scene}" for view in inputs], columns=6, cell_width=190)
    return {
        "scene_count": len(dataset.scenes),
        "dataset_note": (
            f"{len(dataset.scenes)} scenes of {views} views, {width}×{height} pixels, rendered by Blender's "
            "Cycles; the input view of each is shown. Masks, depth and the plan of every scene are in the "
            "dataset, too."
        ),
        "sheet": inline(sheet),
        "cameras_note": f"{plot.summary}.",
        "cameras": Markup(cameras_div(plot, div_id="cameras-figure")),
    }


def _training_content(run: Path, evaluation: Evaluation) -> dict[str, Any]:
    """The template's variables of the section "Training"."""
    from markupsafe import Markup

    curves = read_metrics(run)
    settings = evaluation.settings
    return {
        "training_note": (
            f"{settings.get('step', 0)} steps of the recipe {settings.get('recipe')} in "
            f"{format_seconds(curves.seconds)}; the held-out scenes were not used for training."
        ),
        "curves": Markup(curves_div(curves)),
    }


def demo_summary(
    verdict: Mapping[str, Any], run: Path, evaluation: Evaluation, steps: Sequence[Step]
) -> dict[str, Any]:
    """The page's content for programs: the verdict, the training, the figures, and what each step took."""
    curves = read_metrics(run)
    return {
        "ok": bool(verdict["ok"]),
        "validation": dict(verdict),
        "training": {
            "recipe": evaluation.settings.get("recipe"),
            "steps": evaluation.settings.get("step"),
            "seconds": curves.seconds,
            "last": {name: values[-1][1] for name, values in curves.figures.items()},
        },
        "evaluation": evaluation.as_dict(),
        "seconds": {step.name: round(step.seconds, 1) for step in steps},
        "commands": [step.command for step in steps],
    }


@dataclass(frozen=True)
class Curves:
    """What a run wrote down: figures by name, as (step, value) pairs in the order of steps."""

    figures: dict[str, list[tuple[int, float]]]
    seconds: float
    """Time spent in training."""


def read_metrics(run: Path) -> Curves:
    """The numbers of a run's ``metrics.jsonl``; a file that is not there gives none."""
    figures: dict[str, list[tuple[int, float]]] = {}
    try:
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        try:
            entry = json.loads(line)
            step = int(entry.pop("step"))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # half a line of a run that was killed
        for name, value in entry.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                figures.setdefault(name, []).append((step, float(value)))
    seconds = figures.get("seconds", [(0, 0.0)])[-1][1]
    return Curves(figures, seconds)


def curves_div(curves: Curves, *, div_id: str = "curves-figure") -> str:
    """Losses and PSNR over steps, as a fragment for a page that holds plotly's script."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=1, cols=2, subplot_titles=("loss", "PSNR, dB"), horizontal_spacing=0.08)
    losses = [name for name in curves.figures if name.startswith("loss/")]
    psnr = [name for name in ("psnr/train", "psnr/held_out") if name in curves.figures]
    labels = {"psnr/train": "rays trained on", "psnr/held_out": "held-out views"}
    for column, names in ((1, losses), (2, psnr)):
        for name in names:
            # A part that is off is exactly zero, which a logarithmic axis cannot show.
            points = [(step, value) for step, value in curves.figures[name] if column == 2 or value > 0]
            if not points:
                continue
            steps, values = zip(*points, strict=True)
            figure.add_trace(
                go.Scatter(
                    x=steps,
                    y=values,
                    name=labels.get(name, name.removeprefix("loss/").replace("_", " ")),
                    mode="lines+markers" if len(steps) < 12 else "lines",
                    legend="legend" if column == 1 else "legend2",
                ),
                row=1,
                col=column,
            )
    figure.update_xaxes(title_text="step")
    figure.update_yaxes(type="log", dtick=1, row=1, col=1)
    below = {"orientation": "h", "yanchor": "top", "y": -0.2, "xanchor": "left", "x": 0.0}
    inside = {
        "yanchor": "bottom",
        "y": 0.04,
        "xanchor": "right",
        "x": 0.99,
        "bgcolor": "rgba(255,255,255,0.8)",
    }
    figure.update_layout(
        template="plotly_white",
        height=420,
        margin={"l": 50, "r": 10, "t": 40, "b": 110},
        legend=below,
        legend2=inside,
        font={"family": "system-ui, sans-serif", "size": 12},
    )
    fragment: str = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=div_id,
        config={"displayModeBar": False, "responsive": True},
    )
    return fragment


def _machine() -> str:
    """What this machine is, in a line."""
    import platform

    import psutil
    import torch

    memory = psutil.virtual_memory().total / 2**30
    return (
        f"Python {platform.python_version()}, torch {torch.__version__}, {platform.system()} "
        f"{platform.machine()}, {psutil.cpu_count() or 1} CPU cores, {memory:.0f} GiB of memory."
    )
