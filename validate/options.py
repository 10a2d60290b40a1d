"""What a caller asks of a validation."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from objnerf.dataset.card import SceneScale
from objnerf.errors import InputError

#: Options that are settings of the training that the dataset has to suit.
SETTINGS = (*SceneScale.model_fields, "num_slots")


@dataclass(frozen=True)
class Options:
    """How to validate a dataset.

    Attributes:
        quick: only the checks that need no picture: names, files, poses, centring, box.
        only: ids of the checks to run (all when empty); a prefix such as ``POSE`` stands for all of its ids.
        skip: ids, or prefixes of ids, to leave out.
        near, far: planar depths between which a model will sample, world units. These and the settings below
            are the dataset's own (``dataset.yaml``), else uORF's, when left out.
        nss_scale: what a model will divide world units by.
        obj_scale: half side of the locality box, world units.
        focal_ratio: (fx / width, fy / height) of all views, those with intrinsics of their own included.
        num_slots: slots of the model, background included.
        sample: open the pictures of this many scenes only, spread evenly; names and poses are all checked.
        photo: also compare feature matches with the poses (needs the extra ``photo``).
        limits: changed thresholds by name (see ``Limits``).
        workers: processes that read pictures. With more than one, a script must validate under
            ``if __name__ == "__main__"``, because the processes are spawned.
        fix: write a fixed copy to this folder, which must be new or empty; what was changed is in
            ``Report.repair``. The dataset itself is never touched.
    Raises:
        InputError: the options contradict each other, or a number is not positive.
    """

    quick: bool = False
    only: Sequence[str] = ()
    skip: Sequence[str] = ()
    near: float | None = None
    far: float | None = None
    nss_scale: float | None = None
    obj_scale: float | None = None
    focal_ratio: tuple[float, float] | None = None
    num_slots: int | None = None
    sample: int | None = None
    photo: bool = False
    limits: Mapping[str, float] = field(default_factory=dict)
    workers: int = 1
    fix: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if self.fix is not None and (self.quick or self.sample is not None):
            raise InputError("a fixed copy needs every file to be checked: leave out quick and sample")
        if self.workers < 1 or (self.sample is not None and self.sample < 1):
            raise InputError(f"sample and workers must be at least 1, got {self.sample} and {self.workers}")
        for name in SETTINGS:
            value = getattr(self, name)
            numbers = () if value is None else value if isinstance(value, list | tuple) else (value,)
            if not all(0 < float(number) < float("inf") for number in numbers):
                raise InputError(f"--{name.replace('_', '-')} must be a positive number, got {value}")
        if self.focal_ratio is not None and len(self.focal_ratio) != 2:
            raise InputError(
                f"--focal-ratio needs two numbers, fx / width and fy / height, got {self.focal_ratio}"
            )
