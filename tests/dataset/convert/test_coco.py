"""COCO's files, read back by pycocotools: masks to the pixel, areas, boxes, categories, panoptic PNGs."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from objnerf.dataset import open_dataset
from objnerf.dataset.cameras import project, unproject
from objnerf.dataset.convert import convert
from objnerf.dataset.objects import read_amodal_mask
from objnerf.errors import InputError


@pytest.fixture
def coco(described: Path, tmp_path: Path) -> Path:
    done = convert(described, tmp_path / "coco", target_format="coco")
    assert (done.scenes, done.views, done.left_out) == (2, 4, ())
    return tmp_path / "coco"


def _opened(path: Path):
    from pycocotools.coco import COCO

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return COCO(path)


def _box(mask: np.ndarray) -> list[float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]


def test_visible_masks_are_those_of_the_dataset(coco: Path, described: Path) -> None:
    opened = _opened(coco / "annotations" / "instances_all.json")
    views = {view.stem: view for view in open_dataset(described).views()}
    assert len(opened.imgs) == len(views)
    found = 0
    for image in opened.imgs.values():
        view = views[Path(image["file_name"]).stem]
        assert (coco / "images" / image["file_name"]).read_bytes() == view.image_path.read_bytes()
        labels = view.labels()
        annotations = opened.loadAnns(opened.getAnnIds(imgIds=image["id"]))
        assert {annotation["object"] for annotation in annotations} == set(np.unique(labels)) - {0}
        for annotation in annotations:
            mask = labels == annotation["object"]
            np.testing.assert_array_equal(opened.annToMask(annotation), mask)
            assert annotation["area"] == mask.sum()
            assert annotation["bbox"] == _box(mask)
            found += 1
    assert found == 8
    names = {category["id"]: category["name"] for category in opened.dataset["categories"]}
    by_object = {a["object"]: names[a["category_id"]] for a in opened.anns.values()}
    assert by_object == {1: "chair", 2: "table", 3: "object"}


def test_amodal_masks_hold_what_is_hidden(coco: Path, described: Path) -> None:
    opened = _opened(coco / "annotations" / "instances_amodal_all.json")
    views = {view.stem: view for view in open_dataset(described).views()}
    assert len(opened.anns) == 8
    for annotation in opened.anns.values():
        view = views[Path(opened.imgs[annotation["image_id"]]["file_name"]).stem]
        whole = read_amodal_mask(view, annotation["object"])
        assert whole is not None
        np.testing.assert_array_equal(opened.annToMask(annotation), whole)
        assert annotation["area"] == whole.sum()
        assert annotation["visible_share"] == {1: 1.0, 2: 0.25}[annotation["object"]]


def test_panoptic_pngs_agree_with_their_segments(coco: Path, described: Path) -> None:
    content = json.loads((coco / "annotations" / "panoptic_all.json").read_text())
    categories = {category["id"]: category for category in content["categories"]}
    files = {image["id"]: image["file_name"] for image in content["images"]}
    views = {view.stem: view for view in open_dataset(described).views()}
    for annotation in content["annotations"]:
        assert files[annotation["image_id"]] == annotation["file_name"]
        with Image.open(coco / "annotations" / "panoptic_all" / annotation["file_name"]) as picture:
            ids = np.asarray(picture).astype(np.int64) @ [1, 256, 256**2]
        segments = {segment["id"]: segment for segment in annotation["segments_info"]}
        assert segments.keys() == set(np.unique(ids))
        assert 0 not in segments, "0 means that a pixel is not labelled"
        labels = views[Path(annotation["file_name"]).stem].labels()
        for id_, segment in segments.items():
            assert segment["area"] == (ids == id_).sum()
            assert segment["bbox"] == _box(ids == id_)
            is_thing = categories[segment["category_id"]]["isthing"]
            assert is_thing == (labels[ids == id_] > 0).all() == (labels[ids == id_] > 0).any()


def test_cameras_and_depth_travel_with_the_images(coco: Path, described: Path) -> None:
    """Depth through the camera of the JSON gives the points that the dataset's own camera gives."""
    dataset = open_dataset(described)
    views = {view.stem: view for view in dataset.views()}
    for image in json.loads((coco / "annotations" / "instances_all.json").read_text())["images"]:
        view = views[Path(image["file_name"]).stem]
        np.testing.assert_array_equal(np.array(image["world_from_camera"]), view.pose())
        depth = np.load(coco / "depths" / image["depth_file_name"])[..., 0]
        np.testing.assert_array_equal(depth, view.depth())
        intrinsics = dataset.intrinsics(image["width"], image["height"])
        fx, fy, cx, cy = image["intrinsics"]
        point = unproject(depth.astype(np.float64), intrinsics, view.pose())[4, 7]
        (x, y, z, _) = np.linalg.inv(view.pose()) @ [*point, 1]
        assert (x / z * fx + cx, y / z * fy + cy) == pytest.approx((7, 4))
        assert project(point, intrinsics, view.pose())[0] == pytest.approx((7, 4))


def test_without_masks_there_is_nothing_to_annotate(make_dataset, tmp_path: Path) -> None:
    source = make_dataset()
    for path in source.glob("*_mask.png"):
        path.unlink()
    with pytest.raises(InputError, match="made from instance masks"):
        convert(source, tmp_path / "coco", target_format="coco")
    assert not (tmp_path / "coco").exists()


def test_it_is_not_read(coco: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="coco is not read"):
        convert(coco, tmp_path / "back", source_format="coco")
