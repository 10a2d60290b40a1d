"""View names and scene ids: what a file name of the dataset format means, and how one is made.

The only effective part of a view's name is ``sc`` followed by the scene id in decimal digits, as in
``00011_sc0002_img3.png``. Companions stand beside a view under its stem: ``00011_sc0002_img3_RT.txt``.
"""

import re
import sys
from dataclasses import dataclass

POSE_SUFFIX = "_RT.txt"
AZIMUTH_SUFFIX = "_azi_rot.txt"
MASK_SUFFIX = "_mask.png"
DEPTH_SUFFIX = "_depth.npy"
INTRINSICS_SUFFIX = "_intrinsics.txt"
AMODAL_FOLDER = "amodal"

#: The files of the scene-manipulation test, beside the view that they belong to.
EDIT_SUFFIXES = (
    "_moved.png",
    "_changed.png",
    "_providing_bg.png",
    "_mask_for_moving.png",
    "_mask_for_bg.png",
    "_mask_for_providing_bg.png",
)

#: Everything that may stand beside ``{stem}.png``. Longest first, since ``_mask_for_providing_bg.png`` also
#: ends with ``_providing_bg.png``.
COMPANION_SUFFIXES = tuple(
    sorted(
        (POSE_SUFFIX, AZIMUTH_SUFFIX, MASK_SUFFIX, DEPTH_SUFFIX, INTRINSICS_SUFFIX, *EDIT_SUFFIXES),
        key=len,
        reverse=True,
    )
)

MIN_DIGITS = 4

_SCENE = re.compile(rf"sc(\d{{{MIN_DIGITS},}})")
# Too short, but meant: the validator says so. Inside a word, as in disc0.png, it means nothing.
_SHORT_SCENE = re.compile(r"(?<![^\W\d_])sc(\d+)")
_AMODAL = re.compile(r"(.+)_object(\d{1,6})\.png")
_MOVEMENT = re.compile(r"(\d+)_movement\.txt")


@dataclass(frozen=True, slots=True)
class ViewName:
    """A view's file name, taken apart at its scene id: ``{prefix}sc{scene}{suffix}.png``."""

    prefix: str
    scene: int
    digits: int
    suffix: str

    @property
    def stem(self) -> str:
        return f"{self.prefix}sc{self.scene:0{self.digits}d}{self.suffix}"


def split_companion(filename: str) -> tuple[str, str] | None:
    """``(stem, suffix)`` of a companion file such as ``x_sc0001_RT.txt``; None for any other name."""
    for suffix in COMPANION_SUFFIXES:
        if filename.endswith(suffix) and len(filename) > len(suffix):
            return filename[: -len(suffix)], suffix
    return None


def parse_view_name(filename: str) -> ViewName | None:
    """Take a view's file name (``….png``, no folder) apart; None when it is no view.

    A companion (``…_mask.png``) is no view. An id has four digits or more; a shorter one (``x_sc1.png``, but
    not ``disc1.png``) is taken where there is no other, and is FILE-NAME's to judge. Where several fit the
    last one counts; FILE-AMBIGUOUS warns of it, because uORF matches any occurrence.
    """
    if not filename.endswith(".png") or split_companion(filename) is not None:
        return None
    stem = filename[: -len(".png")]
    matches = list(_SCENE.finditer(stem)) or list(_SHORT_SCENE.finditer(stem))
    if not matches:
        return None
    found = matches[-1]
    digits = found.group(1)
    # int() of a name longer than this is slow and, over 4300 digits, an error.
    if len(digits) > 18:
        return None
    # A dataset has few suffixes, and many views.
    return ViewName(stem[: found.start()], int(digits), len(digits), sys.intern(stem[found.end() :]))


def scene_digits(n_scenes: int) -> int:
    """Width of every scene id in a dataset of ``n_scenes`` scenes: 4, or more beyond 10,000 scenes.

    All ids of a dataset have one width; otherwise ``sc1000`` is also found in ``sc10000``.
    """
    if n_scenes < 0:
        raise ValueError(f"n_scenes must not be negative, got {n_scenes}")
    return max(MIN_DIGITS, len(str(max(n_scenes - 1, 0))))


def make_view_stem(index: int, scene: int, view: int, n_scenes: int) -> str:
    """The stem that this package writes: running index, scene id, view number in the scene.

    >>> make_view_stem(index=11, scene=2, view=3, n_scenes=64)
    '00011_sc0002_img3'
    """
    if not 0 <= scene < n_scenes:
        raise ValueError(f"scene must be in 0..{n_scenes - 1}, got {scene}")
    if index < 0 or view < 0:
        raise ValueError(f"index and view must not be negative, got {index} and {view}")
    return f"{index:05d}_sc{scene:0{scene_digits(n_scenes)}d}_img{view}"


def amodal_name(stem: str, label: int) -> str:
    """Where an object's amodal mask lies: ``amodal/00011_sc0002_img3_object1.png``."""
    return f"{AMODAL_FOLDER}/{stem}_object{label}.png"


def parse_amodal_name(filename: str) -> tuple[str, int] | None:
    """Stem and label of a file in ``amodal/``; None for any other name."""
    found = _AMODAL.fullmatch(filename)
    return (found.group(1), int(found.group(2))) if found else None


def movement_name(scene: int) -> str:
    """File name of a scene's movement in the manipulation test: ``002_movement.txt``."""
    return f"{scene:03d}_movement.txt"


def parse_movement_name(filename: str) -> int | None:
    """Scene id of a ``002_movement.txt``; None for any other name."""
    found = _MOVEMENT.fullmatch(filename)
    return int(found.group(1)) if found and len(found.group(1)) <= 18 else None
