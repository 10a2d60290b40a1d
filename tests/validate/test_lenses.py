"""Views with lenses of their own: read everywhere, and judged by what they are."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import validate
from objnerf.dataset import Pinhole, files, open_dataset
from objnerf.dataset.cameras import REFERENCE_FOCAL_RATIO, box_pixel_share
from objnerf.dataset.card import DatasetCard, read_card, write_card
from validate.analysis.boxes import box_shares
from validate.result import Report

CopyOf = Callable[[str], Path]

#: Windows of the pictures, as shares of the whole: left, top, width and height.
WINDOWS = ((0.05, 0.1, 0.85, 0.85), (0.2, 0.1, 0.75, 0.8), (0.0, 0.0, 0.9, 0.95), (0.1, 0.05, 0.8, 0.9))


def lens_of_window(left: float, top: float, width: float, height: float) -> Pinhole:
    """A picture's window seen alone: longer focal lengths, and a middle that is elsewhere.

    In shares of the whole the optical axis is at 1/2; in those of the window at (1/2 - left) / width.
    """
    fx, fy = REFERENCE_FOCAL_RATIO
    return Pinhole((fx / width, fy / height), ((0.5 - left) / width - 0.5, (0.5 - top) / height - 0.5))


def cut(folder: Path) -> None:
    """Every view's picture, mask and depth cut to a window and enlarged again, without a word on the lens."""
    for number, view in enumerate(open_dataset(folder).views()):
        left, top, width, height = WINDOWS[number % 4]
        depth = view.depth()
        rows = np.floor((top + (np.arange(depth.shape[0]) + 0.5) / depth.shape[0] * height) * depth.shape[0])
        columns = np.floor(
            (left + (np.arange(depth.shape[1]) + 0.5) / depth.shape[1] * width) * depth.shape[1]
        )
        place = np.ix_(rows.astype(int), columns.astype(int))
        image, mask = view.image()[place], view.mask()[place]
        files.write_image(view.image_path, image)
        files.write_image(folder / f"{view.stem}_mask.png", mask)
        files.write_depth(folder / f"{view.stem}_depth.npy", depth[place])


def write_lenses(folder: Path, factor: float = 1.0) -> None:
    for number, view in enumerate(open_dataset(folder).views()):
        lens = lens_of_window(*WINDOWS[number % 4])
        fx, fy = lens.focal_ratio
        wrong = Pinhole((factor * fx, factor * fy), lens.principal_offset)
        files.write_pinhole(folder / f"{view.stem}_intrinsics.txt", wrong)


def found(report: Report) -> set[str]:
    return {finding.id for finding in report.findings}


def test_the_lens_of_another_projects_files_is_read_everywhere(data: Path, tmp_path: Path) -> None:
    report = validate.run(data / "uocf_lens", validate.Options(fix=tmp_path / "fixed"))
    assert report.settings["focal_ratio"] == {"value": (1.2, 1.6), "source": "_intrinsics.txt"}
    assert report.suggested["focal_ratio"].value == (1.2, 1.6)
    assert not {"INTRINSICS", "INTRINSICS-FILE"} & found(report)
    assert report.analysis is not None
    shares, _ = box_shares(report.analysis)
    size = (
        report.analysis.pictures.rows[0][["width", "height"]].tolist() if report.analysis.pictures else (4, 3)
    )
    exact = box_pixel_share(Pinhole((1.2, 1.6)).at(*size), report.analysis.world_poses[0], 4.5)
    assert shares[0] == pytest.approx(exact, abs=0.03)
    card = read_card(tmp_path / "fixed")
    assert card is not None
    assert card.focal_ratio == (1.2, 1.6)
    assert open_dataset(tmp_path / "fixed").common_pinhole() == Pinhole((1.2, 1.6))


def test_depth_agrees_through_each_views_own_lens(copy_of: CopyOf) -> None:
    folder = copy_of("blocks_depth")
    cut(folder)
    assert {"INTRINSICS", "DEPTH-VIEWS"} & found(validate.run(folder))
    write_lenses(folder)
    report = validate.run(folder)
    assert not {"INTRINSICS", "INTRINSICS-FILE", "DEPTH-VIEWS", "DEPTH-KIND"} & found(report)
    rows = report.analysis.pictures.rows if report.analysis is not None and report.analysis.pictures else None
    assert rows is not None
    assert rows["agree"].sum() / rows["landed"].sum() > 0.8


def test_a_common_error_of_different_lenses_is_found_and_corrected_in_each_file(
    copy_of: CopyOf, tmp_path: Path
) -> None:
    folder = copy_of("blocks_depth")
    cut(folder)
    write_lenses(folder, factor=1 / 0.8)
    report = validate.run(folder, validate.Options(fix=tmp_path / "fixed"))
    assert "INTRINSICS" in found(report)
    for number, view in enumerate(open_dataset(tmp_path / "fixed").views()):
        lens, right = view.pinhole(), lens_of_window(*WINDOWS[number % 4])
        assert lens is not None
        np.testing.assert_allclose(lens.focal_ratio, right.focal_ratio, rtol=1e-6)
        np.testing.assert_allclose(lens.principal_offset, right.principal_offset, atol=1e-9)
    assert not {"INTRINSICS", "DEPTH-VIEWS"} & found(validate.run(tmp_path / "fixed"))


def test_an_option_holds_for_all_views_and_their_files_go(data: Path, tmp_path: Path) -> None:
    report = validate.run(
        data / "uocf_lens", validate.Options(focal_ratio=(1.1, 1.4666667), fix=tmp_path / "fixed")
    )
    assert report.settings["focal_ratio"]["source"] == "option"
    fixed = open_dataset(tmp_path / "fixed")
    assert not fixed.has_own_intrinsics
    assert fixed.common_pinhole() == Pinhole((1.1, 1.4666667))


def test_a_card_that_says_another_lens_than_all_files(copy_of: CopyOf, tmp_path: Path) -> None:
    folder = copy_of("uocf_lens")
    write_card(folder, DatasetCard(focal_ratio=(1.3, 1.7333)))
    report = validate.run(folder, validate.Options(quick=True))
    (finding,) = [finding for finding in report.findings if finding.id == "INTRINSICS-FILE"]
    assert finding.severity == "W"
    assert "(1.2, 1.6), which holds" in finding.message
    validate.run(folder, validate.Options(fix=tmp_path / "fixed"))
    assert "INTRINSICS-FILE" not in found(validate.run(tmp_path / "fixed", validate.Options(quick=True)))


def test_a_principal_point_that_the_card_has_no_place_for_is_no_contradiction(copy_of: CopyOf) -> None:
    folder = copy_of("uocf_lens")
    for path in folder.glob("*_intrinsics.txt"):
        files.write_pinhole(path, Pinhole((1.2, 1.6), (0.05, -0.03)))
    write_card(folder, DatasetCard(focal_ratio=(1.2, 1.6)))
    assert "INTRINSICS-FILE" not in found(validate.run(folder, validate.Options(quick=True)))


@pytest.mark.parametrize("broken", ["not a matrix", "1.2 0 0\n0 -1.6 0\n0 0 1\n", None])
def test_intrinsics_that_cannot_be_used_are_an_error_and_hang_nobody(
    copy_of: CopyOf, broken: str | None
) -> None:
    folder = copy_of("uocf_lens")
    path = folder / "00002_sc0000_az02_intrinsics.txt"
    path.unlink()
    if broken is None:
        os.mkfifo(path)
    else:
        path.write_text(broken)
    report = validate.run(folder, validate.Options(quick=True))
    (finding,) = [finding for finding in report.findings if finding.id == "INTRINSICS-FILE"]
    assert (finding.severity, finding.path, finding.count) == ("E", path.name, 1)
    # The others keep theirs, and the median is what the dataset has.
    assert report.settings["focal_ratio"]["value"] == (1.2, 1.6)
