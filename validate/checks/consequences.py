"""Findings that follow from other findings: reported once, at their cause."""

from objnerf.dataset import names
from validate.analysis.model import Analysis
from validate.findings import Finding, on_scenes, on_views


def confirm_rolls(analysis: Analysis, findings: list[Finding]) -> list[Finding]:
    """A rolled camera among upright ones whose depth contradicts the others: the roll is wrong, an error.

    Where most cameras are rolled, they were held so, and roll explains nothing.
    """
    contradicted = {
        view
        for finding in findings
        if finding.id == "DEPTH-VIEWS" and finding.severity == "E" and finding.unit == "views"
        for view in finding.views
    }
    result: list[Finding] = []
    for finding in findings:
        views = [view for view in finding.views if view in contradicted]
        few = finding.path is not None and finding.count <= 0.5 * analysis.diagnosis.usable.sum()
        if finding.id != "POSE-ROLL" or not views or not few:
            result.append(finding)
            continue
        message = finding.message + ": its depth contradicts the other views, so that the pose is wrong"
        result.append(
            on_views(analysis.scan, "POSE-ROLL", "E", views, message, finding.fix, names.POSE_SUFFIX)
        )
        rest = [view for view in finding.views if view not in contradicted]
        if rest:
            again = on_views(
                analysis.scan, "POSE-ROLL", "W", rest, finding.message, finding.fix, names.POSE_SUFFIX
            )
            result.append(again)
    return result


#: Findings on a view that follow from another finding on the same view: checks and what they follow from.
_FOLLOWS = {
    "AZIMUTH": ("POSE-", "WORLD-CENTRE"),
    "META": ("POSE-", "WORLD-CENTRE"),
    "DEPTH-VIEWS": ("POSE-", "WORLD-CENTRE", "IMAGE-DUP"),
    "PHOTO": ("POSE-", "WORLD-CENTRE", "IMAGE-DUP"),
}


def hold_back(analysis: Analysis, findings: list[Finding]) -> tuple[list[Finding], dict[str, str]]:
    """Leave out what follows from an error on the same view.

    A view with a wrong pose contradicts its azimuth file, its description and its neighbours' depth as a
    matter of course. (Mistakes of the whole dataset have no consequences here: the checks work on corrected
    poses.) Warnings hold nothing back, and a scene is left out only where all of its views are blamed.

    Returns:
        The findings that are left, and the reason for each id of which something was held back.
    """
    kept: list[Finding] = []
    held: dict[str, str] = {}
    for finding in findings:
        causes = _FOLLOWS.get(finding.id, ())
        blamed: dict[int, str] = {}
        for other in findings:
            follows = causes and other.severity == "E" and other.id.startswith(causes)
            if follows and other.unit == "views" and other.path is not None:
                blamed |= dict.fromkeys(other.views, other.id)
        rest, dropped = _unblamed(analysis, finding, blamed)
        if not dropped:
            kept.append(finding)
            continue
        because = ", ".join(sorted({blamed[view] for view in finding.views if view in blamed}))
        held[finding.id] = f"on {dropped} {finding.unit} already named by {because}"
        if not rest:
            continue
        arguments = finding.id, finding.severity, rest, finding.message, finding.fix
        if finding.unit == "scenes":
            kept.append(on_scenes(analysis.scan, *arguments, fixable=finding.fixable))
        else:
            suffix = (finding.path or ".png").removeprefix(analysis.scan.views[finding.views[0]].stem)
            kept.append(on_views(analysis.scan, *arguments, suffix, finding.fixable))
    return kept, held


def _unblamed(analysis: Analysis, finding: Finding, blamed: dict[int, str]) -> tuple[list[int], int]:
    """The views, or scenes, of a finding that no other finding blames, and how many it leaves out."""
    if finding.unit != "scenes":
        rest = [view for view in finding.views if view not in blamed]
        return rest, len(finding.views) - len(rest)
    scenes = dict.fromkeys(int(analysis.scan.scene_of[view]) for view in finding.views)
    free = {int(analysis.scan.scene_of[view]) for view in finding.views if view not in blamed}
    return [scene for scene in scenes if scene in free], len(scenes) - len(free)
