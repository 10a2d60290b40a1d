"""The lens of each view: its own ``_intrinsics.txt``, else that of the dataset."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from objnerf.dataset.cameras import Intrinsics, Pinhole, common_pinhole, typical_pinhole
from validate.scan import DatasetScan
from validate.settings import OPTION, VIEWS, Settings


@dataclass(frozen=True)
class Lenses:
    """What each view is seen through.

    Attributes:
        numbers: fx / width, fy / height, and how far the principal point lies right of and below the
            picture's middle, as shares of width and height.
        own: which views have usable intrinsics of their own.
        problems: why the file of a view cannot be used; the dataset's lens is taken for it.
    """

    numbers: Float[np.ndarray, "views 4"]
    own: Bool[np.ndarray, " views"]
    problems: dict[int, str]

    @property
    def differ(self) -> bool:
        """Whether any two views have different lenses, or one is off centre."""
        return common_pinhole(self.pinholes()) is None or bool(np.abs(self.numbers[:, 2:]).max() > 0)

    def pinhole(self, view: int) -> Pinhole:
        """The lens of one view."""
        fx, fy, x, y = self.numbers[view].tolist()
        return Pinhole((fx, fy), (x, y))

    def pinholes(self) -> list[Pinhole]:
        """The lenses that occur, each once."""
        return [Pinhole((fx, fy), (x, y)) for fx, fy, x, y in np.unique(self.numbers, axis=0).tolist()]

    def intrinsics(self, view: int, width: int, height: int) -> Intrinsics:
        """The lens of one view in pixels."""
        return self.pinhole(view).at(width, height)


def resolve_lenses(scan: DatasetScan, settings: Settings) -> tuple[Lenses, Settings]:
    """The lens of every view.

    Args:
        settings: whose focal ratio holds for the views without intrinsics of their own, and for all views
            where it is an option.
    Returns:
        The lenses, and the settings with the focal ratio that all views have, or the median one where cameras
        differ.
    """
    numbers = np.tile([*settings.focal_ratio, 0.0, 0.0], (len(scan.views), 1))
    lenses = Lenses(numbers, np.zeros(len(scan.views), dtype=bool), {})
    for view, pinhole in scan.pinholes.items():
        if isinstance(pinhole, str):
            lenses.problems[view] = pinhole
        elif settings.source.get("focal_ratio") != OPTION:
            numbers[view] = [*pinhole.focal_ratio, *pinhole.principal_offset]
            lenses.own[view] = True
    if not lenses.own.any():
        return lenses, settings
    all_of_them = [lenses.pinhole(view) for view in range(len(scan.views))]
    ratio = (common_pinhole(all_of_them) or typical_pinhole(all_of_them)).focal_ratio
    source = {**settings.source, "focal_ratio": VIEWS}
    return lenses, replace(settings, focal_ratio=ratio, source=source)
