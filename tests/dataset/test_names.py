import pytest
from hypothesis import given
from hypothesis import strategies as st

from objnerf.dataset import names


@given(st.integers(1, 20000), st.data())
def test_a_made_name_is_parsed_back(n_scenes, data):
    scene = data.draw(st.integers(0, n_scenes - 1))
    view = data.draw(st.integers(0, 9))
    stem = names.make_view_stem(scene * 4 + view, scene, view, n_scenes)
    name = names.parse_view_name(stem + ".png")
    assert name is not None
    assert (name.scene, name.stem) == (scene, stem)
    assert name.digits == names.scene_digits(n_scenes)


def test_ids_of_one_dataset_have_one_width_so_that_none_contains_another():
    # 10,000 scenes end at sc9999: four digits do. One more needs five, for every id.
    assert names.scene_digits(10_000) == 4
    assert names.scene_digits(10_001) == 5
    assert names.make_view_stem(0, 1000, 0, 10_001) == "00000_sc01000_img0"


@pytest.mark.parametrize(
    "filename",
    [
        "notes.png",
        "00000_img0.png",
        "x_sc0001_mask.png",
        "x_sc0001_moved.png",
        "x_sc0001.jpg",
        "sc.png",
        "disc0.png",
        "misc000.png",
    ],
)
def test_what_is_no_view(filename):
    assert names.parse_view_name(filename) is None


def test_the_last_scene_id_in_a_name_counts():
    name = names.parse_view_name("disc3_sc0012_a.png")
    assert name is not None
    assert (name.prefix, name.scene, name.suffix) == ("disc3_", 12, "_a")


@pytest.mark.parametrize(("filename", "scene"), [("x_sc0012_sc3.png", 12), ("x_sc7_img0.png", 7)])
def test_a_short_id_counts_only_where_there_is_no_other(filename, scene):
    name = names.parse_view_name(filename)
    assert name is not None
    assert name.scene == scene


@pytest.mark.parametrize("suffix", names.COMPANION_SUFFIXES)
def test_every_companion_finds_its_view(suffix):
    assert names.split_companion("00011_sc0002_img3" + suffix) == ("00011_sc0002_img3", suffix)


def test_movement_names():
    assert names.movement_name(2) == "002_movement.txt"
    assert names.parse_movement_name("002_movement.txt") == 2
    assert names.parse_movement_name("002_movement.txt.bak") is None


def test_impossible_ids_are_refused():
    with pytest.raises(ValueError, match=r"0\.\.3"):
        names.make_view_stem(0, 4, 0, 4)
