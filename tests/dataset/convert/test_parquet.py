"""Parquet tables, read back by pyarrow row by row: bytes, poses, depth, objects; and damaged ones."""

import io
import json
import os
import random
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from objnerf.dataset import open_dataset
from objnerf.dataset.convert import convert, parquet, recognise
from objnerf.dataset.convert.native import read as read_native
from objnerf.dataset.convert.parquet_footer import read_group_sizes
from objnerf.dataset.convert.posed import no_progress
from objnerf.dataset.objects import read_amodal_mask
from objnerf.errors import InputError


@pytest.fixture
def table(described: Path, tmp_path: Path) -> pa.Table:
    done = convert(described, tmp_path / "there", target_format="parquet")
    assert (done.scenes, done.views, done.left_out) == (2, 4, ())
    return pq.read_table(tmp_path / "there" / "data" / "train-00000-of-00001.parquet")


def test_every_row_is_a_view(table: pa.Table, described: Path) -> None:
    dataset = open_dataset(described)
    rows = table.to_pylist()
    views = list(dataset.views())
    assert [row["stem"] for row in rows] == [view.stem for view in views]
    assert [(row["scene"], row["view"]) for row in rows] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for row, view in zip(rows, views, strict=True):
        assert row["image"]["bytes"] == view.image_path.read_bytes()
        assert row["mask"]["bytes"] == view.mask_path.read_bytes()
        np.testing.assert_array_equal(np.array(row["world_from_camera"]), view.pose())
        np.testing.assert_array_equal(np.array(row["depth"], dtype=np.float32), view.depth())
        camera = dataset.intrinsics(16, 12)
        assert row["intrinsics"] == [[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]]
        for item in row["objects"]:
            with Image.open(io.BytesIO(item["amodal"]["bytes"])) as mask:
                np.testing.assert_array_equal(np.asarray(mask) > 0, read_amodal_mask(view, item["label"]))
        assert [item["category"] for item in row["objects"]] == ["chair", "table"]
        assert [item["visible"] for item in row["objects"]] == [1.0, 0.25]
        assert row["objects"][1]["size"] == [1, 2, 3]
        assert row["objects"][0]["size"] is None


def test_the_metadata_tells_datasets_which_columns_are_pictures(table: pa.Table) -> None:
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == table.column_names
    assert features["image"] == features["mask"] == {"_type": "Image"}
    assert features["objects"][0].keys() == {f.name for f in table.schema.field("objects").type.value_type}


def test_objects_and_amodal_masks_come_back(described: Path, tmp_path: Path, table: pa.Table) -> None:
    assert recognise(tmp_path / "there") == "parquet"
    convert(tmp_path / "there", tmp_path / "back")
    for path in described.rglob("*"):
        if path.is_file() and path.suffix in (".png", ".json"):
            assert (tmp_path / "back" / path.relative_to(described)).read_bytes() == path.read_bytes()


def test_large_sets_become_several_files_of_whole_scenes(described: Path, tmp_path: Path) -> None:
    parquet_folder = tmp_path / "there"
    parquet_folder.mkdir()
    parquet.write(read_native(described), parquet_folder, no_progress, file_bytes=1)
    files = sorted((parquet_folder / "data").iterdir())
    assert [path.name for path in files] == [f"train-0000{n}-of-00002.parquet" for n in (0, 1)]
    for scene, path in enumerate(files):
        assert pq.read_table(path)["scene"].to_pylist() == [scene, scene]
    assert [len(scene.views) for scene in parquet.read(parquet_folder).scenes] == [2, 2]


def test_other_tables_and_damaged_ones_are_refused(described: Path, tmp_path: Path, table: pa.Table) -> None:
    path = tmp_path / "there" / "data" / "train-00000-of-00001.parquet"
    content = path.read_bytes()
    pq.write_table(table.drop_columns(["image"]), path)
    with pytest.raises(InputError, match="found none named image"):
        convert(tmp_path / "there", tmp_path / "back")
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"train-00000-of-00001\.parquet"):
        convert(tmp_path / "there", tmp_path / "back")
    rows = table.to_pylist()
    rows[1]["world_from_camera"][0][0] = float("nan")
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    with pytest.raises(InputError, match="row 1: expected finite numbers in the pose"):
        convert(tmp_path / "there", tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize(
    ("column", "value", "complaint"),
    [
        ("stem", None, "expected a name as stem, found None"),
        ("stem", 7, "expected a name as stem, found 7"),
        ("scene", None, "expected a number as scene, found None"),
        ("scene", -1, "expected a number as scene, found -1"),
        ("view", "first", "expected a number as view, found 'first'"),
        ("image", {"bytes": None, "path": "x.png"}, "column image: expected an image as bytes"),
        ("image", "x.png", "column image: expected an image as bytes"),
        ("image", {"bytes": b"GIF", "path": None}, "expected an image"),
        ("intrinsics", [[1.0]], "expected 3x3 intrinsics"),
        ("intrinsics", [[1.0], [1.0, 2.0]], "inhomogeneous"),
        ("intrinsics", None, "expected 3x3 intrinsics"),
        ("world_from_camera", [[1.0, 0.0]], "pose"),
        ("world_from_camera", "identity", "identity"),
        ("mask", {"bytes": None, "path": None}, "column mask: expected an image as bytes"),
        ("depth", [[1.0], [1.0, 2.0]], "expected depth as rows of numbers"),
        ("depth", [["near"]], "expected depth as rows of numbers"),
        ("objects", [{"label": None, "amodal": {"bytes": b"", "path": None}}], "expected labels of objects"),
        ("objects", [{"label": 1, "amodal": {"bytes": None, "path": None}}], "object 0: expected an image"),
        ("objects", [{"label": 1}], "a damaged or another one"),
        ("objects", 5, "a damaged or another one"),
    ],
)
def test_values_of_another_kind_are_refused(
    column: str, value: object, complaint: str, tmp_path: Path, table: pa.Table
) -> None:
    """In a column of the table; every row has it, since a column has one type."""
    path = tmp_path / "there" / "data" / "train-00000-of-00001.parquet"
    columns = {name: table[name].to_pylist() for name in table.column_names}
    columns[column] = [value] * len(table)
    pq.write_table(pa.table(columns), path)
    with pytest.raises(InputError, match=complaint) as raised:
        convert(tmp_path / "there", tmp_path / "back", source_format="parquet")
    assert str(path) in str(raised.value)
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize(("limit", "least"), [("_MAX_VALUES", 1000), ("_MAX_GROUP_BYTES", 10_000)])
def test_a_table_that_unpacks_to_more_than_a_scene_is_refused_unread(
    limit: str, least: int, tmp_path: Path, table: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values that repeat take a few bytes each thousand; here the limits are low, and the table small."""
    path = tmp_path / "there" / "data" / "train-00000-of-00001.parquet"
    columns = {name: table[name] for name in table.column_names if name != "depth"}
    columns["depth"] = pa.array([[[1.0] * 100] * 100] * len(table), pa.list_(pa.list_(pa.float32())))
    pq.write_table(pa.table(columns), path, compression="zstd")
    monkeypatch.setattr(parquet, limit, least)
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", None)  # reading would fail
    with pytest.raises(InputError, match="row group 0 unpacks to 40000 values in"):
        convert(tmp_path / "there", tmp_path / "back")


def test_sizes_of_row_groups_are_those_that_pyarrow_finds(tmp_path: Path, table: pa.Table) -> None:
    path = tmp_path / "groups.parquet"
    pq.write_table(table, path, row_group_size=3)
    with path.open("rb") as file:
        sizes = read_group_sizes(file)
    described = pq.ParquetFile(path).metadata
    groups = [described.row_group(number) for number in range(described.num_row_groups)]
    assert len(groups) == 2
    for size, group in zip(sizes, groups, strict=True):
        columns = [group.column(number) for number in range(group.num_columns)]
        assert size.rows == group.num_rows
        assert size.values == max(column.num_values for column in columns)
        assert size.unpacked == sum(column.total_uncompressed_size for column in columns)


def test_a_footer_that_ends_early_or_is_damaged_gives_a_message(tmp_path: Path, table: pa.Table) -> None:
    content = (tmp_path / "there" / "data" / "train-00000-of-00001.parquet").read_bytes()
    footer = content[-8 - int.from_bytes(content[-8:-4], "little") : -8]

    def read(damaged: bytes) -> None:
        read_group_sizes(io.BytesIO(damaged + len(damaged).to_bytes(4, "little") + b"PAR1"))

    for end in range(0, len(footer), 997):
        with pytest.raises(ValueError, match="footer"):
            read(footer[:end])
    rng = random.Random(0)
    for _ in range(50):
        damaged = bytearray(footer)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        with suppress(ValueError):
            read(bytes(damaged))
    endless = b"\x19\xf7" + b"\xff" * 8 + b"\x7f"  # a list of 2^62 numbers in double precision
    for nonsense in (endless, b"\x59" + b"\xff" * 9 + b"\x7f", b"\x1c" * 100):
        with pytest.raises(ValueError, match="footer"):
            read(nonsense)


def test_a_footer_of_which_pyarrow_would_end_the_process(tmp_path: Path, table: pa.Table) -> None:
    """Intrinsics that are not optional have one level less than there are counts of levels."""
    path = tmp_path / "there" / "data" / "train-00000-of-00001.parquet"
    content = path.read_bytes()
    optional, required = (b"\x35" + kind + b"\x18\x0aintrinsics" for kind in (b"\x02", b"\x00"))
    assert content.count(optional) == 1
    path.write_bytes(content.replace(optional, required))
    with pytest.raises(InputError, match=r"train-00000-of-00001\.parquet: expected a Parquet file like ours"):
        convert(tmp_path / "there", tmp_path / "back")


def test_a_pipe_in_the_place_of_a_table_hangs_nobody(tmp_path: Path, table: pa.Table) -> None:
    path = tmp_path / "there" / "data" / "train-00000-of-00001.parquet"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match="no regular file"):
        convert(tmp_path / "there", tmp_path / "back", source_format="parquet")


def test_a_name_that_leads_out_of_the_folder_is_not_taken(tmp_path: Path, table: pa.Table) -> None:
    """Images of a table go where the user said, whatever the table calls them."""
    path = tmp_path / "there" / "data" / "train-00000-of-00001.parquet"
    rows = table.to_pylist()
    for row in rows:
        row["stem"] = f"../escaped_sc{row['scene']:04d}_img{row['view']}"
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    before = {entry.name for entry in tmp_path.iterdir()}
    convert(tmp_path / "there", tmp_path / "back")
    assert {entry.name for entry in tmp_path.iterdir()} == before | {"back"}
    assert len(list((tmp_path / "back").glob("*_img?.png"))) == len(rows)
