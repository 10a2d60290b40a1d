"""Cards: valid Croissant with every file's hash, numbers that are right, no claim of what is not known."""

import csv
import datetime
import hashlib
import itertools
import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from cli import main
from objnerf.cards import Publication, write_cards
from objnerf.cards.licences import hub_licence, licence_address, licence_uses, terms
from objnerf.cards.statistics import Spread, measure
from objnerf.dataset import DatasetCard, open_dataset, write_card
from objnerf.dataset.cameras import look_at
from objnerf.dataset.card import AssetUse
from objnerf.dataset.convert import convert
from objnerf.dataset.files import mask_from_labels, write_depth, write_image, write_matrix
from objnerf.errors import InputError

_STEMS = ("00000_sc0000_img0", "00001_sc0000_img1", "00002_sc0001_img0")
_SHAPENET = "ShapeNet terms of use (non-commercial research and education; no redistribution)"
_ASSETS = [
    {"id": "shapenet/1/a", "licence": _SHAPENET, "source": "shapenet"},
    {"id": "floors/planks", "licence": "MIT", "source": "procedural", "count": 3},
]


@pytest.fixture
def generated(tmp_path: Path) -> Path:
    """A dataset as the generator leaves it: 3 views of 2 scenes, whose numbers are known."""
    root = tmp_path / "rooms"
    for number, stem in enumerate(_STEMS):
        # 3-4-5: at distance 5 and 10, elevation arcsin(4 / 5) = 53.13 degrees.
        scale = 2 if number == 2 else 1
        write_matrix(root / f"{stem}_RT.txt", look_at(np.array([3.0 * scale, 0, 4.0 * scale]), np.zeros(3)))
        write_image(root / f"{stem}.png", np.full((10, 10, 3), 50 * number, np.uint8))
        labels = np.zeros((10, 10), np.int64)
        labels[0, :5] = 1
        if number == 2:
            labels[5:, :] = 2
        write_image(root / f"{stem}_mask.png", mask_from_labels(labels))
        depth = np.full((10, 10), 8.0)
        depth[9, 9] = np.inf
        write_depth(root / f"{stem}_depth.npy", depth)
    _write_scenes(root)
    card = {
        "focal_ratio": (1.09375, 1.09375),
        "preset": "room-diverse",
        "seed": 5,
        "split": "train",
        "command": "objnerf generate --seed 5",
        "versions": {"objnerf": "0.1.0", "bpy": "4.5"},
        "assets": _ASSETS,
    }
    write_card(root, DatasetCard.model_validate(card))
    return root


def _write_scenes(root: Path) -> None:
    for scene, stems in enumerate((_STEMS[:2], _STEMS[2:])):
        objects = [
            {"label": label, "asset": f"a/{label}", "position": (0, 0, 0), "shape": {"family": family}}
            for label, family in enumerate(("chair", "table")[: scene + 1], start=1)
        ]
        views = [{"stem": stem, "world_from_camera": np.eye(4).tolist()} for stem in stems]
        seen = [[1.0], [0.4]] if scene == 0 else [[0.8, 0.6]]
        path = root / "scenes" / f"{scene:04d}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            json.dumps({"scene": scene, "seed": 5, "objects": objects, "views": views, "seen": seen})
        )


@pytest.fixture
def foreign(data: Path, tmp_path: Path) -> Path:
    """A dataset without any description."""
    return Path(shutil.copytree(data / "blocks", tmp_path / "foreign"))


def _opened(path: Path) -> object:
    import mlcroissant

    with warnings.catch_warnings():
        # Of its dependencies; ours are errors.
        warnings.simplefilter("ignore")
        return mlcroissant.Dataset(jsonld=path)


def _records(dataset, name: str) -> Iterator[dict]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield from dataset.records(name)


def _front_matter(readme: Path) -> dict:
    _, header, _ = readme.read_text().split("---\n", 2)
    return yaml.safe_load(header)


@pytest.mark.parametrize("kind", ["generated", "foreign", "converted"])
def test_croissant_is_valid_and_gives_every_file(kind: str, request, tmp_path: Path) -> None:
    if kind == "converted":
        convert(request.getfixturevalue("generated"), tmp_path / "colmap", target_format="colmap")
        convert(tmp_path / "colmap", tmp_path / "back")
        root = tmp_path / "back"
    else:
        root = request.getfixturevalue(kind)
    before = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    written = write_cards(root, publication=Publication(licence="CC-BY-4.0", authors=("A. Author",)))
    opened = _opened(written.metadata)
    issues = opened.metadata.ctx.issues
    assert not issues.errors
    assert not issues.warnings
    files = list(_records(opened, "files-records"))
    assert {record["files-records/path"].decode() for record in files} == before
    for record in files:
        content = (root / record["files-records/path"].decode()).read_bytes()
        assert record["files-records/sha256"].decode() == hashlib.sha256(content).hexdigest()
        assert record["files-records/bytes"] == len(content)
    (table,) = [
        entry for entry in json.loads(written.metadata.read_text())["distribution"] if "sha256" in entry
    ]
    assert table["sha256"] == hashlib.sha256(written.checksums.read_bytes()).hexdigest()
    views = {view.stem: view for view in open_dataset(root).views()}
    pictures = list(_records(opened, "views-records"))
    assert {record["views-records/stem"].decode() for record in pictures} == views.keys()
    for record in pictures:
        view = views[record["views-records/stem"].decode()]
        np.testing.assert_array_equal(np.asarray(record["views-records/content"]), view.image())
    poses = list(_records(opened, "poses-records"))
    assert len(poses) == len(views)
    for record in poses:
        text = record["poses-records/content"].decode()
        np.testing.assert_array_equal(
            np.array(text.split(), float).reshape(4, 4), views[record["poses-records/stem"].decode()].pose()
        )


def test_pictures_in_sub_folders_are_no_views(generated: Path) -> None:
    """A pass of the generator has the views' own names, in a folder of its own."""
    write_image(generated / "albedo" / f"{_STEMS[0]}.png", np.zeros((10, 10, 3), np.uint8))
    opened = _opened(write_cards(generated).metadata)
    assert len(list(_records(opened, "views-records"))) == 3


def test_numbers_are_those_of_the_files(generated: Path) -> None:
    found = measure(open_dataset(generated), lambda done, total: None)
    assert (found.scenes, found.views, found.views_per_scene) == (2, 3, (1, 2))
    assert found.image_size == (10, 10)
    assert found.focal_ratio == (1.09375, 1.09375)
    assert found.distance is not None
    assert (found.distance.least, found.distance.greatest) == pytest.approx((5, 10))
    assert found.distance.mean == pytest.approx(20 / 3)
    assert found.elevation is not None
    assert found.elevation.mean == pytest.approx(np.degrees(np.arcsin(0.8)))
    # One object in scene 0, two in scene 1; they cover 5 of 100 pixels thrice and 50 once.
    assert found.objects == Spread(1.0, 1.5, 2.0)
    assert found.object_pixels is not None
    assert found.object_pixels.mean == pytest.approx((3 * 0.05 + 0.5) / 4)
    assert found.depth_range == (8, 8)
    assert found.categories == {"chair": 2, "table": 1}
    assert found.visible is not None
    assert found.visible.mean == pytest.approx((1 + 0.4 + 0.8 + 0.6) / 4)
    assert (found.with_masks, found.with_depth, found.with_edits, found.described) == (3, 3, 0, 2)


def test_a_generated_set_says_how_it_was_made_and_what_is_forbidden(generated: Path) -> None:
    written = write_cards(generated, publication=Publication(name="My | rooms", licence="CC-BY-4.0"))
    text = written.readme.read_text()
    header = _front_matter(written.readme)
    assert header["license"] == "cc-by-4.0"
    assert header["pretty_name"] == "My | rooms"
    assert header["size_categories"] == ["n<1K"]
    assert {"image-segmentation", "depth-estimation"} <= set(header["task_categories"])
    assert "objnerf generate --seed 5" in text
    assert f"{_SHAPENET} (shapenet): Not for commercial purposes. For research and education only." in text
    assert "| 3: floors/planks | procedural | MIT | – |" in text
    metadata = json.loads(written.metadata.read_text())
    assert metadata["name"] == "My-rooms"
    assert metadata["license"] == "https://spdx.org/licenses/CC-BY-4.0.html"
    assert any("Not for commercial purposes" in sentence for sentence in metadata["rai:dataLimitations"])
    # ShapeNet's meshes come from elsewhere: nobody has looked for persons in their textures.
    assert metadata["rai:personalSensitiveInformation"][0].startswith("Not known")
    with Image.open(written.sheet) as sheet:
        assert sheet.width > 400


def test_a_foreign_set_says_what_is_not_known(foreign: Path) -> None:
    written = write_cards(foreign)
    text = written.readme.read_text()
    assert _front_matter(written.readme)["license"] == "unknown"
    assert "Not known: no `dataset.yaml` says how, when or by whom" in text
    assert "Not known, since no licence is stated." in text
    assert "(not stated; the format's default)" in text
    assert "Cycles" not in text
    metadata = json.loads(written.metadata.read_text())
    assert metadata["license"].startswith("Not known")
    assert metadata["rai:dataCollection"].startswith("Not known")
    assert metadata["rai:dataCollectionType"] == ["Others"]


def test_tables_have_a_blank_line_before_them(generated: Path, foreign: Path) -> None:
    """Without one, Markdown takes a table for a paragraph."""
    for root in (generated, foreign):
        lines = write_cards(root).readme.read_text().splitlines()
        for before, line in itertools.pairwise(lines):
            assert not line.startswith("|") or before.startswith("|") or before == "", (before, line)


def test_equal_input_gives_equal_bytes_and_old_cards_are_brought_up_to_date(generated: Path) -> None:
    publication = Publication(published=datetime.date(2026, 11, 26))
    names = ("README.md", "croissant.json", "card/files.csv", "card/contact_sheet.jpg")
    write_cards(generated, publication=publication)
    first = [(generated / name).read_bytes() for name in names]
    write_cards(generated, publication=publication)
    assert [(generated / name).read_bytes() for name in names] == first
    (generated / f"{_STEMS[0]}.png").write_bytes((generated / f"{_STEMS[1]}.png").read_bytes())
    write_cards(generated, publication=publication)
    rows = list(csv.DictReader((generated / "card" / "files.csv").read_text().splitlines()))
    digests = {row["path"]: row["sha256"] for row in rows}
    assert digests[f"{_STEMS[0]}.png"] == digests[f"{_STEMS[1]}.png"]


@pytest.mark.parametrize("name", ["README.md", "croissant.json", "card/mine.txt"])
def test_files_of_somebody_else_are_left_alone(generated: Path, name: str, tmp_path: Path) -> None:
    path = generated / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}")
    before = sorted(generated.rglob("*"))
    with pytest.raises(InputError, match=r"card.*--overwrite"):
        write_cards(generated)
    assert sorted(generated.rglob("*")) == before
    assert path.read_text() == "{}"
    assert write_cards(generated, tmp_path / "elsewhere").readme.parent == tmp_path / "elsewhere"
    write_cards(generated, overwrite=True)
    assert name == "card/mine.txt" or path.read_text() != "{}"


def test_the_verb_writes_the_files(generated: Path) -> None:
    done = CliRunner().invoke(
        main, ["card", str(generated), "--author", "A", "--author", "B", "--url", "https://x.org"]
    )
    assert done.exit_code == 0, done.output
    assert "author = {A and B}" in (generated / "README.md").read_text()
    (generated / f"{_STEMS[0]}_RT.txt").write_text("1 2 3")
    done = CliRunner().invoke(main, ["card", str(generated)])
    assert done.exit_code == 2
    assert f"{_STEMS[0]}_RT.txt: expected 4 rows" in done.output


@pytest.mark.parametrize(
    ("licence", "words"),
    [
        ("MIT", []),
        ("CC0-1.0", []),
        ("CC-BY-4.0", ["authors"]),
        ("CC-BY-NC-SA-4.0", ["commercial", "same licence", "authors"]),
        ("CC-BY-ND-4.0", ["Altered", "authors"]),
        (_SHAPENET, ["commercial", "research", "passed on"]),
        ("unknown (the user's own files)", ["not known"]),
    ],
)
def test_terms_of_licences(licence: str, words: list[str]) -> None:
    found = terms(licence)
    assert len(found) == len(words)
    for sentence, word in zip(found, words, strict=True):
        assert word in sentence


def test_licences_of_assets_are_gathered() -> None:
    uses = licence_uses([AssetUse.model_validate(asset) for asset in _ASSETS])
    assert [(use.licence, use.count) for use in uses] == [("MIT", 3), (_SHAPENET, 1)]
    assert hub_licence("MIT") == "mit"
    assert hub_licence(_SHAPENET) == "other"
    assert hub_licence(None) == "unknown"
    assert licence_address(_SHAPENET) == _SHAPENET
