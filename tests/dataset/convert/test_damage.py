"""Damaged sources end in a message or in a dataset, never in a traceback, and leave no litter."""

import random
import shutil
from pathlib import Path

import pytest

from objnerf.dataset.convert import FORMATS, TARGETS, convert
from objnerf.errors import InputError


@pytest.mark.parametrize("source_format", [name for name in TARGETS if name in FORMATS])
def test_damage_ends_in_a_message_or_a_dataset(
    make_dataset, damage, tmp_path: Path, source_format: str
) -> None:
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
        damage(file, rng)
        try:
            convert(damaged, out, source_format=source_format, target_format=target)
        except InputError:
            refused += 1
            assert not out.exists()
        shutil.rmtree(damaged)
        shutil.rmtree(out, ignore_errors=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert refused > 0, "the damage was never noticed: this test tests nothing"
