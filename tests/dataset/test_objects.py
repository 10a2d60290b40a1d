"""Objects of a scene from scenes/*.json: poses, boxes and visibility, by hand and against a rendered mask."""

import json
from pathlib import Path

import numpy as np
import pytest

from objnerf.dataset import open_dataset
from objnerf.dataset.cameras import Intrinsics, look_at, project
from objnerf.dataset.files import write_image, write_matrix
from objnerf.dataset.objects import read_amodal_mask, read_objects
from objnerf.dataset.torch import SceneDataset
from objnerf.errors import InputError

_STEMS = ("00000_sc0000_img0", "00001_sc0000_img1")


@pytest.fixture
def make_scene(tmp_path: Path):
    """A function that writes a scene of two views and a description with the given keys changed."""

    def make(**changes: object) -> Path:
        for number, stem in enumerate(_STEMS):
            pose = look_at(np.array([0.0, -8.0 - number, 6.0]), np.zeros(3))
            write_matrix(tmp_path / f"{stem}_RT.txt", pose)
            write_image(tmp_path / f"{stem}.png", np.zeros((12, 16, 3), np.uint8))
        objects = [
            # Turned by a quarter about z: its x axis becomes the world's y, its y axis the world's -x.
            {"label": 2, "asset": "furniture/chair/1", "position": (1, 2, 0), "yaw": np.pi / 2}
            | {"size": (2, 1, 3), "shape": {"family": "chair", "kind": "procedural"}},
            {"label": 1, "asset": "mine/2", "position": (0, 0, 0)},
        ]
        views = [{"stem": stem, "world_from_camera": np.eye(4).tolist()} for stem in _STEMS]
        card = {"scene": 0, "seed": 0, "objects": objects, "views": views, "seen": [[0.5, 1], [0.25, 0.75]]}
        path = tmp_path / "scenes" / "0000.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(card | changes))
        return tmp_path

    return make


def test_objects_come_in_the_order_of_their_labels(make_scene) -> None:
    found = read_objects(open_dataset(make_scene()), 0)
    assert found.labels.tolist() == [1, 2]
    assert found.assets == ("mine/2", "furniture/chair/1")
    assert found.categories == (None, "chair")
    # The file lists label 2 first.
    np.testing.assert_array_equal(found.visible, [[1, 0.5], [0.75, 0.25]])
    assert np.isnan(found.size[0]).all()
    assert np.isnan(found.world_from_object[0, :3, :3]).all()
    np.testing.assert_array_equal(found.world_from_object[0, :3, 3], 0)


def test_poses_and_boxes_by_hand(make_scene) -> None:
    found = read_objects(open_dataset(make_scene()), 0)
    pose = found.world_from_object[1]
    np.testing.assert_allclose(pose, [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 0], [0, 0, 0, 1]], atol=1e-15)
    corners = found.box_corners()[1]
    # Size (2, 1, 3) turned by a quarter: half a unit along x, one along y, from the ground up.
    np.testing.assert_allclose(corners.min(axis=0), [0.5, 1, 0])
    np.testing.assert_allclose(corners.max(axis=0), [1.5, 3, 3])
    # Corner 1 is at +x of the object, which is the world's +y; its y is low, which is the world's +x.
    np.testing.assert_allclose(corners[1], [1.5, 3, 0])


def test_camera_poses_agree_with_projection(make_scene) -> None:
    """A point of the object through camera_from_object lands where the world's point lands."""
    dataset = open_dataset(make_scene())
    found = read_objects(dataset, 0)
    intrinsics = Intrinsics(16, 12, 17.5, 17.5)
    for number, view in enumerate(dataset.scenes[0].views):
        point = np.array([0.3, -0.2, 1.5, 1.0])
        in_world = (found.world_from_object[1] @ point)[:3]
        in_camera = (found.camera_from_object[number, 1] @ point)[:3]
        pixel, depth = project(in_world, intrinsics, view.pose())
        same, same_depth = project(in_camera, intrinsics, np.eye(4))
        np.testing.assert_allclose(pixel, same)
        assert depth == pytest.approx(same_depth)


def test_amodal_masks_are_read_where_they_are(make_scene) -> None:
    root = make_scene()
    whole = np.zeros((12, 16, 3), np.uint8)
    whole[3:6, 4:9] = 255
    write_image(root / "amodal" / f"{_STEMS[0]}_object2.png", whole)
    view = open_dataset(root).scenes[0].views[0]
    mask = read_amodal_mask(view, 2)
    assert mask is not None
    assert mask.sum() == 15
    assert read_amodal_mask(view, 1) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seen": [[1, 1]]}, r"seen: expected 2 rows of 2 shares, found rows of \[2\]"),
        ({"seen": [[1, 2], [1, 1]]}, "less than or equal to 1"),
        (
            {"objects": [{"label": 1, "asset": "a", "position": (0, 0, 0)}] * 2, "seen": None},
            r"expected every label once, found \[1, 1\]",
        ),
        (
            {"objects": [{"label": 1, "asset": "a", "position": (0, 0, 0), "size": (1, 0, 1)}]},
            "greater than 0",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(make_scene, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_objects(open_dataset(make_scene(**changes)), 0)


def test_scenes_without_a_description_are_named(make_scene) -> None:
    root = make_scene()
    with pytest.raises(InputError, match="one of its 1 scenes, found 7"):
        read_objects(open_dataset(root), 7)
    (root / "scenes" / "0000.json").unlink()
    with pytest.raises(InputError, match=r"0000\.json: no such file"):
        read_objects(open_dataset(root), 0)


def test_a_torch_dataset_gives_the_objects_of_the_views_that_it_reads(make_scene) -> None:
    root = make_scene()
    (item,) = SceneDataset(root, views=[1], objects=True)
    found = item["objects"]
    assert found.stems == (_STEMS[1],)
    np.testing.assert_array_equal(found.visible, [[0.75, 0.25]])
    # The object's own corner, through the tensors' camera and through its own pose, is one point.
    in_world = found.world_from_object[1] @ np.array([0.3, -0.2, 1.5, 1.0])
    world_from_camera = item["world_from_camera"][0].double().numpy()
    in_camera = found.camera_from_object[0, 1] @ np.array([0.3, -0.2, 1.5, 1.0])
    np.testing.assert_allclose(world_from_camera @ in_camera, in_world, atol=1e-5)
    assert "objects" not in SceneDataset(root)[0]
