"""Feature matches between pictures against the epipolar geometry of the stored poses."""

from collections.abc import Iterator

from validate.analysis.matches import MIN_MATCHES, choose_scenes, comparable_views, judge_scene, scene_matches
from validate.analysis.model import Analysis
from validate.checks.check import check
from validate.findings import Finding, on_scenes, on_views

#: Scenes that are looked at, and views of all of them together, spread evenly.
_SCENES, _VIEWS = 40, 800


@check(
    "PHOTO",
    "E",
    "feature matches fit the epipolar lines of the poses",
    needs="photo",
    limits=("photo_inliers",),
)
def photo(analysis: Analysis) -> Iterator[Finding]:
    chosen = choose_scenes(analysis, _SCENES)
    share = max(2, _VIEWS // max(1, len(chosen)))
    matched = {scene: scene_matches(analysis, scene, share) for scene in chosen}
    verdicts = {scene: judge_scene(analysis, found) for scene, found in matched.items()}
    looked = sum(len(found.views) for found in matched.values())
    judged = {scene: v for scene, v in verdicts.items() if len(v.unjudged) < len(matched[scene].views)}
    unjudged = sum(len(verdict.unjudged) for verdict in verdicts.values())
    _remark(analysis, len(chosen), looked, unjudged, sum(len(found.pairs) for found in matched.values()))
    if not judged:
        yield Finding(
            "PHOTO",
            "W",
            f"none of the {len(chosen)} scenes looked at has {MIN_MATCHES} feature matches that agree with "
            "each other: too little texture, or views too far apart, to compare images with poses",
            "render depth, which is compared instead, or use textured surfaces",
            unit="scenes",
            count=len(chosen),
            total=analysis.scan.n_scenes,
        )
        return
    limit = 100 * analysis.limits.photo_inliers
    poor = [scene for scene, verdict in judged.items() if verdict.whole]
    if poor:
        fit = sum(judged[scene].fit for scene in poor)
        total = sum(judged[scene].total for scene in poor)
        most = len(poor) > 0.5 * len(judged) and len(judged) > 1
        yield on_scenes(
            analysis.scan,
            "PHOTO",
            "E",
            poor,
            f"of {total} feature matches between the views {100 * fit / total:.0f} % fit the epipolar lines "
            f"of the stored poses in front of both cameras, expected over {limit:g} % ({len(judged)} scenes "
            "looked at): "
            + ("mirrored images, or poses of other images" if most else "poses of other images"),
            "compare the poses of these scenes with their images; check the focal ratio",
        )
    odd = [judged[scene] for scene in judged if judged[scene].bad and not judged[scene].whole]
    if odd:
        fit, total = sum(verdict.fit for verdict in odd), sum(verdict.total for verdict in odd)
        yield on_views(
            analysis.scan,
            "PHOTO",
            "E",
            sorted(view for verdict in odd for view in verdict.bad),
            f"the image does not fit its pose: of {total} feature matches with other views "
            f"{100 * fit / total:.0f} % fit the epipolar lines of the poses, expected over {limit:g} %, "
            "while the rest of the scene fits; the pose belongs to another image",
            "compare the poses of these views with their images, and export them again",
        )


def _remark(analysis: Analysis, scenes: int, views: int, unjudged: int, pairs: int) -> None:
    """Say in the report what was looked at."""
    with_views = sum(
        int(comparable_views(analysis)[block].sum()) for block in analysis.scan.scene_blocks.values()
    )
    words = (
        f"PHOTO looked at {scenes} of {analysis.scan.n_scenes} scenes: {views} of {with_views} views, "
        f"matched in {pairs} pairs"
    )
    if unjudged:
        words += f"; {unjudged} of these views have too few matches to be judged"
    analysis.remarks.append(words)
