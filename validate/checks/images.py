"""Checks on the views' pictures: readable, one size, plain 8-bit RGB, not empty, not repeated."""

import itertools
from collections.abc import Iterator

import numpy as np

from validate.analysis.duplicates import equal_images, same_pose_pairs
from validate.analysis.model import Analysis
from validate.checks.check import check
from validate.findings import Finding, on_views
from validate.measure.pictures import BROKEN, READ


@check("IMAGE-READ", "E", "every image can be decoded", needs="pictures")
def image_read(analysis: Analysis) -> Iterator[Finding]:
    pictures = analysis.measured
    broken = np.flatnonzero(pictures.rows["image"] == BROKEN)
    if len(broken):
        yield on_views(
            analysis.scan,
            "IMAGE-READ",
            "E",
            broken,
            f"the image cannot be read: {pictures.problems[int(broken[0]), 'image']}",
            "render or copy the image again",
        )
    masks = np.flatnonzero(pictures.rows["mask"] == BROKEN)
    if len(masks):
        yield on_views(
            analysis.scan,
            "IMAGE-READ",
            "E",
            masks,
            f"the mask cannot be read: {pictures.problems[int(masks[0]), 'mask']}",
            "render or copy the mask again",
            suffix="_mask.png",
        )


@check("IMAGE-SIZE", "E", "all images have one size", needs="pictures")
def image_size(analysis: Analysis) -> Iterator[Finding]:
    rows = analysis.rows
    size = analysis.usual_size
    if size is None:
        return
    other = np.flatnonzero(
        (rows["image"] == READ) & ((rows["width"] != size[0]) | (rows["height"] != size[1]))
    )
    if len(other):
        row = rows[other[0]]
        yield on_views(
            analysis.scan,
            "IMAGE-SIZE",
            "E",
            other,
            f"the image has {row['width']}×{row['height']} pixels, expected {size[0]}×{size[1]} like the "
            "others: one set of intrinsics holds for the whole dataset",
            "render it again at the size of the others; scaling it changes nothing only when the aspect is "
            "the same",
        )


@check("IMAGE-MODE", "W", "images are 8-bit RGB without transparency", needs="pictures")
def image_mode(analysis: Analysis) -> Iterator[Finding]:
    pictures = analysis.measured
    rows = pictures.rows
    read = rows["image"] == READ
    clear = np.flatnonzero(read & (rows["alpha"] < 255))
    if len(clear):
        yield on_views(
            analysis.scan,
            "IMAGE-MODE",
            "W",
            clear,
            f"the image is transparent in places (alpha down to {rows['alpha'][clear[0]]}): loaders "
            "flatten it on white, on black, or not at all",
            "flatten it on the background that you mean (--fix: on white)",
            fixable=True,
        )
    deep = np.flatnonzero(read & (rows["bits"] == 16))
    if len(deep):
        yield on_views(
            analysis.scan,
            "IMAGE-MODE",
            "W",
            deep,
            "the image has 16 bits a channel, expected 8: some loaders clip such images, others scale them",
            "save it as 8-bit RGB (--fix does)",
            fixable=True,
        )
    taken = set(clear.tolist()) | set(deep.tolist())
    odd: dict[str, list[int]] = {}
    for view, mode in sorted(pictures.modes.items()):
        if (
            view not in taken
            and mode != "RGB PNG"
            and not (mode == "RGBA PNG" and analysis.all_are_opaque_rgba)
        ):
            odd.setdefault(mode, []).append(view)
    for mode, views in odd.items():
        kind, file_format = mode.split(" ", 1)
        what = {
            "P": "a palette",
            "L": "grey levels",
            "1": "black and white",
            "LA": "grey levels with alpha",
            "RGBA": "RGB with an alpha channel that is opaque everywhere (it will be left out)",
        }.get(kind, f"mode {kind}")
        if file_format != "PNG":
            what = f"{file_format} data in a .png file" + ("" if kind == "RGB" else f", {what}")
        yield on_views(
            analysis.scan,
            "IMAGE-MODE",
            "W",
            views,
            f"the image is {what}, expected an 8-bit RGB PNG",
            "save it as 8-bit RGB PNG (--fix does)",
            fixable=True,
        )


@check(
    "IMAGE-BLANK",
    "E",
    "no image is of one colour, black or blown out",
    needs="pictures",
    limits=("blank_range", "dark_share", "bright_share"),
)
def image_blank(analysis: Analysis) -> Iterator[Finding]:
    rows = analysis.rows
    limits = analysis.limits
    read = rows["image"] == READ
    constant = read & (rows["range"] <= limits.blank_range)
    if constant.any():
        yield on_views(
            analysis.scan,
            "IMAGE-BLANK",
            "E",
            np.flatnonzero(constant),
            f"the image is of one colour (its channels span at most {limits.blank_range:g} levels): a "
            "failed render, or a camera inside an object",
            "render it again",
        )
    black = read & ~constant & (rows["dark"] > limits.dark_share)
    if black.any():
        yield on_views(
            analysis.scan,
            "IMAGE-BLANK",
            "W",
            np.flatnonzero(black),
            f"{100 * rows['dark'][black].max():.1f} % of the image is black: no lights, or a wrong exposure",
            "check the lights and render it again",
        )
    white = read & ~constant & (rows["bright"] > limits.bright_share)
    if white.any():
        yield on_views(
            analysis.scan,
            "IMAGE-BLANK",
            "W",
            np.flatnonzero(white),
            f"{100 * rows['bright'][white].max():.1f} % of the image is blown out (white): too much "
            "light, or nothing but background in view",
            "lower the exposure and render it again",
        )


@check("IMAGE-DUP", "E", "no two views show the same image, and no pose has two", needs="pictures")
def image_dup(analysis: Analysis) -> Iterator[Finding]:
    groups = equal_images(analysis)
    same_pose = set(same_pose_pairs(analysis))
    twice = [
        group
        for group in groups
        if not all((first, second) in same_pose for first, second in itertools.pairwise(group))
    ]
    if twice:
        first, second = twice[0][:2]
        yield on_views(
            analysis.scan,
            "IMAGE-DUP",
            "E",
            sorted(view for group in twice for view in group[1:]),
            f"the same image with two poses: {analysis.scan.views[second].stem} shows exactly what "
            f"{analysis.scan.views[first].stem} shows; an image was overwritten by another",
            "render it again",
        )
    member = {view: number for number, group in enumerate(groups) for view in group}
    rows = analysis.rows
    differing = [
        (first, second)
        for first, second in same_pose
        if rows["image"][first] == READ
        and rows["image"][second] == READ
        and member.get(first, -1) != member.get(second, -2)
    ]
    if differing:
        first, second = min(differing)
        yield on_views(
            analysis.scan,
            "IMAGE-DUP",
            "E",
            sorted({second for _, second in differing}),
            f"different images with the same pose: {analysis.scan.views[second].stem} and "
            f"{analysis.scan.views[first].stem}; one of the two poses belongs to another image",
            "export the poses of this scene again",
        )
