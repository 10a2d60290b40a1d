"""What validating takes grows with the number of views, and not faster."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import validate
from objnerf.dataset import files, open_dataset
from validate.analysis.labels import mask_facts
from validate.checks.catalogue import choose_checks
from validate.options import Options
from validate.runner import analyse


def calls_of(work: Callable[[], object]) -> int:
    """How many functions are called, those written in C included: a measure of work that has no clock."""
    count = 0

    def see(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def test_work_is_linear_in_the_number_of_scenes(
    tmp_path: Path, write_poses: Callable[..., Path], orbit: Callable[..., np.ndarray]
) -> None:
    few, many = (
        write_poses(tmp_path / str(scenes), orbit(scenes=scenes, views=2, jitter=0.3), size=(4, 3))
        for scenes in (150, 600)
    )
    options = Options(workers=1)
    validate.run(few, options)  # fills what is remembered for the process
    spent = calls_of(lambda: validate.run(few, options))
    spent_on_many = calls_of(lambda: validate.run(many, options))
    assert spent_on_many < 4.1 * spent


def test_masks_take_no_room_for_colours_that_no_mask_has(data: Path, copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("blocks")
    most = max(len(np.unique(view.mask().reshape(-1, 3), axis=0)) for view in open_dataset(folder).views())
    facts = mask_facts(analyse(folder, Options(workers=1), choose_checks(Options())))
    assert facts.colours.shape == (12, most)
    assert facts.present.any(axis=0).all()

    # A mask of noise has more colours than are kept.
    view = next(open_dataset(folder).views())
    noise = np.random.default_rng(0).integers(0, 256, view.mask().shape, dtype=np.uint8)
    files.write_image(folder / f"{view.stem}_mask.png", noise)
    facts = mask_facts(analyse(folder, Options(workers=1), choose_checks(Options())))
    assert facts.colours.shape[1] > most
    assert facts.blended.tolist() == [True] + 11 * [False]
