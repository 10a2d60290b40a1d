"""Damaged sources end in a message or in a dataset, never in a traceback, and leave no litter."""

import random
import shutil
from pathlib import Path

import pytest

from objnerf.dataset.convert import FORMATS, convert
from objnerf.errors import InputError


def _flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 4)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(content)


def _cut(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


def _replace_by_folder(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _replace_by_circle(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.symlink_to(path)


def _spoil_number(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    digits = [place for place, byte in enumerate(content) if 48 <= byte <= 57]
    if digits:
        place = rng.choice(digits)
        other = rng.choice([b"nan", b"1e400", b"-", b"x", b"9" * 30, b"", b'"'])
        path.write_bytes(content[:place] + other + content[place + 1 :])


DAMAGES = (
    _flip,
    _cut,
    _replace_by_folder,
    _replace_by_circle,
    _spoil_number,
    lambda path, rng: path.unlink(),
    lambda path, rng: path.write_bytes(rng.randbytes(80)),
)


@pytest.mark.parametrize("source_format", FORMATS)
def test_damage_ends_in_a_message_or_a_dataset(make_dataset, tmp_path: Path, source_format: str) -> None:
    sound = make_dataset(2, 2, size=(16, 12))
    if source_format != "objnerf":
        convert(sound, tmp_path / "foreign", target_format=source_format)
        sound = tmp_path / "foreign"
    target = "webdataset" if source_format == "objnerf" else "objnerf"
    rng = random.Random(f"damage {source_format}")
    before = sorted(path.name for path in tmp_path.iterdir())
    refused = 0
    for _ in range(28):
        damaged, out = tmp_path / "damaged", tmp_path / "out"
        shutil.copytree(sound, damaged)
        file = rng.choice(sorted(path for path in damaged.rglob("*") if path.is_file()))
        rng.choice(DAMAGES)(file, rng)
        try:
            convert(damaged, out, source_format=source_format, target_format=target)
        except InputError:
            refused += 1
            assert not out.exists()
        shutil.rmtree(damaged)
        shutil.rmtree(out, ignore_errors=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert refused > 0, "the damage was never noticed: this test tests nothing"
