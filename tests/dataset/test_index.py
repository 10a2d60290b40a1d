import cProfile
import os

import numpy as np
import pytest

from objnerf.dataset import files, open_dataset
from objnerf.dataset.card import CONVENTIONS, DatasetCard, SceneScale, read_card, write_card
from objnerf.errors import InputError

#: Of a view with all that belongs to it.
_SUFFIXES = (".png", "_RT.txt", "_azi_rot.txt", "_mask.png", "_depth.npy")


def _touch(root, *filenames):
    for filename in filenames:
        (root / filename).touch()


def test_a_folder_is_sorted_into_scenes_views_and_the_rest(tmp_path):
    _touch(
        tmp_path,
        *("b_sc0001_img0.png", "b_sc0001_img0_RT.txt", "a_sc0000_img1.png", "a_sc0000_img0.png"),
        *("a_sc0000_img0_mask.png", "a_sc0000_img9_RT.txt", "preview.png", "notes.txt", "000_movement.txt"),
        ".tmp-half.png",
    )
    (tmp_path / "scenes").mkdir()
    _touch(tmp_path / "scenes", "0000.json", "x.txt")
    dataset = open_dataset(tmp_path)
    assert list(dataset.scenes) == [0, 1]
    assert [view.stem for view in dataset.scenes[0].views] == ["a_sc0000_img0", "a_sc0000_img1"]
    assert dataset.scenes[0].views[0].mask_path == tmp_path / "a_sc0000_img0_mask.png"
    assert dataset.scenes[0].views[0].pose_path is None
    assert dataset.orphans == ("a_sc0000_img9_RT.txt",)
    assert dataset.strays == ("preview.png",)
    assert dataset.others == ("notes.txt",)
    assert dataset.movements == {0: tmp_path / "000_movement.txt"}
    assert dataset.scene_cards == ("0000.json",)


def test_a_missing_an_empty_and_a_wrong_folder_are_told_apart(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(InputError, match="expected views named like"):
        open_dataset(tmp_path)
    _touch(tmp_path, "file")
    with pytest.raises(InputError, match="found a file"):
        open_dataset(tmp_path / "file")


def test_a_view_without_a_pose_says_which_file_is_missing(tmp_path):
    _touch(tmp_path, "a_sc0000.png")
    with pytest.raises(InputError, match=r"expected a_sc0000_RT\.txt"):
        open_dataset(tmp_path).scenes[0].poses()


def _work_of_opening(root, scenes, monkeypatch):
    """Calls of functions that opening a dataset of two views a scene takes, and the folders it lists."""
    root.mkdir()
    for scene in range(scenes):
        _touch(root, *(f"sc{scene:05d}_img{view}{suffix}" for view in (0, 1) for suffix in _SUFFIXES))
    listed = []
    scandir = os.scandir
    with monkeypatch.context() as patched:
        patched.setattr("os.scandir", lambda path: listed.append(path) or scandir(path))
        profile = cProfile.Profile()
        dataset = profile.runcall(open_dataset, root)
    assert (len(dataset.scenes), dataset.n_views) == (scenes, 2 * scenes)
    calls = {entry.code: entry.callcount for entry in profile.getstats()}
    opened = {code: count for code, count in calls.items() if "open" in str(code) and isinstance(code, str)}
    return sum(calls.values()), listed, opened


def test_opening_lists_one_folder_opens_no_file_and_grows_with_the_number_of_views(tmp_path, monkeypatch):
    small, listed, opened = _work_of_opening(tmp_path / "small", 100, monkeypatch)
    assert listed == [tmp_path / "small"]
    assert opened == {}
    large, _, _ = _work_of_opening(tmp_path / "large", 400, monkeypatch)
    # Four times the views, four times the work; what grew with the square would be sixteen times.
    assert large < 4.1 * small


def test_a_card_comes_back_with_what_it_does_not_know(tmp_path):
    card = DatasetCard(image_size=(192, 144), focal_ratio=(1.0, 1.5), near=6, conventions=CONVENTIONS, seed=0)
    write_card(tmp_path, card)
    with (tmp_path / "dataset.yaml").open("a") as file:
        file.write("colour_of_the_year: mauve\n")
    again = read_card(tmp_path)
    assert again is not None
    assert again.model_dump(exclude={"colour_of_the_year"}) == card.model_dump()
    assert again.model_extra == {"colour_of_the_year": "mauve"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("near: -1", "near: must be greater than 0, found -1"), ("[1", "YAML"), ("7", "found int")],
)
def test_a_broken_card_is_named(tmp_path, text, expected):
    (tmp_path / "dataset.yaml").write_text(text)
    with pytest.raises(InputError, match=expected):
        read_card(tmp_path)


def test_the_pose_and_labels_of_a_view(tmp_path):
    files.write_image(tmp_path / "sc0000.png", np.zeros((2, 2, 3), np.uint8))
    files.write_image(tmp_path / "sc0000_mask.png", files.mask_from_labels(np.array([[0, 1], [0, 2]])))
    files.write_matrix(tmp_path / "sc0000_RT.txt", np.eye(4))
    view = open_dataset(tmp_path).scenes[0].views[0]
    np.testing.assert_array_equal(view.pose(), np.eye(4))
    np.testing.assert_array_equal(view.labels(), [[0, 1], [0, 2]])


def test_the_scale_is_declared_once_and_complete():
    scale = SceneScale()
    # docs/format.md states uORF's figures; the lens is 35 mm on a 32 mm wide sensor, at 4:3.
    assert (scale.near, scale.far, scale.nss_scale, scale.obj_scale) == (6.0, 20.0, 7.0, 4.5)
    assert scale.focal_ratio == pytest.approx((35 / 32, 35 / 32 * 4 / 3))
    assert scale.depth_range == 14.0
    with pytest.raises(ValueError, match="near must be smaller than far"):
        SceneScale(near=5, far=4)


def test_a_card_states_what_it_holds_of_the_scale_and_no_more():
    assert DatasetCard(near=3.0, obj_scale=2.0).stated_scale == {"near": 3.0, "obj_scale": 2.0}
    assert set(DatasetCard(**SceneScale().model_dump()).stated_scale) == set(SceneScale.model_fields)
