"""Contact sheets: everything is where the layout says, nothing is distorted."""

import numpy as np
import pytest
from PIL import Image

from objnerf.errors import InputError
from objnerf.visualization.contact_sheets import as_picture, contact_sheet


def _flat(colour: tuple[int, int, int], width: int = 100, height: int = 50) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def test_pictures_stand_in_reading_order() -> None:
    """Three 100 × 50 pictures in two columns, gap 8, no captions: cells at x = 8 and 116, y = 8 and 66."""
    red, green, blue = (200, 0, 0), (0, 200, 0), (0, 0, 200)
    sheet = contact_sheet([_flat(red), _flat(green), _flat(blue)], columns=2)
    assert sheet.size == (8 + 2 * 108, 8 + 2 * 58)
    assert sheet.getpixel((8, 8)) == red
    assert sheet.getpixel((107, 57)) == red
    assert sheet.getpixel((116, 8)) == green
    assert sheet.getpixel((8, 66)) == blue
    assert sheet.getpixel((160, 90)) == (255, 255, 255)


def test_missing_cells_stay_empty_and_captions_take_room() -> None:
    bare = contact_sheet([_flat((9, 9, 9)), None], columns=2)
    captioned = contact_sheet([_flat((9, 9, 9)), None], ["a", None], columns=2)
    assert bare.getpixel((160, 30)) == (255, 255, 255)
    assert captioned.height > bare.height
    assert np.asarray(captioned)[60:].min() < 200  # the caption is there
    headed = contact_sheet(
        [_flat((9, 9, 9)), None], columns=2, column_labels=["x", "y"], row_labels=["row"], title="Title"
    )
    assert headed.width > bare.width
    assert headed.height > bare.height


def test_shape_is_kept_and_small_pictures_keep_hard_pixels() -> None:
    checker = np.zeros((2, 4, 3), np.uint8)
    checker[0, 0] = 255
    sheet = np.asarray(contact_sheet([checker], cell_width=40, gap=4))
    assert sheet[4, 4].tolist() == [255, 255, 255]
    assert sheet[13, 13].tolist() == [255, 255, 255]  # the pixel is 10 wide and high, with hard edges
    assert sheet[14, 14].tolist() == [0, 0, 0]
    portrait = contact_sheet(
        [_flat((1, 2, 3), 50, 100), _flat((1, 2, 3), 100, 50)], columns=2, cell_width=100
    )
    # The portrait decides the height of the cells (200), and the landscape is centred in its own.
    assert portrait.size == (8 + 2 * 108, 8 + 208)
    assert portrait.getpixel((116, 8)) == (255, 255, 255)
    assert portrait.getpixel((166, 108)) == (1, 2, 3)


def test_default_columns_make_a_sheet_near_4_to_3() -> None:
    sheet = contact_sheet([_flat((1, 1, 1), 96, 72)] * 16)
    assert 1.0 < sheet.width / sheet.height < 1.8


def test_as_picture_takes_grey_and_alpha_on_white() -> None:
    assert as_picture(np.full((2, 3), 7, np.uint8)).getpixel((0, 0)) == (7, 7, 7)
    assert as_picture(np.full((2, 3, 1), 7, np.uint8)).size == (3, 2)
    assert as_picture(Image.new("RGBA", (1, 1), (0, 0, 0, 0))).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        ([], {}, "at least one image"),
        ([None], {}, "at least one image"),
        ([np.zeros((2, 2, 3))], {}, "float64"),
        ([np.zeros((2, 2, 4), np.uint8)], {}, r"\(2, 2, 4\)"),
        ([np.zeros((0, 2, 3), np.uint8)], {}, "at least one pixel"),
        ([_flat((0, 0, 0))], {"labels": ["a", "b"]}, "1 images and 2 labels"),
        ([_flat((0, 0, 0))], {"columns": 0}, "columns: expected at least 1"),
        ([_flat((0, 0, 0))], {"row_labels": ["a", "b"]}, "2 row labels"),
        ([_flat((0, 0, 0))], {"cell_width": 2}, "at least 8"),
    ],
)
def test_what_cannot_be_laid_out_is_said(images: list, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        contact_sheet(images, **options)
