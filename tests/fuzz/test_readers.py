"""Damaged files of every kind end in a message, or in a value; never in another exception."""

import importlib.util
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def _beside(name: str) -> ModuleType:
    """A module of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(f"fuzz_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_targets, _mutation = _beside("targets"), _beside("mutation")

#: Those whose reading takes a tenth of a second: whole folders are converted.
SLOW = ("nerfstudio", "colmap", "webdataset", "obsurf", "parquet", "idr")


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict]:
    with warnings.catch_warnings():
        # What Pillow and torch warn of in damaged files is no fault; our own arithmetic's warnings are.
        warnings.simplefilter("ignore", UserWarning)
        yield {target.name: target for target in _targets.targets(tmp_path_factory.mktemp("fuzz"))}


NAMES = [
    *("matrix", "matrix-validate", "intrinsics", "picture", "picture-validate", "texture", "mask", "depth"),
    *("depth-validate", "dataset.yaml", "scene-json", "recipe", "run-config", "assignment", "preset"),
    *("manifest", "taxonomy", "uorf-weights", "checkpoint", "nerfstudio-transforms.json"),
    *("colmap-cameras.txt", "colmap-images.txt", "colmap-binary-cameras.bin", "colmap-binary-images.bin"),
    *("colmap-binary-points3D.bin", "webdataset-shard-000000.tar", "webdataset-scenes-shard-000000.tar"),
    *("obsurf-metadata.npz", "parquet-train-00000-of-00001.parquet", "idr-cameras_sphere.npz"),
    *("plan", "poses-json", "movement", "meshes", "name"),
]


def chosen(targets: dict, name: str) -> list:
    """The target of a name; ``meshes`` are all mesh files."""
    return [t for n, t in targets.items() if n == name or (name == "meshes" and n.startswith("mesh-"))]


def test_every_target_is_run(targets: dict) -> None:
    assert {target.name for name in NAMES for target in chosen(targets, name)} == set(targets)


@pytest.mark.parametrize("name", NAMES)
def test_sound_files_are_read(name: str, targets: dict) -> None:
    for target in chosen(targets, name):
        for seed in target.seeds:
            target.read(seed)


@pytest.mark.parametrize("long", [b"x" * 300 + b".png", b"long/" * 2000 + b"x.png"], ids=["name", "path"])
def test_names_longer_than_any_on_a_disk_end_in_a_message(long: bytes, targets: dict) -> None:
    """In the place of each file that is named in a text."""
    tried = set()
    for name, target in targets.items():
        # Not in the shards of a tar, whose texts have their sizes before them.
        if not name.startswith(("nerfstudio", "colmap-images", "mesh-", "idr")):
            continue
        for seed in target.seeds:
            for place in re.finditer(rb"[\w/-]+\.(?:png|jpg|mtl|bin)", seed):
                with suppress(*_targets.MESSAGES):
                    target.read(seed[: place.start()] + long + seed[place.end() :])
                tried.add(name)
    assert {"nerfstudio-transforms.json", "colmap-images.txt"} < tried
    assert len(tried) > 10


def run(name: str, targets: dict, examples: int) -> None:
    found = chosen(targets, name)

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.integers(0, 2**32 - 1))
    def read(seed: int) -> None:
        rng = Random(seed)
        target = rng.choice(found)
        content = _mutation.damaged(rng, target.seeds)
        with suppress(*_targets.MESSAGES):
            target.read(content)

    read()


@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_end_in_a_message(name: str, targets: dict) -> None:
    run(name, targets, 8 if name.startswith(SLOW) else 40)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_many_damaged_files_end_in_a_message(name: str, targets: dict) -> None:
    run(name, targets, 500 if name.startswith(SLOW) else 5000)
