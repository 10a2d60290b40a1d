"""Checks on names alone: what is there, what is missing, and what uORF's loader would confuse."""

import re
from collections import Counter
from collections.abc import Iterator

from objnerf.dataset import names
from validate.analysis.model import Analysis
from validate.checks.check import check
from validate.findings import Finding, Severity, on_files, on_scenes, on_views
from validate.scan import DatasetScan

_SCENE_TOKEN = re.compile(r"sc(\d+)")
#: Ids from here on are no count of scenes: nobody wants all missing ones listed.
_MOST_IDS = 10_000_000

#: Pictures that no loader of the format reads.
_OTHER_IMAGES = (".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".exr")


def misnamed_views(analysis: Analysis) -> list[str]:
    """PNGs without a scene id that have a pose beside them: views with a wrong name, not strays."""
    orphans = set(analysis.scan.dataset.orphans)
    return [
        stray
        for stray in analysis.scan.dataset.strays
        if stray.removesuffix(".png") + names.POSE_SUFFIX in orphans
    ]


@check("FILE-NAME", "E", "views are called {prefix}sc{scene:04d}{suffix}.png")
def file_name(analysis: Analysis) -> Iterator[Finding]:
    misnamed = misnamed_views(analysis)
    if misnamed:
        yield on_files(
            "FILE-NAME",
            "E",
            misnamed,
            "an image with a pose beside it has no scene id in its name; expected 'sc' and at least 4 "
            "digits, as in 00011_sc0002_img3.png",
            "rename the image and the files beside it: their names need sc and the scene's 4-digit ID",
        )
    short = [index for index, view in enumerate(analysis.scan.views) if view.name.digits < names.MIN_DIGITS]
    if short:
        digits = analysis.scan.views[short[0]].name.digits
        yield on_views(
            analysis.scan,
            "FILE-NAME",
            "E",
            short,
            f"the scene id has {digits} digit{'s' if digits > 1 else ''}, expected at least "
            f"{names.MIN_DIGITS}: uORF's code looks for sc0001 and finds no such view",
            "pad the scene ids with zeros to 4 digits (--fix does)",
            fixable=True,
        )


@check("FILE-IDS", "E", "scene ids run 0 … n-1 without holes and with one width")
def file_ids(analysis: Analysis) -> Iterator[Finding]:
    ids = list(analysis.scan.dataset.scenes)
    if not ids:
        return
    holes = _holes(analysis.scan, ids)
    if holes:
        yield _on_holes(analysis.scan, ids, holes)
    yield from _widths(analysis.scan, ids, bool(holes))


def _holes(scan: DatasetScan, ids: list[int]) -> list[int]:
    """Scene ids below the last one of which there is no view."""
    if ids[-1] + 1 == len(ids):
        return []
    if ids[-1] >= _MOST_IDS:
        return [0]
    # A scene whose pictures are all gone but whose poses are there has a hole for another reason, which
    # FILE-MISSING names.
    orphaned = {_scene_of(name) for name in scan.dataset.orphans}
    return [
        scene for scene in range(ids[-1] + 1) if scene not in scan.dataset.scenes and scene not in orphaned
    ]


def _on_holes(scan: DatasetScan, ids: list[int], holes: list[int]) -> Finding:
    if ids[-1] + 1 - len(ids) == len(holes) == ids[0] and not scan.unfinished:
        return Finding(
            "FILE-IDS",
            "E",
            f"scene ids run {ids[0]} … {ids[-1]}, expected 0 … {len(ids) - 1}: uORF's code counts from 0 "
            "and finds no view of its first scenes",
            "renumber the scenes from 0 (--fix does)",
            unit="scenes",
            total=len(ids),
            count=len(holes),
            fixable=True,
        )
    severity: Severity = "E"
    if scan.unfinished:
        severity = "W"
        message = (
            f"{len(holes)} scenes before the last one are not made yet, the first is {holes[0]}: workers do "
            "not finish in order. objnerf trains on what is there; uORF's own loader needs ids without holes"
        )
        fix = "run the same `objnerf generate` again for the rest, or renumber a copy (--fix does)"
    else:
        shown = ", ".join(str(scene) for scene in holes[:3]) + (", …" if len(holes) > 3 else "")
        message = (
            f"{len(ids)} scenes with ids up to {ids[-1]}, expected 0 … {len(ids) - 1} without holes; "
            f"missing: {shown}"
        )
        fix = "renumber the scenes without holes (--fix does), or bring the missing ones"
    return Finding(
        "FILE-IDS", severity, message, fix, unit="scenes", count=len(holes), total=ids[-1] + 1, fixable=True
    )


def _widths(scan: DatasetScan, ids: list[int], has_holes: bool) -> Iterator[Finding]:
    """Scene ids that are written with another number of digits than the rest."""
    widths = Counter(view.name.digits for view in scan.views if view.name.digits >= names.MIN_DIGITS)
    usual = names.scene_digits(ids[-1] + 1) if ids[-1] < 10**17 else names.MIN_DIGITS
    odd = [
        index
        for index, view in enumerate(scan.views)
        if view.name.digits >= names.MIN_DIGITS and view.name.digits != usual
    ]
    if odd and not (has_holes and max(widths) == min(widths)):
        yield on_views(
            scan,
            "FILE-IDS",
            "E" if len(widths) > 1 else "W",
            odd,
            f"the scene id has {scan.views[odd[0]].name.digits} digits, expected {usual} for "
            f"{len(ids)} "
            "scenes" + (", the same in every name" if len(widths) > 1 else ""),
            f"write every scene id with {usual} digits (--fix does)",
            fixable=True,
        )


def _scene_of(companion: str) -> int | None:
    split = names.split_companion(companion)
    name = names.parse_view_name(split[0] + ".png") if split else None
    return name.scene if name else None


@check("FILE-AMBIGUOUS", "E", "no scene id is contained in another path")
def file_ambiguous(analysis: Analysis) -> Iterator[Finding]:
    needles = {f"{view.scene:0{view.name.digits}d}": view.scene for view in analysis.scan.views}
    # Once: there may be as many ids as names that are searched for them.
    widths = {len(needle) for needle in needles}
    root = analysis.scan.dataset.root.absolute()
    in_root = _scenes_in(str(root), needles, widths)
    if in_root:
        scene = min(in_root)
        yield Finding(
            "FILE-AMBIGUOUS",
            "E",
            f"the folder's own path, {root}, contains the id of scene {scene}: the "
            "reference looks for the id anywhere in the path and takes every file for that scene",
            "rename the folder so that no part of its path holds sc and a scene's digits",
        )
    yield from _ambiguous_names(analysis.scan, needles, widths)


def _ambiguous_names(scan: DatasetScan, needles: dict[str, int], widths: set[int]) -> Iterator[Finding]:
    """Names of views that hold more than one scene id."""
    views = scan.views
    confused = [
        (index, other)
        for index, view in enumerate(views)
        if (other := _scenes_in(view.stem, needles, widths) - {view.scene})
    ]
    if confused:
        index, other = confused[0]
        held, scene = _ids_in(views[index].stem), views[index].scene
        what = (
            f"the name holds {len(held)} scene ids, {', '.join(held)}"
            if len(held) > 1
            else f"the name of a view of scene {scene} also contains the id of scene {min(other)}"
        )
        yield on_views(
            scan,
            "FILE-AMBIGUOUS",
            "E",
            [index for index, _ in confused],
            f"{what}: it is a view of scene {scene} here, and uORF's code would load it for "
            f"scene {min(other)} as well",
            "give every id the same number of digits and keep sc followed by digits out of prefixes (--fix "
            "renames)",
            fixable=True,
        )
    named = {index for index, _ in confused}
    double = [i for i, view in enumerate(views) if i not in named and len(_ids_in(view.stem)) > 1]
    if double:
        held = _ids_in(views[double[0]].stem)
        yield on_views(
            scan,
            "FILE-AMBIGUOUS",
            "W",
            double,
            f"the name holds {len(held)} scene ids, {', '.join(held)}: the last one counts here, and other "
            "loaders may take another",
            "keep sc followed by digits out of all but the id (--fix renames)",
            fixable=True,
        )


def _scenes_in(text: str, needles: dict[str, int], widths: set[int]) -> set[int]:
    """Scenes whose id (a needle, in digits) stands in a text behind sc; ``widths`` are the needles' own."""
    found = set()
    for match in _SCENE_TOKEN.finditer(text):
        digits = match.group(1)
        found |= {needles[digits[:width]] for width in widths if digits[:width] in needles}
    return found


def _ids_in(stem: str) -> list[str]:
    """What looks like a scene id in a name: sc0000 and such, each once."""
    tokens = (match.group(1) for match in _SCENE_TOKEN.finditer(stem))
    return list(dict.fromkeys(f"sc{digits}" for digits in tokens if len(digits) >= names.MIN_DIGITS))


@check("FILE-STRAY", "E", "every PNG beside the views is a view or belongs to one")
def file_stray(analysis: Analysis) -> Iterator[Finding]:
    misnamed = set(misnamed_views(analysis))
    strays = [name for name in analysis.scan.dataset.strays if name not in misnamed]
    if strays:
        yield on_files(
            "FILE-STRAY",
            "W",
            strays,
            "a PNG that is no view lies beside the views; a loader that takes every PNG would take it for "
            "one",
            "move it to a sub-folder or delete it (--fix leaves it out)",
            fixable=True,
        )
    if analysis.scan.extras:
        yield on_files(
            "FILE-STRAY",
            "E",
            [f"{view.stem}.png" for view in analysis.scan.extras],
            "a PNG without a pose is called like another view plus a suffix: an extra pass, which every "
            "loader takes for a view of the scene",
            "move extra passes to a sub-folder (--fix leaves them out)",
            fixable=True,
        )
    others = [
        name for name in analysis.scan.dataset.others if name.lower().endswith((*_OTHER_IMAGES, ".png"))
    ]
    others = [name for name in others if _SCENE_TOKEN.search(name)]
    if others:
        yield on_files(
            "FILE-STRAY",
            "W",
            others,
            "an image that is no .png (in lower case) has a scene id in its name; no loader reads it",
            "convert it to PNG, or move it out of the folder",
        )


@check("FILE-MISSING", "E", "every view has its pose, every pose its view, and no companion lacks")
def file_missing(analysis: Analysis) -> Iterator[Finding]:
    lacking = [
        index for index, view in enumerate(analysis.scan.views) if names.POSE_SUFFIX not in view.companions
    ]
    if lacking:
        yield on_views(
            analysis.scan,
            "FILE-MISSING",
            "E",
            lacking,
            "a view has no _RT.txt beside it; every view needs its 4×4 camera-to-world matrix",
            "write the missing pose, or remove the view",
        )
    misnamed = {name.removesuffix(".png") for name in misnamed_views(analysis)}
    orphans: dict[str, list[str]] = {}
    for name in analysis.scan.dataset.orphans:
        split = names.split_companion(name)
        if split and split[0] not in misnamed:
            orphans.setdefault(split[0], []).append(split[1])
    posed = [stem for stem, suffixes in orphans.items() if names.POSE_SUFFIX in suffixes]
    if posed:
        yield on_files(
            "FILE-MISSING",
            "E",
            [stem + names.POSE_SUFFIX for stem in posed],
            "a pose has no view: there is no .png image of that name",
            "restore the image, or delete the pose and the other files of the view (--fix leaves them out)",
            fixable=True,
        )
    rest = [stem + suffix for stem, suffixes in orphans.items() if stem not in posed for suffix in suffixes]
    if rest:
        yield on_files(
            "FILE-MISSING",
            "W",
            rest,
            "a companion file belongs to no view",
            "restore the image, or delete the file (--fix leaves it out)",
            fixable=True,
        )
    for suffix, word in (
        (names.MASK_SUFFIX, "mask"),
        (names.DEPTH_SUFFIX, "depth map"),
        (names.AZIMUTH_SUFFIX, "azimuth file"),
    ):
        without = [index for index, view in enumerate(analysis.scan.views) if suffix not in view.companions]
        if without and len(without) < len(analysis.scan.views):
            azimuth = suffix == names.AZIMUTH_SUFFIX
            yield on_views(
                analysis.scan,
                "FILE-MISSING",
                "W",
                without,
                f"a view has no {word} ({suffix}) though other views have one",
                "write it from the pose (--fix does)"
                if azimuth
                else f"bring the missing {word}, or remove the others",
                suffix=suffix,
                fixable=azimuth,
            )


@check("FILE-VIEWS", "E", "every scene has enough views, and as many as the others", limits=("min_views",))
def file_views(analysis: Analysis) -> Iterator[Finding]:
    count: Counter[int] = Counter()
    for view in analysis.scan.views:
        count[view.scene] += 1
    # Views whose picture is missing are FILE-MISSING's; they don't make their scene short as well.
    for name in analysis.scan.dataset.orphans:
        split = names.split_companion(name)
        scene = _scene_of(name)
        if split and split[1] == names.POSE_SUFFIX and scene is not None and scene in count:
            count[scene] += 1
    if not count:
        return
    least = int(analysis.limits.min_views)
    few = sorted(scene for scene, views in count.items() if views < least)
    if few:
        yield on_scenes(
            analysis.scan,
            "FILE-VIEWS",
            "E",
            few,
            f"a scene has {count[few[0]]} view{'s' if count[few[0]] != 1 else ''}, expected at least "
            f"{least}: nothing can be learnt about novel views from it",
            "render more views of the scene, or remove it",
        )
    promised = analysis.scan.card.views_per_scene if analysis.scan.card else None
    usual = promised or Counter(count.values()).most_common(1)[0][0]
    short = sorted(scene for scene, views in count.items() if least <= views < usual)
    # Sets whose scenes have all kinds of view counts are made that way; one short scene among equals is not.
    uneven = len(short) > 0.5 * len(count) and not promised
    # A view whose name holds no id is FILE-NAME's; it need not make its scene short as well.
    lacking = sum(usual - count[scene] for scene in short)
    if short and not uneven and (promised or len(misnamed_views(analysis)) != lacking):
        source = "dataset.yaml says" if promised else "most scenes have"
        yield on_scenes(
            analysis.scan,
            "FILE-VIEWS",
            "E" if promised else "W",
            short,
            f"a scene has {count[short[0]]} views, {source} {usual}: uORF's code crashes in training and "
            "leaves views out in evaluation",
            "add the missing views, or train with fewer views per scene",
        )
