"""Checks on names alone: what is there, what is missing, and what the reference's loader would confuse."""

import re
from collections import Counter
from collections.abc import Iterator

from objnerf.dataset import names
from validate.checks.registry import check
from validate.findings import Finding
from validate.survey import Survey

_SCENE_TOKEN = re.compile(r"sc(\d+)")
_OTHER_IMAGES = (".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".exr")


def _on_files(
    id: str,
    severity: str,
    files: list[str],
    message: str,
    fix: str,
    total: int | None = None,
    mendable: bool = False,
) -> Finding:
    return Finding(
        id,
        "E" if severity == "E" else "W",
        message,
        fix,
        path=files[0],
        count=len(files),
        total=total,
        unit="files",
        examples=tuple(files[:3]),
        mendable=mendable,
    )


def misnamed_views(survey: Survey) -> list[str]:
    """PNGs without a scene id that have a pose beside them: views with a wrong name, not strays."""
    orphans = set(survey.dataset.orphans)
    return [
        stray for stray in survey.dataset.strays if stray.removesuffix(".png") + names.POSE_SUFFIX in orphans
    ]


@check("FILE-NAME", "E", "views are called {prefix}sc{scene:04d}{suffix}.png")
def file_name(survey: Survey) -> Iterator[Finding]:
    misnamed = misnamed_views(survey)
    if misnamed:
        yield _on_files(
            "FILE-NAME",
            "E",
            misnamed,
            "a picture with a pose beside it has no scene id in its name; expected 'sc' and at least 4 "
            "digits, as in "
            "00011_sc0002_img3.png",
            "rename the picture and its companions so that they hold sc and the scene's 4-digit id",
        )
    short = [index for index, view in enumerate(survey.views) if view.name.digits < names.MIN_DIGITS]
    if short:
        digits = survey.views[short[0]].name.digits
        yield survey.on_views(
            "FILE-NAME",
            "E",
            short,
            f"the scene id has {digits} digit{'s' if digits > 1 else ''}, expected at least "
            f"{names.MIN_DIGITS}: the "
            "reference looks for sc0001 and finds no such view",
            "pad the scene ids with zeros to 4 digits (--fix does)",
            mendable=True,
        )


@check("FILE-IDS", "E", "scene ids run 0 … n-1 without holes and with one width")
def file_ids(survey: Survey) -> Iterator[Finding]:
    ids = list(survey.dataset.scenes)
    if not ids:
        return
    # A scene whose pictures are all gone but whose poses are there has a hole for another reason, which
    # FILE-MISSING names.
    orphaned = {scene for scene in (_scene_of(name) for name in survey.dataset.orphans) if scene is not None}
    holes = (
        [
            scene
            for scene in range(ids[-1] + 1 if len(ids) < ids[-1] + 1 else 0)
            if scene not in survey.dataset.scenes
        ]
        if ids[-1] < 10_000_000
        else [0]
    )
    holes = [scene for scene in holes if scene not in orphaned]
    if holes and ids[-1] + 1 - len(ids) == len(holes) == ids[0] and not survey.unfinished:
        yield Finding(
            "FILE-IDS",
            "E",
            f"scene ids run {ids[0]} … {ids[-1]}, expected 0 … {len(ids) - 1}: the reference counts from 0 "
            "and finds "
            "no view of its first scenes",
            "renumber the scenes from 0 (--fix does)",
            unit="scenes",
            total=len(ids),
            count=len(holes),
            mendable=True,
        )
    elif holes and survey.unfinished:
        yield Finding(
            "FILE-IDS",
            "W",
            f"{len(holes)} scenes before the last one are not made yet, the first is {holes[0]}: workers do "
            "not finish in order. objnerf trains on what is there; uORF's own loader needs ids without holes",
            "run the same `objnerf generate` again for the rest, or renumber a copy (--fix does)",
            unit="scenes",
            count=len(holes),
            total=ids[-1] + 1,
            mendable=True,
        )
    elif holes:
        shown = ", ".join(str(scene) for scene in holes[:3]) + (", …" if len(holes) > 3 else "")
        yield Finding(
            "FILE-IDS",
            "E",
            f"{len(ids)} scenes with ids up to {ids[-1]}, expected 0 … {len(ids) - 1} without holes; "
            f"missing: {shown}",
            "renumber the scenes without holes (--fix does), or bring the missing ones",
            unit="scenes",
            count=len(holes),
            total=ids[-1] + 1,
            mendable=True,
        )
    widths = Counter(view.name.digits for view in survey.views if view.name.digits >= names.MIN_DIGITS)
    usual = names.scene_digits(ids[-1] + 1) if ids[-1] < 10**17 else names.MIN_DIGITS
    odd = [
        index
        for index, view in enumerate(survey.views)
        if view.name.digits >= names.MIN_DIGITS and view.name.digits != usual
    ]
    if odd and not (holes and max(widths) == min(widths)):
        yield survey.on_views(
            "FILE-IDS",
            "E" if len(widths) > 1 else "W",
            odd,
            f"the scene id has {survey.views[odd[0]].name.digits} digits, expected {usual} for {len(ids)} "
            "scenes" + (", the same in every name" if len(widths) > 1 else ""),
            f"write every scene id with {usual} digits (--fix does)",
            mendable=True,
        )


def _scene_of(companion: str) -> int | None:
    split = names.split_companion(companion)
    name = names.parse_view_name(split[0] + ".png") if split else None
    return name.scene if name else None


@check("FILE-AMBIGUOUS", "E", "no scene id is contained in another path")
def file_ambiguous(survey: Survey) -> Iterator[Finding]:
    needles: dict[str, int] = {}
    for view in survey.views:
        needles.setdefault(f"{view.scene:0{view.name.digits}d}", view.scene)
    widths = sorted({len(needle) for needle in needles})

    def other_scenes(text: str, own: int | None) -> set[int]:
        found = set()
        for match in _SCENE_TOKEN.finditer(text):
            digits = match.group(1)
            for width in widths:
                scene = needles.get(digits[:width]) if len(digits) >= width else None
                if scene is not None and scene != own:
                    found.add(scene)
        return found

    in_root = other_scenes(str(survey.dataset.root.absolute()), None)
    if in_root:
        scene = min(in_root)
        yield Finding(
            "FILE-AMBIGUOUS",
            "E",
            f"the folder's own path, {survey.dataset.root.absolute()}, contains the id of scene {scene}: the "
            "reference looks for the id anywhere in the path and takes every file for that scene",
            "rename the folder so that no part of its path holds sc and a scene's digits",
        )
    confused = [
        (index, other)
        for index, view in enumerate(survey.views)
        if (other := other_scenes(view.stem, view.scene))
    ]
    if confused:
        index, other = confused[0]
        held = _ids_in(survey.views[index].stem)
        view = survey.views[index]
        what = (
            f"the name holds {len(held)} scene ids, {', '.join(held)}"
            if len(held) > 1
            else f"the name of a view of scene {view.scene} also contains the id of scene {min(other)}"
        )
        yield survey.on_views(
            "FILE-AMBIGUOUS",
            "E",
            [index for index, _ in confused],
            f"{what}: it is a view of scene {view.scene} here, and the reference would load it for scene "
            f"{min(other)} as well",
            "give every id the same number of digits and keep sc followed by digits out of prefixes (--fix "
            "renames)",
            mendable=True,
        )
    named = {index for index, _ in confused}
    double = [
        index for index, view in enumerate(survey.views) if index not in named and len(_ids_in(view.stem)) > 1
    ]
    if double:
        held = _ids_in(survey.views[double[0]].stem)
        yield survey.on_views(
            "FILE-AMBIGUOUS",
            "W",
            double,
            f"the name holds {len(held)} scene ids, {', '.join(held)}: the last one counts here, and other "
            "loaders may take another",
            "keep sc followed by digits out of all but the id (--fix renames)",
            mendable=True,
        )


def _ids_in(stem: str) -> list[str]:
    """What looks like a scene id in a name: sc0000 and such, each once."""
    tokens = (match.group(1) for match in _SCENE_TOKEN.finditer(stem))
    return list(dict.fromkeys(f"sc{digits}" for digits in tokens if len(digits) >= names.MIN_DIGITS))


@check("FILE-STRAY", "E", "every PNG beside the views is a view or belongs to one")
def file_stray(survey: Survey) -> Iterator[Finding]:
    misnamed = set(misnamed_views(survey))
    strays = [name for name in survey.dataset.strays if name not in misnamed]
    if strays:
        yield _on_files(
            "FILE-STRAY",
            "W",
            strays,
            "a PNG that is no view lies beside the views; a loader that takes every PNG would take it for "
            "one",
            "move it to a sub-folder or delete it (--fix leaves it out)",
            mendable=True,
        )
    if survey.extras:
        yield _on_files(
            "FILE-STRAY",
            "E",
            [f"{view.stem}.png" for view in survey.extras],
            "a PNG without a pose is called like another view plus a suffix: an extra pass, which every "
            "loader "
            "takes for a view of the scene",
            "move extra passes to a sub-folder (--fix leaves them out)",
            mendable=True,
        )
    others = [name for name in survey.dataset.others if name.lower().endswith((*_OTHER_IMAGES, ".png"))]
    others = [name for name in others if _SCENE_TOKEN.search(name)]
    if others:
        yield _on_files(
            "FILE-STRAY",
            "W",
            others,
            "a picture that is no .png (in lower case) has a scene id in its name; no loader reads it",
            "convert it to PNG, or move it out of the folder",
        )


@check("FILE-MISSING", "E", "every view has its pose, every pose its view, and no companion lacks")
def file_missing(survey: Survey) -> Iterator[Finding]:
    lacking = [index for index, view in enumerate(survey.views) if names.POSE_SUFFIX not in view.companions]
    if lacking:
        yield survey.on_views(
            "FILE-MISSING",
            "E",
            lacking,
            "a view has no _RT.txt beside it; every view needs its 4×4 camera-to-world matrix",
            "write the missing pose, or remove the view",
        )
    misnamed = {name.removesuffix(".png") for name in misnamed_views(survey)}
    orphans: dict[str, list[str]] = {}
    for name in survey.dataset.orphans:
        split = names.split_companion(name)
        if split and split[0] not in misnamed:
            orphans.setdefault(split[0], []).append(split[1])
    posed = [stem for stem, suffixes in orphans.items() if names.POSE_SUFFIX in suffixes]
    if posed:
        yield _on_files(
            "FILE-MISSING",
            "E",
            [stem + names.POSE_SUFFIX for stem in posed],
            "a pose has no view beside it: the picture of that name with .png is not there",
            "bring the picture back, or remove its companions (--fix leaves them out)",
            mendable=True,
        )
    rest = [stem + suffix for stem, suffixes in orphans.items() if stem not in posed for suffix in suffixes]
    if rest:
        yield _on_files(
            "FILE-MISSING",
            "W",
            rest,
            "a companion file belongs to no view",
            "bring the picture back, or remove the file (--fix leaves it out)",
            mendable=True,
        )
    for suffix, word in (
        (names.MASK_SUFFIX, "mask"),
        (names.DEPTH_SUFFIX, "depth map"),
        (names.AZIMUTH_SUFFIX, "azimuth file"),
    ):
        without = [index for index, view in enumerate(survey.views) if suffix not in view.companions]
        if without and len(without) < len(survey.views):
            azimuth = suffix == names.AZIMUTH_SUFFIX
            yield survey.on_views(
                "FILE-MISSING",
                "W",
                without,
                f"a view has no {word} ({suffix}) though other views have one",
                "write it from the pose (--fix does)"
                if azimuth
                else f"bring the missing {word}, or remove the others",
                suffix=suffix,
                mendable=azimuth,
            )


@check("FILE-VIEWS", "E", "every scene has enough views, and as many as the others", limits=("min_views",))
def file_views(survey: Survey) -> Iterator[Finding]:
    count: Counter[int] = Counter()
    for view in survey.views:
        count[view.scene] += 1
    # Views whose picture is missing are FILE-MISSING's; they don't make their scene short as well.
    for name in survey.dataset.orphans:
        split = names.split_companion(name)
        scene = _scene_of(name)
        if split and split[1] == names.POSE_SUFFIX and scene is not None and scene in count:
            count[scene] += 1
    if not count:
        return
    least = int(survey.limits.min_views)
    few = sorted(scene for scene, views in count.items() if views < least)
    if few:
        yield survey.on_scenes(
            "FILE-VIEWS",
            "E",
            few,
            f"a scene has {count[few[0]]} view{'s' if count[few[0]] != 1 else ''}, expected at least "
            f"{least}: nothing "
            "can be learnt about novel views from it",
            "render more views of the scene, or remove it",
        )
    promised = survey.card.views_per_scene if survey.card else None
    usual = promised or Counter(count.values()).most_common(1)[0][0]
    short = sorted(scene for scene, views in count.items() if least <= views < usual)
    # Sets whose scenes have all kinds of view counts are made that way; one short scene among equals is not.
    uneven = len(short) > 0.5 * len(count) and not promised
    # A view whose name holds no id is FILE-NAME's; it need not make its scene short as well.
    lacking = sum(usual - count[scene] for scene in short)
    if short and not uneven and (promised or len(misnamed_views(survey)) != lacking):
        source = "dataset.yaml says" if promised else "most scenes have"
        yield survey.on_scenes(
            "FILE-VIEWS",
            "E" if promised else "W",
            short,
            f"a scene has {count[short[0]]} views, {source} {usual}: the reference crashes in training and "
            "leaves "
            "views out in evaluation",
            "bring the missing views, or train with fewer views per scene",
        )
