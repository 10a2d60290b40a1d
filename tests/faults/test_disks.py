"""A disk that is full, a folder that may not be written to: a message, nothing half-written, and a way on."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MOUNT = shutil.which("mount")

VERBS = (
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("generate", "evaluate")),
    *("train", "export", "convert", "fix"),
)


@pytest.fixture
def words_of(data: Path, trained: Path, recipe_file: Path) -> Callable[[str, Path], list[object]]:
    """The command line of a verb that writes to a folder ``out``."""
    blocks = data / "blocks"

    def words(name: str, out: Path) -> list[object]:
        size = ["--scenes", 1, "--size", "32x24", "--samples", 1, "--shapes", 6, "--bgs", 3]
        return {
            "generate": ["generate", "--out", out / "set", "--workers", 1, *size],
            "train": ["train", blocks, "--out", out / "run", "--recipe", recipe_file, "--device", "cpu"],
            "evaluate": ["evaluate", trained, blocks, "--json", out / "e.json", "--html", out / "e.html"],
            "export": ["export", trained, blocks, "--resolution", 16, "--out", out / "scene.glb"],
            "convert": ["convert", blocks, out / "set", "--to", "webdataset"],
            "fix": ["validate", blocks, "--fix", out / "set", "--json", out / "v.json"],
        }[name]

    return words


@pytest.fixture
def small_disk(name: str, tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, and of 8 for the little that ``evaluate`` writes."""
    if MOUNT is None or os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        [MOUNT, "-t", "tmpfs", "-o", f"size={8 if name == 'evaluate' else 64}k", "tmpfs", place],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("a small disk may not be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


def left(place: Path) -> list[str]:
    """Files that are there for readers, and are no logs."""
    found = (path for path in place.rglob("*") if path.is_file() and path.suffix not in (".log", ".jsonl"))
    return sorted(path.name for path in found if path.stat().st_size)


@pytest.mark.parametrize("name", VERBS)
def test_a_full_disk_is_named_and_with_room_the_same_call_succeeds(
    name, words_of, host, small_disk, tmp_path, digests
):
    words = words_of(name, small_disk / "deep")
    full = host.run(*words)
    assert full.status == 1, full.output
    assert "No space left on device" in full.output
    assert not [path for path in small_disk.rglob(".tmp-*") if "lock" not in path.name or path.stat().st_size]
    assert host.run(*words_of(name, tmp_path / "whole")).status == 0
    wanted = digests(tmp_path / "whole")
    written = {n: d for n, d in digests(small_disk / "deep").items() if name != "train"}
    assert written.items() <= wanted.items()

    subprocess.run([MOUNT, "-o", "remount,size=64m", small_disk], check=True)
    if name == "train":
        words = [*words, "--resume"]
    with_room = host.run(*words)
    assert with_room.status == 0, with_room.output
    if name not in ("train", "fix"):
        # A run's log and a report say when and where.
        assert digests(small_disk / "deep") == wanted


@pytest.mark.parametrize("name", VERBS)
def test_a_folder_that_may_not_be_written_to_is_named(name, words_of, host, tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() == 0:
        # Root may write anywhere but where nobody may.
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", place], capture_output=True, check=False
        )
        if mounted.returncode:
            pytest.skip("nothing may be mounted here")
    else:
        place.chmod(0o500)
    try:
        refused = host.run(*words_of(name, place / "deep"))
        assert refused.status in (1, 2), refused.output
        assert "Read-only file system" in refused.output or "Permission denied" in refused.output
        assert str(place / "deep") in refused.output
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", place], check=True)
        place.chmod(0o700)
