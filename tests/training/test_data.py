"""Pictures and rays: what is drawn belongs together, and depends on the seed and the step alone."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from objnerf.dataset.cameras import REFERENCE_FOCAL_RATIO, Intrinsics, Pinhole, project
from objnerf.dataset.files import read_image, write_image, write_pinhole
from objnerf.dataset.index import open_dataset
from objnerf.dataset.resize import resize_by_area
from objnerf.errors import InputError, WorkError
from objnerf.training import pixels
from objnerf.training import scenes as scenes_module
from objnerf.training.augment import mirror
from objnerf.training.batches import draw_batch, scenes_of_step
from objnerf.training.held_out import split_scenes
from objnerf.training.recipe import HeldOut, Recipe
from objnerf.training.recipe_files import parse_recipe
from objnerf.training.scenes import Scenes, load_scenes, require_views
from objnerf.training.seeds import derive_seed

CPU = torch.device("cpu")
SIZES = [(16, 16), (32, 24)]


@pytest.fixture
def scenes(coded: Path) -> Scenes:
    return load_scenes(open_dataset(coded), range(6), SIZES, CPU)


@pytest.mark.parametrize("supervision", ["rays", "patches", "images"])
def test_a_ray_has_the_colour_of_the_pixel_that_it_passes(
    supervision: str, scenes: Scenes, coded: Path, small: dict[str, Any]
):
    """A point on each ray, projected into its view, lies on the pixel whose code the colour is."""
    small["stages"][0] |= {"supervision": supervision, "patch": 5}
    recipe = parse_recipe(small, where="x")
    batch = draw_batch(scenes, recipe, recipe.stages[0], start=3)
    codes = (batch.colours * 255).round().numpy()
    views = list(open_dataset(coded).views())
    intrinsics = Intrinsics.from_focal_ratio(recipe.scale.focal_ratio, 32, 24)
    points = batch.origins + 7.5 * batch.directions
    for scene in range(2):
        for ray in range(0, codes.shape[1], 3):
            column, row, index = codes[scene, ray] / [7, 9, 10]
            pose = views[round(index)].pose()
            pixel, depth = project(points[scene, ray].double().numpy(), intrinsics, pose)
            assert pixel == pytest.approx([column, row], abs=1e-3)
            assert depth == pytest.approx(7.5, abs=1e-4)
    expected = {"rays": 16, "patches": 2 * 25, "images": 2 * 32 * 24}[supervision]
    assert codes.shape[:2] == (2, expected)


def test_large_jpegs_give_the_same_pixels_decoded_at_a_reduced_scale(tmp_path: Path):
    """1600 x 1200 as JPEG, brought to 64 x 48: libjpeg's own eighths, or all pixels, and then means.

    The former drops the highest frequencies, the latter averages over them, and colour is stored at half the
    resolution: even on noise the two differ by less than half a percent on average.
    """
    rng = np.random.default_rng(2)
    picture = np.zeros((1200, 1600, 3))
    for cells in (8, 32, 128, 400):
        noise = Image.fromarray((rng.random((cells * 3 // 4, cells, 3)) * 255).astype(np.uint8))
        picture += np.asarray(noise.resize((1600, 1200), Image.Resampling.BICUBIC), float) / 4
    folder = tmp_path / "set"
    folder.mkdir()
    path = folder / "00000_sc0000_img0.png"
    Image.fromarray(picture.astype(np.uint8)).save(path, format="JPEG", quality=90)
    np.savetxt(folder / "00000_sc0000_img0_RT.txt", np.eye(4))
    whole = read_image(path)
    assert whole.shape == (1200, 1600, 3)
    assert read_image(path, at_least=(128, 96)).shape == (150, 200, 3)
    loaded = load_scenes(open_dataset(folder), [0], [(64, 48)], CPU).pixels[64, 48].numpy().reshape(48, 64, 3)
    difference = np.abs(loaded.astype(int) - resize_by_area(whole, (64, 48)))
    assert difference.max() <= 6
    assert difference.mean() < 0.005 * 255


def test_only_what_divides_a_jpegs_sides_is_decoded_smaller(tmp_path: Path):
    """An eighth of 1004 pixels is 125.5, and the 126 that libjpeg gives end beyond the picture's edge."""
    noise = np.random.default_rng(0).integers(0, 256, (800, 1004, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg", at_least=(10, 10)).shape == (200, 251, 3)
    assert read_image(tmp_path / "a.jpg", at_least=(300, 10)).shape == (400, 502, 3)
    write_image(tmp_path / "a.png", noise)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", at_least=(10, 10)), noise)


def _lens_of(index: int) -> Pinhole:
    """A different one for each view."""
    return Pinhole((0.8 + 0.05 * index, 1.1 + 0.04 * index), (0.01 * index, -0.02))


@pytest.mark.parametrize("supervision", ["rays", "images"])
def test_a_ray_passes_its_pixel_through_its_own_views_lens(
    supervision: str, coded: Path, small: dict[str, Any], tmp_path: Path
):
    root = tmp_path / "differing"
    shutil.copytree(coded, root)
    views = list(open_dataset(root).views())
    for index, view in enumerate(views):
        write_pinhole(root / f"{view.stem}_intrinsics.txt", _lens_of(index))
    loaded = load_scenes(open_dataset(root), range(6), SIZES, CPU, focal_ratio=REFERENCE_FOCAL_RATIO)
    small["stages"][0] |= {"supervision": supervision}
    recipe = parse_recipe(small, where="x")
    batch = draw_batch(loaded, recipe, recipe.stages[0], start=3)
    codes = (batch.colours * 255).round().numpy()
    points = batch.origins + 7.5 * batch.directions
    for scene in range(2):
        for ray in range(0, codes.shape[1], 5):
            column, row, index = codes[scene, ray] / [7, 9, 10]
            intrinsics = _lens_of(round(index)).at(32, 24)
            pixel, depth = project(
                points[scene, ray].double().numpy(), intrinsics, views[round(index)].pose()
            )
            assert pixel == pytest.approx([column, row], abs=1e-3)
            assert depth == pytest.approx(7.5, abs=1e-4)
    # The input view's lens goes along, for the encoder.
    assert batch.pinholes is not None
    for scene in range(2):
        index = round(float((batch.images[scene, 2].mean() + 1) / 2 * 255)) // 10
        lens = _lens_of(index)
        assert batch.pinholes[scene].tolist() == pytest.approx([*lens.focal_ratio, *lens.principal_offset])


def test_one_lens_in_every_views_file_is_one_lens(coded: Path, tmp_path: Path):
    """Rays are the same to the last digit as those of a dataset whose dataset.yaml says it."""
    root = tmp_path / "same"
    shutil.copytree(coded, root)
    for view in open_dataset(root).views():
        write_pinhole(root / f"{view.stem}_intrinsics.txt", Pinhole((1.2, 1.6)))
    assert load_scenes(open_dataset(root), [0], SIZES, CPU, focal_ratio=(1.2, 1.6)).pinholes is None
    other = load_scenes(open_dataset(root), [0], SIZES, CPU, focal_ratio=(1.1, 1.6)).pinholes
    assert other is not None
    assert other[0].tolist() == pytest.approx([1.2, 1.6, 0, 0])
    assert load_scenes(open_dataset(root), [0], SIZES, CPU, focal_ratio=None).pinholes is None


def test_the_input_view_comes_with_its_own_pose_and_scene(scenes: Scenes, coded: Path, small_recipe: Recipe):
    batch = draw_batch(scenes, small_recipe, small_recipe.stages[0], start=0)
    views = list(open_dataset(coded).views())
    for scene in range(2):
        blue = round(float((batch.images[scene, 2].mean() + 1) / 2 * 255))
        assert batch.world_from_camera[scene].numpy() == pytest.approx(views[blue // 10].pose(), abs=1e-6)
        rays_of = {round(value) // 30 for value in (batch.colours[scene, :, 2] * 255).tolist()}
        assert rays_of == {blue // 30}  # every ray sees the scene of the input view


def test_pictures_and_patches_are_whole(scenes: Scenes, small: dict[str, Any]):
    """A patch is a window of the picture, at one place in all views; a picture is all of it."""
    small["stages"][0] |= {"supervision": "patches", "patch": 5}
    recipe = parse_recipe(small, where="x")
    batch = draw_batch(scenes, recipe, recipe.stages[0], start=0)
    assert batch.grid == (2, 5, 5)
    codes = (batch.colours * 255).round().int().unflatten(1, batch.grid)
    left, top = codes[0, 0, 0, 0, :2].tolist()
    rows, columns = torch.meshgrid(torch.arange(5), torch.arange(5), indexing="ij")
    for view in range(2):
        assert torch.equal(codes[0, view, ..., 0], left + 7 * columns)
        assert torch.equal(codes[0, view, ..., 1], top + 9 * rows)
    small["stages"][0]["supervision"] = "images"
    recipe = parse_recipe(small, where="x")
    batch = draw_batch(scenes, recipe, recipe.stages[0], start=0)
    assert batch.grid == (2, 24, 32)
    assert (batch.colours[0].unflatten(0, batch.grid)[1, 3, 4, :2] * 255).round().tolist() == [28, 27]


def test_novel_rays_leave_their_own_input_out(scenes: Scenes, small: dict[str, Any]):
    """Every view of a scene is an input once, and its rays belong to the others, at the pixels they say."""
    small["stages"][0] |= {"supervision": "novel", "rays": 12}
    small["batch"] |= {"views": 3}
    recipe = parse_recipe(small, where="x")
    batch = draw_batch(scenes, recipe, recipe.stages[0], start=0)
    assert batch.novel is not None
    assert batch.novel.views == 3
    assert batch.images.shape[0] == 2 * 3
    inputs = ((batch.images[:, 2].mean((1, 2)) + 1) / 2 * 255 / 10).round()
    codes = (batch.colours * 255).round()
    for entry in range(6):
        scene = entry // 3 * 3
        seen = codes[entry, :, 2] / 10
        assert torch.equal(seen.round(), inputs[scene : scene + 3][batch.novel.view[entry]])
        assert (batch.novel.view[entry] != entry % 3).all()
        # As many rays of one other view as of the next.
        assert set(batch.novel.view[entry].bincount(minlength=3).tolist()) == {0, 6}
    where = torch.stack([(2 * codes[..., 0] / 7 + 1) / 32 - 1, (2 * codes[..., 1] / 9 + 1) / 24 - 1], dim=-1)
    assert torch.allclose(batch.novel.where, where, atol=1e-5)


def test_scenes_are_mirrored_with_all_their_inputs(scenes: Scenes, small: dict[str, Any]):
    """A point on a ray is still seen where the ray says, in the mirrored picture of the mirrored camera."""
    small["stages"][0] |= {"supervision": "novel", "rays": 6}
    small["batch"] |= {"views": 3}
    recipe = parse_recipe(small, where="x")
    plain = draw_batch(scenes, recipe, recipe.stages[0], start=0)
    batch = mirror(plain, torch.tensor([True] * 3 + [False] * 3))
    assert batch.novel is not None
    for entry in range(6):
        poses = batch.world_from_camera[entry // 3 * 3 :][batch.novel.view[entry]]
        points = batch.origins[entry] + 7.5 * batch.directions[entry]
        local = torch.einsum("rji,rj->ri", poses[:, :3, :3], points - poses[:, :3, 3])
        ratio = torch.tensor(recipe.scale.focal_ratio)
        assert torch.allclose(local[:, :2] / local[:, 2:] * 2 * ratio, batch.novel.where[entry], atol=1e-4)
        flipped = torch.equal(batch.images[entry], plain.images[entry].flip(-1))
        assert flipped == (entry < 3)


def test_depths_are_those_of_pixels_not_means(data: Path, small: dict[str, Any]):
    """160 × 120 to 32 × 24: every depth is that of the pixel in the middle of five by five."""
    dataset = open_dataset(data / "blocks_depth")
    view = dataset.scenes[0].views[0]
    size = (32, 24)
    loaded = load_scenes(dataset, [0], [size], torch.device("cpu"), depth_sizes=[size])
    middle = view.depth()[2::5, 2::5]
    assert np.array_equal(loaded.depths[size][0].numpy(), middle.ravel())


def test_depths(scenes: Scenes, small: dict[str, Any]):
    """Jittered: one in each sixth of 6 … 20; else evenly from 6 to 20, as the reference has it."""
    recipe = parse_recipe(small, where="x")
    depths = draw_batch(scenes, recipe, recipe.stages[0], start=0).depths
    bins = ((depths - 6) / 14 * 6).floor()
    assert torch.equal(bins, torch.arange(6.0).expand_as(bins))
    assert depths.std(dim=(0, 1)).min() > 0.1
    small["sampling"]["jitter"] = False
    recipe = parse_recipe(small, where="x")
    depths = draw_batch(scenes, recipe, recipe.stages[0], start=0).depths
    assert depths[1, 7].tolist() == pytest.approx([6, 8.8, 11.6, 14.4, 17.2, 20])


def test_a_step_is_drawn_from_seed_step_and_attempt(scenes: Scenes, small: dict[str, Any]):
    recipe = parse_recipe(small, where="x")
    stage = recipe.stages[0]
    first = draw_batch(scenes, recipe, stage, start=4)
    again = draw_batch(scenes, recipe, stage, start=4)
    assert torch.equal(first.colours, again.colours)
    assert torch.equal(first.depths, again.depths)
    others = [
        draw_batch(scenes, recipe, stage, start=6),
        draw_batch(scenes, recipe, stage, start=4, attempt=1),
        draw_batch(scenes, parse_recipe(small | {"seed": 1}, where="x"), stage, start=4),
    ]
    for other in others:
        assert not torch.equal(first.directions, other.directions)


def test_two_halves_are_one_batch(scenes: Scenes, small: dict[str, Any]):
    small["batch"]["scenes"] = 4
    whole_recipe = parse_recipe(small, where="x")
    small["batch"]["scenes"] = 2
    half_recipe = parse_recipe(small, where="x")
    whole = draw_batch(scenes, whole_recipe, whole_recipe.stages[0], start=4)
    halves = [draw_batch(scenes, half_recipe, half_recipe.stages[0], start=start) for start in (4, 6)]
    for name in ("images", "world_from_camera", "origins", "directions", "depths", "colours"):
        parts = torch.cat([getattr(half, name) for half in halves])
        assert torch.equal(getattr(whole, name), parts)


def test_an_epoch_shows_each_scene_once():
    for epoch in range(3):
        seen = [
            scenes_of_step(7, start, 1, seed=0, attempt=0)[0] for start in range(7 * epoch, 7 * epoch + 7)
        ]
        assert sorted(seen) == list(range(7))
    across = scenes_of_step(7, 5, 4, seed=0, attempt=0)
    assert across[:2] == scenes_of_step(7, 5, 2, seed=0, attempt=0)
    orders = {tuple(scenes_of_step(7, 7 * epoch, 7, seed=0, attempt=0)) for epoch in range(5)}
    assert len(orders) > 1


def test_the_last_scenes_are_held_out():
    ids = tuple(range(100, 120))
    train, held = split_scenes(ids, HeldOut(share=0.1))
    assert (train, held) == (ids[:18], ids[18:])
    assert split_scenes(ids, HeldOut(scenes=5))[1] == ids[15:]
    assert split_scenes(ids, HeldOut(share=0.0)) == (ids, ())
    assert split_scenes(ids[:3], HeldOut(share=0.1))[1] == ids[2:3]  # at least one
    with pytest.raises(InputError, match="none is left to train on"):
        split_scenes(ids, HeldOut(scenes=20))


def test_too_few_views(coded: Path):
    with pytest.raises(InputError, match=r"scene 0 .* has 3 views.*4 views.*--set batch.views=3"):
        require_views(open_dataset(coded), range(6), 4)


def test_many_views_are_decoded_once_and_mapped(
    coded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_recipe: Recipe
):
    """From the cache, in memory or on disk, come the very batches that decoding gives."""
    root = tmp_path / "dataset"
    root.mkdir()
    for file in coded.iterdir():
        (root / file.name).write_bytes(file.read_bytes())
    cache = tmp_path / "cache"
    plain = load_scenes(open_dataset(root), range(6), SIZES, CPU)
    monkeypatch.setattr(scenes_module, "CACHED_VIEWS", 1)
    first = load_scenes(open_dataset(root), range(6), SIZES, CPU, cache=cache)
    monkeypatch.setattr(scenes_module, "MEMORY_SHARE", 0.0)
    monkeypatch.setattr(pixels, "decode", None)  # decoding again would fail
    mapped = load_scenes(open_dataset(root), range(6), SIZES, CPU, cache=cache)
    batches = [draw_batch(found, small_recipe, small_recipe.stages[0], 5) for found in (plain, first, mapped)]
    for batch in batches[1:]:
        assert torch.equal(batch.images, batches[0].images)
        assert torch.equal(batch.colours, batches[0].colours)
        assert torch.equal(batch.origins, batches[0].origins)
    monkeypatch.undo()

    # A picture written anew is seen, and the old files go.
    monkeypatch.setattr(scenes_module, "CACHED_VIEWS", 1)
    view = next(open_dataset(root).views())
    write_image(view.image_path, np.full((24, 32, 3), 99, np.uint8))
    os.utime(view.image_path, ns=(1, 1))
    fresh = load_scenes(open_dataset(root), range(6), SIZES, CPU, cache=cache)
    assert int(fresh.pixels[(16, 16)][0].min()) == 99
    assert len(list(cache.iterdir())) == 3  # two sizes and the poses


def test_depth_of_many_views_is_kept_beside_their_images(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The same depths from memory and from the mapped file; a run without depth leaves the file alone."""
    dataset, size, cache = open_dataset(data / "blocks_depth"), (32, 24), tmp_path / "cache"

    def load(*, depth: bool = True) -> Scenes:
        return load_scenes(dataset, [0], [size], CPU, depth_sizes=[size] if depth else [], cache=cache)

    plain = load()
    assert not cache.exists()
    monkeypatch.setattr(scenes_module, "CACHED_VIEWS", 1)
    load(depth=False)
    assert len(list(cache.iterdir())) == 2  # images and poses
    first = load()
    monkeypatch.setattr(pixels, "decode_depths", None)  # decoding again would fail
    load(depth=False)
    mapped = load()
    views, places = torch.tensor([0, 1, 1]), torch.tensor([5, 9, 700])
    for found in (first, mapped):
        assert torch.equal(found.depths[size], plain.depths[size])
        assert torch.equal(found.surfaces(size, views, places), plain.surfaces(size, views, places))


def test_the_images_of_many_views_do_not_take_memory(
    coded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """They are pages of a file, which the kernel may drop; mapped for reading, they may exceed the memory."""
    monkeypatch.setattr(scenes_module, "CACHED_VIEWS", 1)
    read, mapped = pixels._KeptArrays.mapped, {}

    def watched(*arguments: Any) -> dict[tuple[int, int], np.ndarray]:
        mapped.update(read(*arguments))
        return mapped

    monkeypatch.setattr(pixels._KeptArrays, "mapped", watched)
    loaded = load_scenes(open_dataset(coded), range(6), SIZES, CPU, cache=tmp_path / "cache")
    assert set(mapped) == set(SIZES)
    for size, store in mapped.items():
        assert isinstance(store, np.memmap)
        assert store.mode == "r"
        assert loaded.pixels[size].data_ptr() == store.ctypes.data


def test_seeds_differ_by_every_word():
    words = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0, 0), (0, 0, 0, 1)]
    assert len({derive_seed(*word) for word in words[:4] + words[5:]}) == 5
    assert all(0 <= derive_seed(*word) < 2**63 for word in words)


def test_decoded_pictures_that_find_no_place_are_named(
    coded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home that may not be written to; a full disk, which would kill whoever writes to a mapped file."""
    monkeypatch.setattr(scenes_module, "CACHED_VIEWS", 1)
    dataset = open_dataset(coded)

    def load(cache: Path) -> None:
        load_scenes(dataset, [0, 1], [(16, 12)], CPU, cache=cache)

    (tmp_path / "file").touch()
    with pytest.raises(WorkError, match="OBJNERF_CACHE"):
        load(tmp_path / "file" / "below")

    def full(descriptor: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.posix_fallocate", full)
        with pytest.raises(WorkError, match="No space left on device"):
            load(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    load(tmp_path / "cache")
