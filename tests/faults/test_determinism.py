"""docs/determinism.md, as far as it can be tried on one machine: equal bytes in unlike surroundings."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: Runs verbs one after the other; folders are listed backwards where the second argument says so.
_SCRIPT = """
import os, sys
from pathlib import Path
from click.testing import CliRunner
import cli

out, backwards, blocks = Path(sys.argv[1]), sys.argv[2] == "backwards", sys.argv[3]
if backwards:
    scandir, listdir = os.scandir, os.listdir

    class Reversed:
        def __init__(self, entries): self.entries = entries
        def __enter__(self): return self
        def __exit__(self, *_): self.entries.close()
        def __iter__(self): return iter(list(self.entries)[::-1])
        def __next__(self): return next(self.entries)
        def close(self): self.entries.close()

    os.scandir = lambda *a: Reversed(scandir(*a))
    os.listdir = lambda *a: sorted(listdir(*a), reverse=True)
for words in (
    f"convert {blocks} {out}/shards --to webdataset",
    f"convert {blocks} {out}/colmap --to colmap-binary",
    f"convert {out}/colmap {out}/again --no-level --no-centre --no-scale",
    f"validate {blocks} --fix {out}/fixed --json {out}/v.json",
    f"poses {blocks} --out {out}/cameras.html",
    f"poses {blocks} --out {out}/cameras.glb",
    f"generate --plan-only --out {out}/plans --scenes 3 --shapes 6 --bgs 3",
):
    result = CliRunner().invoke(cli.main, words.split())
    assert result.exit_code == 0, (words, result.output, result.exc_info)
"""


@pytest.mark.slow
def test_equal_bytes_whatever_the_surroundings(
    data: Path, tmp_path: Path, digests: Callable[[Path], dict[str, str]]
) -> None:
    place = tmp_path / "out"
    found = []
    for seed, order, zone, language in (
        ("1", "forwards", "UTC", "C"),
        ("2", "backwards", "Asia/Tokyo", "C.UTF-8"),
    ):
        place.mkdir()
        surroundings = {"PYTHONHASHSEED": seed, "TZ": zone, "LANG": language, "LC_ALL": language}
        subprocess.run(
            [sys.executable, "-c", _SCRIPT, str(place), order, str(data / "blocks")],
            cwd=ROOT,
            env={**os.environ, **surroundings, "PYTHONPATH": str(ROOT)},
            check=True,
        )
        found.append(digests(place))
        place.rename(tmp_path / f"out{seed}")
    assert len(found[0]) > 60
    assert found[0] == found[1]
