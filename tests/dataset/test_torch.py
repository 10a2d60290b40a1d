"""SceneDataset hands out what is on disk: same colours, same cameras, one label an object."""

import doctest
import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader

import objnerf.dataset.torch
from objnerf.dataset import open_dataset
from objnerf.dataset.card import DatasetCard, write_card
from objnerf.dataset.convert import convert
from objnerf.dataset.files import write_image
from objnerf.dataset.torch import SceneDataset
from objnerf.errors import InputError, WorkError


def test_the_tensors_are_the_files(data):
    scene = open_dataset(data / "blocks").scenes[1]
    item = SceneDataset(data / "blocks")[1]
    assert item["scene"] == 1
    assert (item["images"] * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy().tolist() == [
        view.image().tolist() for view in scene.views
    ]
    assert np.allclose(item["world_from_camera"], scene.poses(), atol=1e-6)
    assert item["masks"].tolist() == [view.labels().tolist() for view in scene.views]
    assert "depths" not in item


def test_a_point_projects_to_the_same_place_at_every_size(data):
    """Pixel edges stay put: u + 1/2 is proportional to the width."""
    point = torch.tensor([0.4, -0.3, 0.8, 1.0])
    relative = []
    for size in (None, (64, 48), (20, 30)):
        item = SceneDataset(data / "blocks", size=size)[0]
        in_camera = torch.linalg.inv(item["world_from_camera"]) @ point
        pixel = torch.einsum("vij,vj->vi", item["intrinsics"], in_camera[:, :3])
        height, width = item["images"].shape[2:]
        relative.append((pixel[:, :2] / pixel[:, 2:] + 0.5) / torch.tensor([width, height]))
    assert torch.allclose(relative[0], relative[1], atol=1e-5)
    assert torch.allclose(relative[0], relative[2], atol=1e-5)


def test_depth_and_masks_say_the_same_as_the_other_view(data):
    """Every pixel of one view, unprojected by its depth, lands on the same object in the other view."""
    item = SceneDataset(data / "blocks_depth", passes=("depth", "mask"))[0]
    height, width = item["depths"].shape[1:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([columns, rows, torch.ones_like(rows)]).reshape(3, -1).float()
    first, second = 0, 1
    in_camera = torch.linalg.inv(item["intrinsics"][first]) @ pixels * item["depths"][first].reshape(1, -1)
    world = item["world_from_camera"][first] @ torch.cat([in_camera, torch.ones(1, in_camera.shape[1])])
    seen = (torch.linalg.inv(item["world_from_camera"][second]) @ world)[:3]
    u, v, z = item["intrinsics"][second] @ seen
    u, v = (u / z).round().long(), (v / z).round().long()
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height) & (z > 0)
    u, v, z = u[inside], v[inside], z[inside]
    visible = (item["depths"][second][v, u] - z).abs() < 0.02 * z
    labels = item["masks"][first].reshape(-1)[inside]
    assert visible.float().mean() > 0.5
    assert (labels[visible] == item["masks"][second][v, u][visible]).float().mean() > 0.97


def test_views_scenes_and_passes_are_chosen(data):
    dataset = SceneDataset(data / "blocks", views=(3, 0), scenes=(2, 0), passes=())
    assert dataset.scene_ids == (2, 0)
    item = dataset[0]
    assert item["scene"] == 2
    assert "masks" not in item
    whole = SceneDataset(data / "blocks")[2]
    assert torch.equal(item["images"], whole["images"][[3, 0]])
    assert len(SceneDataset(data / "blocks", views=2)[0]["images"]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"views": 9}, "has 4 views, 9 were asked for"),
        ({"views": 0}, "expected at least one"),
        ({"scenes": [7]}, "asked for scene 7"),
        ({"passes": ["depth"]}, "12 of 12 views have no depth"),
        ({"passes": ["flow"]}, "expected some of mask, depth"),
        ({"size": (0, 4)}, "at least 1 pixel"),
    ],
)
def test_what_is_not_there_is_refused_at_once(data, options, message):
    with pytest.raises(InputError, match=message):
        SceneDataset(data / "blocks", **options)


def test_images_that_differ_in_size_need_one(data, tmp_path):
    root = Path(shutil.copytree(data / "blocks", tmp_path / "blocks"))
    view = open_dataset(root).scenes[0].views[1]
    write_image(view.image_path, view.image()[::2, ::2])
    with pytest.raises(InputError, match="scene 0: its images differ in size"):
        SceneDataset(root, passes=())[0]
    assert SceneDataset(root, size=(16, 12))[0]["images"].shape == (4, 3, 12, 16)


def test_the_scale_is_the_cards_and_otherwise_uorfs(data, tmp_path):
    root = Path(shutil.copytree(data / "blocks", tmp_path / "blocks"))
    write_card(root, DatasetCard(near=2.0, focal_ratio=(1.2, 1.6)))
    scale = SceneDataset(root).scale
    assert (scale.near, scale.far, scale.focal_ratio) == (2.0, 20.0, (1.2, 1.6))
    write_card(root, DatasetCard(near=40.0))
    with pytest.raises(InputError, match="near must be smaller than far"):
        SceneDataset(root)


def test_a_lens_of_ones_own_is_the_views(data):
    dataset = open_dataset(data / "uocf_lens")
    width, height = 40, 30
    item = SceneDataset(data / "uocf_lens", size=(width, height), passes=())[0]
    for matrix, view in zip(item["intrinsics"], next(iter(dataset.scenes.values())).views, strict=True):
        own = (view.pinhole() or dataset.default_pinhole()).at(width, height)
        assert np.allclose(matrix, [[own.fx, 0, own.cx], [0, own.fy, own.cy], [0, 0, 1]])


def test_shards_hold_the_same_tensors(data, tmp_path):
    convert(data / "blocks_depth", tmp_path / "shards", target_format="webdataset")
    folder, shards = SceneDataset(data / "blocks_depth"), SceneDataset(tmp_path / "shards")
    assert folder.passes == shards.passes == ("mask", "depth")
    assert len(folder) == len(shards)
    assert folder.scale == shards.scale
    for ours, theirs in zip(folder, shards, strict=True):
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(theirs[key])), key


@pytest.fixture
def temporary_folder(monkeypatch):
    """A function that sets the folder for temporary files, of this process and of those that it starts."""

    def choose(folder):
        monkeypatch.setenv("TMPDIR", str(folder))
        monkeypatch.setattr("tempfile.tempdir", str(folder))
        # Where sockets go, once one was opened.
        monkeypatch.delitem(multiprocessing.current_process()._config, "tempdir", raising=False)

    return choose


def test_workers_that_cannot_pass_tensors_on_say_so(data, tmp_path, temporary_folder):
    """A socket's path has about a hundred bytes; torch alone would wait for ever."""
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    temporary_folder(folder)
    loader = DataLoader(SceneDataset(data / "blocks"), num_workers=1, multiprocessing_context="fork")
    with pytest.raises(WorkError, match="TMPDIR"):
        next(iter(loader))


# Two are more than torch suggests where there is one core.
@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")
@pytest.mark.parametrize(("workers", "context"), [(0, None), (2, "fork"), (1, "spawn")])
def test_any_workers_load_the_same_batches(data, tmp_path, workers, context, temporary_folder):
    temporary_folder("/tmp")
    convert(data / "blocks", tmp_path / "shards", target_format="webdataset")
    roots = (data / "blocks", tmp_path / "shards")
    folder, shards = (SceneDataset(root, size=(16, 12), views=3) for root in roots)
    loader = DataLoader(
        ConcatDataset([folder, shards]), batch_size=2, num_workers=workers, multiprocessing_context=context
    )
    batches = list(loader)
    assert [batch["scene"].tolist() for batch in batches] == [[0, 1], [2, 0], [1, 2]]
    assert batches[0]["images"].shape == (2, 3, 3, 12, 16)
    for place, dataset in ((0, folder), (1, shards)):
        assert torch.equal(batches[1]["images"][place], dataset[2 - 2 * place]["images"])
        assert torch.equal(batches[1]["masks"][place], dataset[2 - 2 * place]["masks"])


def test_the_docstring_runs(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    done = doctest.testmod(objnerf.dataset.torch)
    assert done.attempted
    assert not done.failed
