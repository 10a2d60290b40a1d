"""WebDataset shards: read by the library itself, whole scenes, the same bytes for the same data."""

import gc
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from objnerf.dataset import open_dataset
from objnerf.dataset.convert import convert, shards
from objnerf.dataset.convert.posed import no_progress
from objnerf.errors import InputError


# The library leaves its last shard open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_webdataset_reads_what_we_write(data: Path, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="the library webdataset is not installed")
    convert(data / "blocks_depth", tmp_path / "there", target_format="webdataset")
    urls = [str(path) for path in sorted((tmp_path / "there").glob("*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False).decode("rgb8"))
    views = list(open_dataset(data / "blocks_depth").views())
    assert [sample["__key__"] for sample in samples] == [view.stem for view in views]
    for sample, view in zip(samples, views, strict=True):
        np.testing.assert_array_equal(sample["mask.png"], view.mask())
        np.testing.assert_array_equal(sample["depth.npy"][..., 0], view.depth())
        pose = np.array([[float(word) for word in line.split()] for line in sample["rt.txt"].splitlines()])
        np.testing.assert_array_equal(pose, view.pose())
    gc.collect()  # the file that the library left open is reported here, not in another test


def test_scenes_never_part(make_dataset, tmp_path: Path) -> None:
    source = make_dataset(5, 3)
    from objnerf.dataset.convert import native

    folder = tmp_path / "there"
    folder.mkdir()
    shards.write(native.read(source), folder, no_progress, shard_bytes=30_000)
    found = sorted(folder.glob("*.tar"))
    assert len(found) > 1
    scenes = []
    for path in found:
        with tarfile.open(path) as archive:
            scenes.append({name.split("_")[1] for name in archive.getnames()})
    assert sum(len(ids) for ids in scenes) == 5
    convert(folder, tmp_path / "back")
    assert open_dataset(tmp_path / "back").n_views == 15


def test_everything_beside_a_view_comes_back_byte_for_byte(data: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(data / "blocks", source)
    shutil.copy(source / "00000_sc0000_img0.png", source / "00000_sc0000_img0_moved.png")
    shutil.copy(source / "00000_sc0000_img0_mask.png", source / "00000_sc0000_img0_mask_for_moving.png")
    (source / "000_movement.txt").write_text("0.5\n-1.25\n")
    convert(source, tmp_path / "there", target_format="webdataset")
    back = tmp_path / "back"
    convert(tmp_path / "there", back)
    for path in source.iterdir():
        assert (back / path.name).read_bytes() == path.read_bytes(), path.name
    assert {path.name for path in back.iterdir()} - {path.name for path in source.iterdir()} == {
        "dataset.yaml"
    }


def test_equal_data_give_equal_bytes(data: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        convert(data / "blocks", tmp_path / name, target_format="webdataset")
    first, second = (next((tmp_path / name).glob("*.tar")).read_bytes() for name in ("first", "second"))
    assert first == second


def test_a_single_shard_can_be_named(data: Path, tmp_path: Path) -> None:
    convert(data / "blocks", tmp_path / "there", target_format="webdataset")
    done = convert(tmp_path / "there" / "shard-000000.tar", tmp_path / "back")
    assert (done.source_format, done.scenes) == ("webdataset", 3)


def test_damaged_shards_are_refused(make_dataset, tmp_path: Path) -> None:
    convert(make_dataset(1, 2), tmp_path / "there", target_format="webdataset")
    path = tmp_path / "there" / "shard-000000.tar"
    whole = path.read_bytes()
    for length in (0, 100, 513, 700, 1500, 3000):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="shard"):
            convert(tmp_path / "there", tmp_path / "back")
    path.write_bytes(b"no archive" * 100)
    with pytest.raises(InputError, match="uncompressed tar"):
        convert(tmp_path / "there", tmp_path / "back")


@pytest.mark.parametrize("missing", ["png", "rt.txt"])
def test_samples_without_picture_or_pose_are_named(make_dataset, tmp_path: Path, missing: str) -> None:
    convert(make_dataset(1, 2), tmp_path / "there", target_format="webdataset")
    path = tmp_path / "there" / "shard-000000.tar"
    reduced = tmp_path / "there" / "reduced.tar"
    with tarfile.open(path) as archive, tarfile.open(reduced, "w") as copy:
        for member in archive:
            if member.name != f"00001_sc0000_img1.{missing}":
                copy.addfile(member, archive.extractfile(member))
    path.unlink()
    with pytest.raises(InputError, match="sample 00001_sc0000_img1: expected an image"):
        convert(tmp_path / "there", tmp_path / "back")


def test_the_same_sample_in_two_shards_is_refused(make_dataset, tmp_path: Path) -> None:
    convert(make_dataset(1, 1), tmp_path / "there", target_format="webdataset")
    shutil.copy(tmp_path / "there/shard-000000.tar", tmp_path / "there/shard-000001.tar")
    with pytest.raises(InputError, match="00000_sc0000_img0 in two shards"):
        convert(tmp_path / "there", tmp_path / "back")


def test_names_with_dots_cannot_be_keys(make_dataset, tmp_path: Path) -> None:
    source = make_dataset(1, 1)
    for path in source.glob("00000_*"):
        path.rename(source / path.name.replace("00000", "v1.5"))
    with pytest.raises(InputError, match="first dot"):
        convert(source, tmp_path / "there", target_format="webdataset")


def test_members_outside_the_folder_do_no_harm(make_dataset, tmp_path: Path) -> None:
    """A name like ../../x is a key like any other: only its last part counts."""
    convert(make_dataset(1, 1), tmp_path / "there", target_format="webdataset")
    path = tmp_path / "there" / "shard-000000.tar"
    evil = tmp_path / "there" / "evil.tar"
    with tarfile.open(path) as archive, tarfile.open(evil, "w") as copy:
        for member in archive:
            content = archive.extractfile(member)
            member.name = f"../../outside/{member.name}"
            copy.addfile(member, content)
    path.unlink()
    convert(tmp_path / "there", tmp_path / "back")
    assert (tmp_path / "back" / "00000_sc0000_img0.png").is_file()
    assert not (tmp_path.parent / "outside").exists()


# The library leaves its last shard open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_a_sample_can_be_a_scene(described: Path, tmp_path: Path) -> None:
    """WebDataset itself gives a scene's files in one sample; converted back, everything is the same."""
    webdataset = pytest.importorskip("webdataset", reason="the library webdataset is not installed")
    convert(described, tmp_path / "shards", target_format="webdataset-scenes")
    samples = list(
        webdataset.WebDataset(
            str(tmp_path / "shards" / "shard-000000.tar"), shardshuffle=False, empty_check=False
        )
    )
    gc.collect()
    assert [sample["__key__"] for sample in samples] == ["sc0000", "sc0001"]
    dataset = open_dataset(described)
    for sample, scene in zip(samples, dataset.scenes.values(), strict=True):
        assert sample["stems.txt"].decode().split() == [view.stem for view in scene.views]
        for number, view in enumerate(scene.views):
            assert sample[f"{number:03d}.png"] == view.image_path.read_bytes()
            assert sample[f"{number:03d}.rt.txt"] == view.pose_path.read_bytes()
            amodal = described / "amodal" / f"{view.stem}_object2.png"
            assert sample[f"{number:03d}.amodal2.png"] == amodal.read_bytes()
    convert(tmp_path / "shards", tmp_path / "back")
    for path in described.rglob("*"):
        if path.is_file() and path.name != "dataset.yaml":
            assert (tmp_path / "back" / path.relative_to(described)).read_bytes() == path.read_bytes()


def test_a_scene_whose_files_and_names_disagree_is_refused(described: Path, tmp_path: Path) -> None:
    convert(described, tmp_path / "shards", target_format="webdataset-scenes")
    shard = tmp_path / "shards" / "shard-000000.tar"
    shard.write_bytes(shard.read_bytes().replace(b"00001_sc0000_img1\n", b"                 \n"))
    with pytest.raises(InputError, match="files of its 1 views, found 001"):
        convert(tmp_path / "shards", tmp_path / "back")


def test_a_name_in_a_shard_that_leads_out_of_the_folder_is_not_taken(described: Path, tmp_path: Path) -> None:
    convert(described, tmp_path / "shards", target_format="webdataset-scenes")
    shard = tmp_path / "shards" / "shard-000000.tar"
    content = shard.read_bytes()
    assert b"00001_sc0000_img1\n" in content
    shard.write_bytes(content.replace(b"00001_sc0000_img1\n", b"../x1_sc0000_img1\n"))
    before = {entry.name for entry in tmp_path.iterdir()}
    convert(tmp_path / "shards", tmp_path / "back")
    assert {entry.name for entry in tmp_path.iterdir()} == before | {"back"}
    assert len(list((tmp_path / "back").glob("*_img?.png"))) == 4
