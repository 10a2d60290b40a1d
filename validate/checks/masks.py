"""Checks on instance masks, as uORF's code reads them: labels are the distinct grey levels."""

from collections.abc import Iterator

import numpy as np

from validate.analysis.labels import MaskFacts, breaks_rule, mask_facts, relabelling
from validate.analysis.model import Analysis
from validate.checks.check import check
from validate.findings import Finding, on_views
from validate.measure.pictures import READ

_MASK = "_mask.png"


def _rgb(packed: int) -> str:
    return f"({packed >> 16 & 255}, {packed >> 8 & 255}, {packed & 255})"


@check(
    "MASK-LEVELS",
    "E",
    "a mask's labels are few flat colours of distinct luminance",
    needs="pictures",
    limits=("mask_tiny",),
)
def mask_levels(analysis: Analysis) -> Iterator[Finding]:
    facts = mask_facts(analysis)
    rows = analysis.rows
    blended = facts.views[facts.blended]
    if len(blended):
        count = int(rows["n_colours"][blended].max())
        yield on_views(
            analysis.scan,
            "MASK-LEVELS",
            "E",
            blended,
            f"the mask has {'over 65000' if count > 65535 else count} colours, most of them on a few pixels: "
            "anti-aliased or compressed edges; every grey level counts as an object",
            "render masks without a filter and without interpolation, and save them as PNG",
            suffix=_MASK,
        )
    ambiguous = _same_luminance(facts)
    if ambiguous:
        first, second, grey = next(iter(ambiguous.values()))
        yield on_views(
            analysis.scan,
            "MASK-LEVELS",
            "E",
            sorted(ambiguous),
            f"two labels have the same luminance: {_rgb(first)} and {_rgb(second)} both become grey "
            f"{grey}, and uORF's code takes them for one object",
            "use colours of distinct luminance, such as those of the format",
            suffix=_MASK,
        )
    _, recoloured = _inconsistent(analysis, facts)
    recoloured = [(view, colour) for view, colour in recoloured if view not in ambiguous]
    if recoloured:
        yield on_views(
            analysis.scan,
            "MASK-LEVELS",
            "W",
            [view for view, _ in recoloured],
            f"the mask has the label {_rgb(recoloured[0][1])} where the other views of the scene have "
            "another colour: an object that changes its colour changes its number",
            "give each object one colour in all views of a scene",
            suffix=_MASK,
        )
    if analysis.settings.num_slots is not None:
        labels = (facts.present & ~facts.tiny).sum(axis=1)
        many = (labels > analysis.settings.num_slots) & ~facts.blended
        if many.any():
            yield on_views(
                analysis.scan,
                "MASK-LEVELS",
                "W",
                facts.views[many],
                f"the mask has {labels[many].max()} labels with the background, the model "
                f"{analysis.settings.num_slots} slots: it cannot tell all objects apart",
                "train with more slots",
                suffix=_MASK,
            )


def _same_luminance(facts: MaskFacts) -> dict[int, tuple[int, int, int]]:
    """Two colours of equal grey level, and that level, for each view whose mask has such."""
    # Sort the grey levels, absent ones apart.
    distinct = np.where(facts.present, facts.greys, -1 - np.arange(facts.greys.shape[1]))
    ordered = np.sort(distinct, axis=1)
    repeated = np.diff(ordered, axis=1) == 0
    found: dict[int, tuple[int, int, int]] = {}
    for mask in np.flatnonzero(repeated.any(axis=1) & ~facts.blended):
        grey = int(ordered[mask][1:][repeated[mask]][0])
        first, second = facts.colours[mask][facts.present[mask] & (facts.greys[mask] == grey)][:2].tolist()
        found[int(facts.views[mask])] = (first, second, grey)
    return found


@check(
    "MASK-BACKGROUND", "E", "the background is the second lowest grey level of every mask", needs="pictures"
)
def mask_background(analysis: Analysis) -> Iterator[Finding]:
    facts = mask_facts(analysis)
    if not len(facts.views):
        return
    is_background = (facts.colours == facts.background) & facts.present
    there = is_background.any(axis=1)
    grey = np.where(there, (facts.greys * is_background).max(axis=1), 0)
    below = (facts.present & (facts.greys < grey[:, None])).sum(axis=1)
    lacking = ~there & ~facts.blended
    fixable = np.isin(facts.views, list(relabelling(analysis)))
    if lacking.any():
        yield on_views(
            analysis.scan,
            "MASK-BACKGROUND",
            "E",
            facts.views[lacking],
            f"the mask has no background colour {_rgb(facts.background)}: another colour is used, or an "
            "object fills the image",
            "write the background as (64, 64, 64) and the objects in the format's colours (--fix relabels a "
            "scene of which one object is seen in all views)",
            suffix=_MASK,
            fixable=bool(fixable[lacking].all()),
        )
    wrong = there & (below != 1) & ~facts.blended
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        labels = int(facts.present[first].sum())
        if labels == 1:
            cause = "no object is visible in the view"
        elif below[first] == 0:
            cause = "the first object, whose colour is the darkest, is not visible in the view"
        else:
            cause = f"{below[first]} objects are darker than the background"
        yield on_views(
            analysis.scan,
            "MASK-BACKGROUND",
            "E",
            facts.views[wrong],
            f"the background {_rgb(facts.background)} is grey level number {below[first] + 1} of {labels}, "
            f"expected the second lowest, which uORF's code takes for the background: {cause}",
            "give the first object a darker colour than the background, as (0, 0, 255), and all others "
            "brighter ones (--fix relabels a scene of which one object is seen in all views); keep every "
            "object in view",
            suffix=_MASK,
            fixable=bool(fixable[wrong].all()),
        )


@check(
    "MASK-SMALL",
    "W",
    "every object is large enough, and visible in every view",
    needs="pictures",
    limits=("mask_tiny",),
)
def mask_small(analysis: Analysis) -> Iterator[Finding]:
    facts = mask_facts(analysis)
    rows = analysis.rows
    small = facts.tiny.any(axis=1) & ~facts.blended
    if small.any():
        first = int(np.flatnonzero(small)[0])
        pixels = rows["pixels"][facts.views[first]]
        slot = int(np.flatnonzero(facts.tiny[first])[-1])
        yield on_views(
            analysis.scan,
            "MASK-SMALL",
            "W",
            facts.views[small],
            f"an object, {_rgb(int(facts.colours[first, slot]))}, has only {int(pixels[slot])} pixels, "
            f"expected at least {100 * analysis.limits.mask_tiny:g} % of the image: almost fully hidden, "
            "or a stray colour",
            "render the scene from where all objects are seen, or repair the mask",
            suffix=_MASK,
        )
    hidden, _ = _inconsistent(analysis, facts)
    if hidden:
        colour = hidden[0][1]
        yield on_views(
            analysis.scan,
            "MASK-SMALL",
            "W",
            sorted({view for view, _ in hidden}),
            f"the object {_rgb(colour)} of this scene is visible in other views and not in this one: the "
            "reference numbers labels by the grey levels present, so objects change their numbers",
            "render the scene so that every object is seen in every view",
            suffix=_MASK,
        )


def _inconsistent(
    analysis: Analysis, facts: MaskFacts
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Views that lack a colour which another view of the scene has, and views with a colour of their own
    in place of one. Masks in which the background rule is broken are left to its check.

    Returns:
        ``(hidden, recoloured)``: pairs of a view and the colour.
    """
    clean = ~facts.blended & ~breaks_rule(facts)
    solid = facts.present & ~facts.tiny & clean[:, None]
    palette, columns = np.unique(np.where(solid, facts.colours, 0), return_inverse=True)
    if len(palette) > 64:
        return [], []
    seen = np.zeros((len(facts.views), len(palette)), dtype=bool)
    slots = np.nonzero(solid)
    seen[slots[0], columns.reshape(solid.shape)[slots]] = True
    specks = np.zeros_like(seen)
    slots = np.nonzero(facts.tiny & np.isin(facts.colours, palette))
    specks[slots[0], np.searchsorted(palette, facts.colours[slots])] = True
    scenes = analysis.scan.scene_index[facts.views]
    count = np.zeros((analysis.scan.n_scenes, len(palette)), dtype=np.int64)
    np.add.at(count, scenes, seen)
    masks = np.bincount(scenes[clean], minlength=analysis.scan.n_scenes)
    lacking = (count[scenes] > 0) & ~seen & ~specks & clean[:, None]
    usual = count[scenes] * 2 > masks[scenes][:, None]
    hidden: list[tuple[int, int]] = []
    recoloured: list[tuple[int, int]] = []
    for mask in np.flatnonzero(lacking.any(axis=1)):
        view = int(facts.views[mask])
        own = np.flatnonzero(seen[mask] & ~usual[mask])
        missed = np.flatnonzero(lacking[mask] & usual[mask])
        if len(own) and len(own) == len(missed):
            recoloured.append((view, int(palette[own[0]])))
    odd = {view for view, _ in recoloured}
    # A colour that only recoloured views have is not hidden in the others.
    regular = np.array([int(view) not in odd for view in facts.views], dtype=bool)
    elsewhere = np.zeros_like(count)
    np.add.at(elsewhere, scenes[regular], seen[regular])
    for mask in np.flatnonzero((lacking & (elsewhere[scenes] > 0)).any(axis=1) & regular):
        first = np.flatnonzero(lacking[mask] & (elsewhere[scenes[mask]] > 0))[0]
        hidden.append((int(facts.views[mask]), int(palette[first])))
    return hidden, recoloured


@check("MASK-SIZE", "E", "a mask is as large as its image", needs="pictures")
def mask_size(analysis: Analysis) -> Iterator[Finding]:
    rows = analysis.rows
    size = analysis.usual_size
    if size is None:
        return
    read = rows["mask"] == READ
    usual = (rows["mask_width"] == size[0]) & (rows["mask_height"] == size[1])
    own = (rows["mask_width"] == rows["width"]) & (rows["mask_height"] == rows["height"])
    wrong = np.flatnonzero(read & ~usual & ~own)
    if len(wrong):
        row = rows[wrong[0]]
        yield on_views(
            analysis.scan,
            "MASK-SIZE",
            "E",
            wrong,
            f"the mask has {row['mask_width']}×{row['mask_height']} pixels, its image {size[0]}×{size[1]}",
            "render the mask at the image's size; never interpolate labels",
            suffix=_MASK,
        )
