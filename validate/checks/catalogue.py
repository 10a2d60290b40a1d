"""All checks, in the order in which they are reported, and their pages of documentation."""

from collections.abc import Iterable
from difflib import get_close_matches
from importlib import resources

from objnerf.errors import InputError
from validate.checks import (
    azimuth,
    boxes,
    depths,
    files,
    images,
    intrinsics,
    masks,
    meta,
    photo,
    poses,
    world,
)
from validate.checks.check import Check
from validate.options import Options

#: What is read first in a report comes first.
_IN_ORDER: tuple[Check, ...] = (
    files.file_name,
    files.file_ids,
    files.file_ambiguous,
    files.file_stray,
    files.file_missing,
    files.file_views,
    images.image_read,
    images.image_size,
    images.image_mode,
    images.image_blank,
    images.image_dup,
    poses.pose_read,
    poses.pose_shape,
    poses.pose_finite,
    poses.pose_bottom,
    poses.pose_ortho,
    poses.pose_det,
    poses.pose_axes,
    poses.pose_handed,
    poses.pose_inverted,
    poses.pose_transposed,
    poses.pose_translation,
    poses.pose_up,
    poses.pose_roll,
    poses.pose_dup,
    world.world_centre,
    world.world_scale,
    boxes.box_pixels,
    boxes.box_objects,
    boxes.near_far,
    intrinsics.intrinsics,
    intrinsics.intrinsics_file,
    masks.mask_levels,
    masks.mask_background,
    masks.mask_small,
    masks.mask_size,
    depths.depth_read,
    depths.depth_kind,
    depths.depth_views,
    azimuth.azimuth,
    world.views_spread,
    meta.meta,
    photo.photo,
)


def all_checks() -> dict[str, Check]:
    """Every check by id, in the order in which they are reported."""
    return {check.id: check for check in _IN_ORDER}


def choose_checks(options: Options) -> list[Check]:
    """The checks to run, in order.

    Raises:
        InputError: an id or prefix names no check, or none is left.
    """
    known = all_checks()
    wanted, unwanted = _expand(options.only, known), _expand(options.skip, known)
    chosen = []
    for id, check in known.items():
        if (wanted and id not in wanted) or id in unwanted:
            continue
        if options.quick and check.needs != "poses":
            continue
        if check.needs == "photo" and not options.photo and id not in wanted:
            continue
        chosen.append(check)
    if not chosen:
        raise InputError("no check is left to run; loosen --only and --skip")
    return chosen


def _expand(ids: Iterable[str], known: dict[str, Check]) -> set[str]:
    expanded: set[str] = set()
    for word in ids:
        for part in word.replace(",", " ").split():
            name = part.upper()
            found = {id for id in known if id == name or id.startswith(name + "-")}
            if not found:
                raise InputError(_unknown(part))
            expanded |= found
    return expanded


def explain(id: str) -> str:
    """The documentation page of a check: what it means, how it happens, how to fix it, an example.

    Raises:
        InputError: there is no such check.
    """
    name = id.strip().upper()
    if name not in all_checks():
        raise InputError(_unknown(id))
    return (resources.files("validate.checks") / "pages" / f"{name}.md").read_text(encoding="utf-8")


def _unknown(id: str) -> str:
    """The message on an id that no check has."""
    near = get_close_matches(id.upper(), all_checks(), n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"no check is called {id!r}.{hint} The checks are {', '.join(all_checks())}"
