"""Checks on intrinsics: the dataset's focal ratio, and the views' own files."""

from collections.abc import Iterator

import numpy as np

from objnerf.dataset import names
from objnerf.dataset.cameras import REFERENCE_FOCAL_RATIO, Pinhole, common_pinhole
from validate.analysis.depth_agreement import MIN_POINTS, crossview_totals, is_poor, pixel_aspect
from validate.analysis.model import Analysis
from validate.checks.check import check
from validate.findings import Finding, on_views
from validate.measure.pictures import READ
from validate.settings import CARD, OPTION, VIEWS

#: Relative difference up to which a focal ratio is uORF's: what five digits of it leave.
_SAME_RATIO = 1e-3


@check("INTRINSICS", "E", "the focal ratio fits the images", needs="pictures", limits=("pixel_aspect",))
def intrinsics(analysis: Analysis) -> Iterator[Finding]:
    explanation = analysis.depth_explanation
    views = np.flatnonzero(analysis.rows["image"] == READ)
    if not len(views):
        return
    if explanation is not None and explanation.kind == "focal" and explanation.focal_ratio is not None:
        better = explanation.focal_ratio
        yield on_views(
            analysis.scan,
            "INTRINSICS",
            "E",
            views,
            f"the focal ratio {_stated(analysis)} does not fit the depth: with ({better[0]:.4g}, "
            f"{better[1]:.4g}), where {explanation.words}, {100 * explanation.agree:.0f} % of the points "
            "agree between views",
            f"pass --focal-ratio {better[0]:.6g} {better[1]:.6g}, or write it into dataset.yaml (--fix does)",
            fixable=True,
        )
        return
    totals = crossview_totals(analysis)
    if totals is not None and totals[0] >= MIN_POINTS and not is_poor(analysis, totals[1], totals[2]):
        # Depth carried between views agrees: the intrinsics are right, whatever the pixels' shape.
        return
    yield from _pixel_shape(analysis, views)


def _stated(analysis: Analysis) -> str:
    """The focal ratio, and where it comes from."""
    x, y = analysis.settings.focal_ratio
    origin = {
        OPTION: "given",
        CARD: "from dataset.yaml",
        VIEWS: "the median of the views' own intrinsics" if analysis.lenses.differ else "the views' own",
    }.get(analysis.settings.source["focal_ratio"], "uORF's")
    return f"({x:.4g}, {y:.4g}) ({origin})"


def _pixel_shape(analysis: Analysis, views: np.ndarray) -> Iterator[Finding]:
    """Pixels that are not square by the focal ratio, where depth does not say that they are right."""
    aspect, size = pixel_aspect(analysis), analysis.usual_size
    if aspect is None or size is None:
        return
    ratio = analysis.settings.focal_ratio
    width, height = size
    is_reference = np.allclose(ratio, REFERENCE_FOCAL_RATIO, rtol=_SAME_RATIO)
    if is_reference and width == height and analysis.settings.source["focal_ratio"] == OPTION:
        return
    stated = _stated(analysis)
    right = f"({ratio[0]:.4g}, {ratio[0] * width / height:.4g})"
    if is_reference and width == height:
        message = (
            f"images are square ({width}×{height}) and the focal ratio is {stated}, that of 4:3 "
            "images: right only if they were squashed from 4:3 to square; rendered square, fy is 4/3 too "
            f"long and the ratio is {right}"
        )
    elif is_reference:
        message = (
            f"images have {width}×{height} pixels and the focal ratio is {stated}, that of 4:3 "
            f"images: pixels would be {aspect:.3f} times as high as wide; with square pixels the ratio is "
            f"{right}"
        )
    else:
        message = (
            f"the focal ratio {stated} on images of {width}×{height} means pixels {aspect:.3f} times "
            f"as high as wide, expected square ones; with the same fx the ratio is {right}"
        )
    yield on_views(
        analysis.scan,
        "INTRINSICS",
        "W",
        views,
        message,
        f"pass --focal-ratio {ratio[0]:.6g} {ratio[0] * width / height:.6g} if the images were "
        "rendered like this, or write focal_ratio into dataset.yaml",
    )


@check("INTRINSICS-FILE", "E", "a view's own intrinsics can be read and agree with dataset.yaml")
def intrinsics_file(analysis: Analysis) -> Iterator[Finding]:
    lenses = analysis.lenses
    if lenses.problems:
        views = sorted(lenses.problems)
        yield on_views(
            analysis.scan,
            "INTRINSICS-FILE",
            "E",
            views,
            f"the view's own intrinsics cannot be used: {lenses.problems[views[0]]}",
            "write it as docs/format.md says, or remove it where the dataset's lens holds",
            suffix=names.INTRINSICS_SUFFIX,
        )
    said = analysis.scan.card.focal_ratio if analysis.scan.card is not None else None
    if said is None or analysis.settings.source.get("focal_ratio") != VIEWS:
        return
    own = [lenses.pinhole(int(view)) for view in np.flatnonzero(lenses.own)]
    common = common_pinhole(own)
    # Off-centre lenses are the views' own alone: dataset.yaml has no place for a principal point.
    if common is None or not lenses.own.all() or common.same_as(Pinhole(said, common.principal_offset)):
        return
    ratio = common.focal_ratio
    yield Finding(
        "INTRINSICS-FILE",
        "W",
        f"dataset.yaml says the focal ratio ({said[0]:.4g}, {said[1]:.4g}), and the views' own "
        f"…{names.INTRINSICS_SUFFIX} all say ({ratio[0]:.4g}, {ratio[1]:.4g}), which holds",
        "correct focal_ratio in dataset.yaml (--fix does), or remove the views' files",
        path="dataset.yaml",
        unit="files",
        fixable=True,
    )
