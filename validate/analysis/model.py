"""What is known of a dataset once its files have been read: what the checks look at.

An ``Analysis`` is filled in step by step: from the scan come the poses and their convention
(``poses.analyse_poses``), perhaps another reading of them (``readings.choose_reading``), then what pictures,
masks and depth maps hold (``pictures.measure_pictures``).
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float, Shaped

from validate.analysis.centring import Centring
from validate.analysis.diagnosis import Diagnosis
from validate.analysis.lenses import Lenses
from validate.analysis.pose_files import PoseFiles
from validate.measure.matches import SceneMatches
from validate.measure.pictures import READ, Pictures
from validate.scan import DatasetScan
from validate.settings import Limits, Settings

Kind = Literal["ray", "focal", "depth"]


@dataclass(frozen=True)
class Explanation:
    """A mistake without which the depths agree.

    Attributes:
        kind: ``ray`` (ray length as z), ``focal`` (intrinsics) or ``depth`` (another change of depth).
        words: what the mistake is.
        focal_ratio: the focal ratio that fits, for ``focal``; where cameras differ each one's is off by the
            same factors.
        factor: what to multiply depth by, for a wrong unit.
        agree, contradict: shares of landed points without it.
    """

    kind: Kind
    words: str
    agree: float
    contradict: float
    focal_ratio: tuple[float, float] | None = None
    factor: float | None = None

    @property
    def is_unit(self) -> bool:
        """Depth is in another unit, by a power of ten: beyond doubt, so that it can be fixed."""
        if self.kind != "depth" or self.factor is None:
            return False
        power = math.log10(self.factor)
        return abs(power - round(power)) < 1e-9 and round(power) != 0


@dataclass(frozen=True)
class Analysis:
    """A dataset as the checks see it.

    Attributes:
        scan: what is in the folder.
        settings, limits: what it is checked against.
        lenses: what each view is seen through.
        pose_files: which single pose files are wrong.
        diagnosis: the convention of the poses; ``diagnosis.poses`` are the ones to compute with.
        centring: where the cameras look, and what to subtract so that it is the origin.
        pictures: measurements of images, masks and depth; None when only the cheap checks run.
        depth_explanation: the mistake that explains why depths of different views contradict each other;
            None when they don't, or when no single mistake explains it.
        box_shares: cache of ``boxes.box_shares``, by half side of the box.
        photo_matches: cache of feature matches, by scene and how many of its views to take; they do not
            depend on the poses.
        remarks: what checks have to say that is no finding.
    """

    scan: DatasetScan
    settings: Settings
    limits: Limits
    lenses: Lenses
    pose_files: PoseFiles
    diagnosis: Diagnosis
    centring: Centring
    pictures: Pictures | None = None
    depth_explanation: Explanation | None = None
    box_shares: dict[float, tuple[Float[np.ndarray, " usable"], Float[np.ndarray, " usable"]]] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )
    photo_matches: dict[tuple[int, int], SceneMatches] = field(
        default_factory=dict, compare=False, repr=False
    )
    remarks: list[str] = field(default_factory=list, compare=False, repr=False)

    @cached_property
    def world_poses(self) -> Float[np.ndarray, "views 4 4"]:
        """``world_from_camera`` with every mistake fixed that was found, off-centre worlds included; nan
        where there is no usable pose. What the checks after the diagnosis compute with."""
        poses = self.diagnosis.poses.copy()
        poses[:, :3, 3] -= self.centring.subtract[self.scan.scene_index]
        return poses

    @cached_property
    def moved_poses(self) -> Float[np.ndarray, "views 4 4"]:
        """As ``world_poses``, and those of views astray moved with the rest; nan where there is no matrix."""
        poses = self.diagnosis.every_pose.copy()
        poses[:, :3, 3] -= self.centring.subtract[self.scan.scene_index]
        return poses

    @property
    def world_is_moved(self) -> bool:
        """The corrected poses are in another world than the stored ones: turned, mirrored or shifted."""
        moved = not self.diagnosis.world.is_level or self.diagnosis.convention.mirrored
        return moved or bool(np.abs(self.centring.subtract).max() > 0)

    @property
    def measured(self) -> Pictures:
        """``pictures``, for checks that only run when there are some."""
        if self.pictures is None:
            raise RuntimeError("this check needs images, and none were measured")
        return self.pictures

    @property
    def rows(self) -> Shaped[np.ndarray, " views"]:
        """The measurements of each view, for checks that only run when there are some."""
        return self.measured.rows

    @cached_property
    def all_are_opaque_rgba(self) -> bool:
        """Pictures that are fine otherwise have an alpha channel that hides nothing, which is no fault.

        Where some are plain RGB the others differ from them.
        """
        if self.pictures is None:
            return False
        modes, rows = self.pictures.modes, self.pictures.rows
        read = np.flatnonzero(rows["image"] == READ)
        found = {modes.get(int(view), "RGB PNG") for view in read if rows["alpha"][view] == 255}
        return "RGBA PNG" in found and "RGB PNG" not in found

    @cached_property
    def usual_size(self) -> tuple[int, int] | None:
        """Width and height of most pictures; None when none was read."""
        if self.pictures is None:
            return None
        read = self.pictures.rows[self.pictures.rows["image"] == READ]
        if not len(read):
            return None
        sizes = Counter(zip(read["width"].tolist(), read["height"].tolist(), strict=True))
        width, height = sizes.most_common(1)[0][0]
        return width, height
