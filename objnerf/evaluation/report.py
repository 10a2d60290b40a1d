"""Evaluations as pages: one HTML file with every image inside, to be opened anywhere, offline."""

import base64
import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from objnerf.dataset.files import write_text
from objnerf.evaluation.evaluate import Evaluation
from objnerf.evaluation.gallery import SceneGallery
from objnerf.version import __version__
from objnerf.visualization.animation import write_animation

if TYPE_CHECKING:
    import jinja2

#: What each figure means, in a sentence.
MEANINGS = {
    "ari": "adjusted Rand index over all pixels of the input view",
    "fg_ari": "adjusted Rand index over the input view's pixels that truly show an object",
    "nv_ari": "adjusted Rand index over all pixels, mean over the novel views",
    "nv_fg_ari": "adjusted Rand index over true object pixels, mean over the novel views",
    "psnr": "peak signal-to-noise ratio of the novel views, dB",
    "ssim": "structural similarity of the novel views",
    "lpips": "learned perceptual distance (AlexNet) of the novel views, lower is better",
    "input_psnr": "peak signal-to-noise ratio of the reconstructed input view, dB",
    "input_ssim": "structural similarity of the reconstructed input view",
    "input_lpips": "learned perceptual distance of the reconstructed input view",
    "ref_ari": "ARI as uORF computes it: each slot rendered separately",
    "ref_fg_ari": "FG-ARI as uORF computes it: slots rendered separately, background by grey level",
    "ref_nv_ari": "NV-ARI as uORF computes it: slots rendered separately, the last novel view only",
    "moved_psnr": "one object moved, all views, dB",
    "moved_ssim": "one object moved, all views",
    "moved_lpips": "one object moved, all views",
    "changed_psnr": "another scene's background, all views, dB",
    "changed_ssim": "another scene's background, all views",
    "changed_lpips": "another scene's background, all views",
    "ref_moved_psnr": "one object moved, its slot chosen by uORF's rule, dB",
    "ref_moved_ssim": "one object moved, its slot chosen by uORF's rule",
    "ref_moved_lpips": "one object moved, its slot chosen by uORF's rule",
}

#: Figures that head a page, with the name that people use.
HEADLINES = {
    "ari": "ARI",
    "fg_ari": "FG-ARI",
    "nv_ari": "NV-ARI",
    "psnr": "PSNR, novel views",
    "ssim": "SSIM, novel views",
}

#: Scenes of which a page shows images.
GALLERY_SCENES = 6


@dataclass(frozen=True)
class Tile:
    """A figure at the head of a page."""

    value: str
    label: str


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a result as JSON, atomically; NaN is refused, for it is no JSON."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_page(path: Path, evaluation: Evaluation, galleries: Sequence[SceneGallery] = ()) -> None:
    """Write an evaluation as one HTML file, atomically."""
    write_text(path, evaluation_page(evaluation, galleries))


def evaluation_page(evaluation: Evaluation, galleries: Sequence[SceneGallery] = ()) -> str:
    """The page of an evaluation: headline figures, images of some scenes, tables, settings."""
    run = evaluation.settings.get("run", "a run")
    dataset = evaluation.settings.get("dataset", "a dataset")
    return (
        environment()
        .get_template("evaluation.html.j2")
        .render(
            title=f"{run} on {dataset}",
            subtitle=f"{len(evaluation.scenes)} scenes: {evaluation.settings.get('chosen', 'as asked for')}.",
            tiles=headline_tiles(evaluation),
            galleries=[gallery_content(gallery) for gallery in galleries],
            settings=json.dumps(evaluation.settings, indent=2, ensure_ascii=False),
            **tables(evaluation),
        )
    )


def environment() -> "jinja2.Environment":
    """Templates of this folder; what they are given is escaped, unless it is marked as markup."""
    import jinja2
    from markupsafe import Markup

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("objnerf.evaluation"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    style = Path(__file__).parent / "templates" / "page.css"
    made.globals["css"] = Markup(style.read_text(encoding="utf-8"))
    made.globals["version"] = __version__
    return made


def headline_tiles(evaluation: Evaluation) -> list[Tile]:
    """The figures that head a page; those that could not be computed are left out."""
    mean = evaluation.mean
    return [
        Tile(format_figure(key, value) + (" dB" if key.endswith("psnr") else ""), label)
        for key, label in HEADLINES.items()
        if (value := mean[key]) is not None
    ]


def tables(evaluation: Evaluation) -> dict[str, Any]:
    """What the templates' tables of figures need."""
    mean, std, count, reasons = evaluation.mean, evaluation.std, evaluation.count, evaluation.reasons
    return {
        "figures": [
            {
                "key": key,
                "mean": format_figure(key, mean[key]),
                "std": format_figure(key, std[key]),
                "count": count[key],
                "meaning": MEANINGS[key],
                "reason": reasons.get(key),
            }
            for key in evaluation.figures
        ],
        "keys": [key for key in evaluation.figures if count[key]],
        "scenes": [
            {
                "scene": scene.scene,
                "objects": "–" if scene.objects is None else scene.objects,
                "slots_used": scene.slots_used,
                "figures": [
                    format_figure(key, scene.figures[key]) for key in evaluation.figures if count[key]
                ],
            }
            for scene in evaluation.scenes
        ],
    }


def format_figure(key: str, value: float | None) -> str:
    """A figure for people: decibels with two digits, shares with three, a dash for null."""
    if value is None:
        return "–"
    return f"{value:.2f}" if key.endswith("psnr") else f"{value:.3f}"


def gallery_content(gallery: SceneGallery) -> dict[str, Any]:
    """A scene's images as the templates want them, inlined."""
    return {
        "id": gallery.scene,
        "views": [
            {
                "true": inline(view.true),
                "rendered": inline(view.rendered),
                "true_mask": None if view.true_mask is None else inline(view.true_mask, smooth=False),
                "segmentation": inline(view.segmentation, smooth=False),
            }
            for view in gallery.views
        ],
        "slots": [
            {
                "name": "background" if slot.slot == 0 else f"slot {slot.slot}",
                "picture": inline(slot.picture),
                "colour": slot.colour,
            }
            for slot in gallery.slots
        ],
    }


def inline(picture: np.ndarray | Image.Image, *, width: int = 192, smooth: bool = True) -> str:
    """An image as a ``data:`` address, enlarged to about ``width`` pixels where it is smaller.

    Args:
        smooth: interpolate; without it pixels become squares, as masks need.
    """
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    if image.width < width:
        factor = -(-width // image.width)
        kind = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
        image = image.resize((image.width * factor, image.height * factor), kind)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def inline_animation(frames: Sequence[np.ndarray], *, width: int = 512, fps: float = 8.0) -> str:
    """Frames as an endless GIF in a ``data:`` address, enlarged to about ``width`` pixels."""
    factor = max(1, -(-width // frames[0].shape[1]))
    size = (frames[0].shape[1] * factor, frames[0].shape[0] * factor)
    large = [Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC) for frame in frames]
    with tempfile.TemporaryDirectory() as folder:
        path = write_animation(large, Path(folder) / "turning.gif", fps=fps)
        return "data:image/gif;base64," + base64.b64encode(path.read_bytes()).decode()
