"""What a dataset is checked against: the training settings, and the thresholds of the checks."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from objnerf.dataset.card import UORF_SCALE, DatasetCard
from objnerf.errors import InputError
from validate.options import SETTINGS, Options

#: Where a setting came from.
OPTION, VIEWS, CARD, REFERENCE = "option", "_intrinsics.txt", "dataset.yaml", "reference"


@dataclass(frozen=True)
class Settings:
    """Training settings that a dataset has to suit, each with its source.

    Attributes:
        near, far: planar depths between which rays are sampled, world units.
        nss_scale: world units are divided by it before they reach a network.
        obj_scale: half side of the locality box, world units.
        focal_ratio: (fx / width, fy / height) of all views; where cameras differ, the median.
        num_slots: slots of the model, background included; None when nobody said.
        source: for each of them ``option``, ``dataset.yaml`` or ``reference``; for the focal ratio also
            ``_intrinsics.txt``, the views' own files.
    """

    near: float = UORF_SCALE.near
    far: float = UORF_SCALE.far
    nss_scale: float = UORF_SCALE.nss_scale
    obj_scale: float = UORF_SCALE.obj_scale
    focal_ratio: tuple[float, float] = UORF_SCALE.focal_ratio
    num_slots: int | None = None
    source: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Values and sources, for the reports."""
        return {
            name: {"value": getattr(self, name), "source": self.source.get(name, REFERENCE)}
            for name in SETTINGS
            if getattr(self, name) is not None
        }


def resolve_settings(card: DatasetCard | None, options: Options) -> Settings:
    """Options before ``dataset.yaml`` before uORF's values.

    Raises:
        InputError: far, given as an option, is not beyond near, or near not before far.
    """
    values: dict[str, Any] = {}
    source: dict[str, str] = {}
    for name in SETTINGS:
        option = getattr(options, name)
        stated = getattr(card, name, None) if name != "num_slots" else None
        if option is not None:
            values[name] = tuple(option) if name == "focal_ratio" else option
            source[name] = OPTION
        elif stated is not None:
            values[name], source[name] = stated, CARD
        else:
            source[name] = REFERENCE
    settings = Settings(**values, source=source)
    if settings.far <= settings.near and (source["near"] == OPTION or source["far"] == OPTION):
        raise InputError(f"far must be beyond near, got near {settings.near:g} and far {settings.far:g}")
    return settings


def _limit(default: float, doc: str) -> Any:
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True)
class Limits:
    """Every threshold of every check, with its unit; what each rests on is said on the check's page."""

    min_views: float = _limit(2.0, "fewest views of a scene")
    blank_range: float = _limit(3.0, "an image whose channels each span at most this many levels is constant")
    dark_share: float = _limit(0.99, "share of pixels at or below level 8 that makes an image black")
    bright_share: float = _limit(0.98, "share of pixels at or above level 250 that makes an image blown out")
    bottom_error: float = _limit(1e-4, "largest deviation of a pose's last row from 0 0 0 1")
    ortho_error: float = _limit(1e-3, "largest entry of |RᵀR - 1|")
    det_error: float = _limit(3e-3, "largest deviation of a uniform scale from 1")
    off_axis_degrees: float = _limit(20.0, "angle between the optical axis and the direction to the scene")
    roll_degrees: float = _limit(5.0, "roll of a camera")
    same_pose: float = _limit(
        1e-5, "poses that differ by less, relative to the camera distance, are the same"
    )
    centre_warn: float = _limit(0.25, "|focus| / obj_scale that warns")
    centre_error: float = _limit(0.5, "|focus| / obj_scale that is an error")
    centre_jitter: float = _limit(0.1, "look-at jitter to allow for, as a share of obj_scale")
    scale_low: float = _limit(0.5, "least median camera distance / nss_scale")
    scale_high: float = _limit(4.0, "greatest median camera distance / nss_scale")
    box_pixels: float = _limit(0.80, "share of a view's pixels whose ray meets the locality box")
    box_objects: float = _limit(0.98, "share of foreground depth inside the locality box")
    clip_share: float = _limit(0.05, "share of depth outside near … far that warns")
    clip_box: float = _limit(0.10, "share of the ray length inside the locality box outside near … far")
    pixel_aspect: float = _limit(0.02, "deviation of the pixels' aspect from square")
    mask_tiny: float = _limit(0.001, "share of pixels below which a label is small")
    depth_tolerance: float = _limit(0.02, "relative difference at which two depths agree")
    depth_agree: float = _limit(0.70, "share of landed pixels that agree, below which it warns")
    depth_contradict: float = _limit(
        0.10, "share of landed pixels that contradict, above which it is an error"
    )
    azimuth_degrees: float = _limit(0.1, "difference between stored azimuth and pose")
    spread_degrees: float = _limit(
        2.0, "largest angle between a scene's views below which they hardly differ"
    )
    meta_pose: float = _limit(1e-4, "largest difference between a stored pose and the scene's description")
    photo_inliers: float = _limit(0.5, "share of feature matches that fit the poses")

    def with_changes(self, changes: Mapping[str, float]) -> "Limits":
        """A copy with some limits changed.

        Raises:
            InputError: there is no such limit.
        """
        known = {item.name for item in fields(self)}
        for name in changes:
            if name not in known:
                raise InputError(f"no limit is called {name!r}; there are {', '.join(sorted(known))}")
        return replace(self, **changes)

    def as_dict(self) -> dict[str, float]:
        """Name to value."""
        return {item.name: float(getattr(self, item.name)) for item in fields(self)}
