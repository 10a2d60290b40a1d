import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from objnerf.dataset import files
from objnerf.errors import InputError


def test_an_image_comes_back_equal(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    files.write_image(tmp_path / "a.png", image)
    np.testing.assert_array_equal(files.read_image(tmp_path / "a.png"), image)
    assert os.listdir(tmp_path) == ["a.png"]


def test_transparency_is_flattened_on_white(tmp_path):
    Image.new("RGBA", (1, 1), (0, 0, 0, 0)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(files.read_image(tmp_path / "a.png"), [[[255, 255, 255]]])


def test_sixteen_bits_are_scaled(tmp_path):
    # 65535 is white; half of it, 32768 / 257 = 127.5 rounds to the even 128.
    Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.uint16)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(files.read_image(tmp_path / "a.png")[0, :, 0], [0, 128, 255])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=16, max_size=16))
def test_a_matrix_comes_back_equal(tmp_path_factory, numbers):
    path = tmp_path_factory.getbasetemp() / "matrix.txt"
    matrix = np.array(numbers).reshape(4, 4)
    files.write_matrix(path, matrix)
    np.testing.assert_array_equal(files.read_matrix(path), matrix)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"1 2\n3 4\n", "expected 4 rows of 4 numbers, found 2 rows"),
        (b"a b c d\n" * 4, "matrix of numbers"),
        (b"\xff\xfe\x00", "found binary data"),
        (b"1 " * 40000, "80000 bytes, far more"),
    ],
)
def test_a_broken_matrix_is_named(tmp_path, content, expected):
    (tmp_path / "m.txt").write_bytes(content)
    with pytest.raises(InputError, match=expected):
        files.read_matrix(tmp_path / "m.txt")


def test_a_missing_and_a_truncated_image_are_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        files.read_image(tmp_path / "a.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    with pytest.raises(InputError, match="cannot be decoded"):
        files.read_image(tmp_path / "a.png")


def test_depth_is_stored_as_documented(tmp_path):
    depth = np.linspace(1, 9, 12, dtype=np.float32).reshape(3, 4)
    files.write_depth(tmp_path / "d.npy", depth)
    stored = np.load(tmp_path / "d.npy")
    assert (stored.shape, stored.dtype) == ((3, 4, 1), np.float32)
    np.testing.assert_array_equal(files.read_depth(tmp_path / "d.npy"), depth)


def test_depth_never_unpickles(tmp_path):
    np.save(tmp_path / "d.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="depth map"):
        files.read_depth(tmp_path / "d.npy")


def test_all_mask_colours_differ_in_luminance_and_the_background_is_second_lowest_behind_blue():
    greys = files.grey_levels(np.array([files.BACKGROUND_COLOUR, *files.OBJECT_COLOURS], dtype=np.uint8))
    assert len(set(greys.tolist())) == len(greys)
    assert sorted(greys.tolist())[:2] == [greys[1], greys[0]]


def test_grey_levels_are_those_of_the_images_library():
    colours = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        files.grey_levels(colours), np.asarray(Image.fromarray(colours).convert("L"))
    )


def test_labels_come_back_even_where_an_object_is_hidden():
    labels = np.array([[0, 1, 3], [5, 12, 0]])
    np.testing.assert_array_equal(files.labels_from_mask(files.mask_from_labels(labels)), labels)


def test_listed_colours_keep_their_numbers_beside_others():
    """(10, 90, 10) has the grey level 57, (99, 99, 99) and (98, 100, 96) both 99: 57 first, then by red."""
    red, green = files.OBJECT_COLOURS[1:3]
    mask = np.array(
        [[files.BACKGROUND_COLOUR, (99, 99, 99), red, (98, 100, 96), green, (10, 90, 10)]], dtype=np.uint8
    )
    last = len(files.OBJECT_COLOURS)
    np.testing.assert_array_equal(files.labels_from_mask(mask), [[0, last + 3, 2, last + 2, 3, last + 1]])


def test_foreign_colours_are_numbered_by_grey_level_with_the_second_lowest_as_background():
    # Greys: 10 → object 1, 20 → background, 30 → object 2.
    mask = np.repeat(np.array([[10, 20, 30]], dtype=np.uint8)[..., None], 3, axis=-1)
    np.testing.assert_array_equal(files.labels_from_mask(mask), [[1, 0, 2]])


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    files.write_text(tmp_path / "a.txt", "old")

    def fail():
        with files.atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fail()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_documented_palette_is_the_one_in_the_code():
    """Masks that are painted from the documentation keep an object's number where another one is hidden."""
    text = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if re.match(r"\| (`…_mask.png`|\d+ – \d+) \|", line)]
    colours = re.findall(r"\((\d+), (\d+), (\d+)\)", " ".join(rows))
    found = [tuple(map(int, numbers)) for numbers in colours]
    assert found == [files.BACKGROUND_COLOUR, *files.OBJECT_COLOURS]
