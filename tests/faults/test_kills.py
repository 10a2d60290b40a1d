"""SIGKILL at any moment: nothing is lost or half-written, and the same call again ends with the same bytes.

The fast tests kill at chosen steps on the file system, so that each run dies at the same places; the slow
ones at twenty random moments a verb.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

KILLED = -9

#: Moments in the slow tests, of each verb.
MOMENTS = 20


@pytest.fixture
def words_of(data: Path, trained: Path, recipe_file: Path, tmp_path: Path) -> Callable[[str], list[object]]:
    """The command line of a verb that works on the datasets in ``tests/data``, and writes to ``out``."""
    blocks, out = data / "blocks", tmp_path / "out"

    def words(name: str) -> list[object]:
        if name == "generate":
            size = ["--scenes", 2, "--size", "32x24", "--samples", 1, "--shapes", 6, "--bgs", 3]
            return ["generate", "--out", out, "--workers", 1, *size]
        if name == "train":
            how = ["--recipe", recipe_file, "--device", "cpu", "--no-validate", "--resume"]
            return ["train", blocks, "--out", out, *how]
        if name == "evaluate":
            run = shutil.copytree(trained, tmp_path / "run", dirs_exist_ok=True)
            shutil.rmtree(run / "evaluation", ignore_errors=True)
            return ["evaluate", run, blocks, "--json", out / "e.json", "--html", out / "e.html"]
        if name == "export":
            how = ["--ground", "--resolution", 16, "--device", "cpu"]
            return ["export", trained, blocks, *how, "--out", out / "scene.glb"]
        if name == "convert":
            return ["convert", blocks, out / "set", "--to", "colmap"]
        reports = ["--json", out / "v.json", "--html", out / "v.html"]
        return ["validate", blocks, "--fix", out / "set", *reports]

    return words


def content(verb: str, out: Path, digests: Callable[[Path], dict[str, str]]) -> dict[str, object]:
    """What has to be equal, whatever happened on the way."""
    if verb != "train":
        return {name: digest for name, digest in digests(out).items() if not name.startswith("preview/")}
    # The clock's numbers aside: seconds are written into the log, the figures and the checkpoint.
    tensors = load_file(out / "checkpoints" / "last.safetensors")
    figures = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    state = json.loads((out / "checkpoints" / "last.json").read_text())
    return {
        **{name: value.tobytes() for name, value in tensors.items()},
        **{name: digest for name, digest in digests(out).items() if name.startswith("previews/")},
        "figures": [{k: v for k, v in line.items() if "seconds" not in k} for line in figures],
        "state": {k: v for k, v in state.items() if k != "seconds"},
        "config": (out / "config.yaml").read_text(),
    }


def check_whole(name: str, out: Path, digests: Callable[[Path], dict[str, str]], wanted: dict) -> None:
    """Whatever lies there after a kill is what it will be in the end."""
    if name == "train":
        path = out / "checkpoints" / "last.safetensors"
        assert not path.exists() or load_file(path)
        return
    found = content(name, out, digests) if out.is_dir() else {}
    assert found.items() <= wanted.items()
    if (out / "set").exists():
        # A folder that appears when it is complete: a second call would rightly refuse to write over it.
        assert {file for file in wanted if file.startswith("set/")} <= set(found)
        shutil.rmtree(out)


#: Verbs whose second call goes on where the first was killed; the others begin anew.
GO_ON = ("generate", "train")

FAST = ("train", "evaluate", "export", "convert", "fix")


def unbroken(name, words_of, host, out, digests):
    """What the verb leaves when nobody kills it, and its steps on the file system; ``out`` is removed."""
    ended = host.run(*words_of(name))
    assert ended.status == 0, ended.output
    wanted = content(name, out, digests)
    assert wanted
    shutil.rmtree(out)
    return wanted, ended.events


@pytest.mark.parametrize("name", FAST)
def test_killed_at_a_step_and_called_again(name, words_of, host, tmp_path, digests):
    out = tmp_path / "out"
    wanted, events = unbroken(name, words_of, host, out, digests)
    # What goes on has less to do in each call, but always more than a third of it here.
    last = events // 3 if name in GO_ON else events
    for step in np.linspace(1, last, 3).astype(int):
        ended = host.run(*words_of(name), events=int(step))
        assert ended.status == KILLED, ended.output
        check_whole(name, out, digests, wanted)
    again = host.run(*words_of(name))
    assert again.status == 0, again.output
    assert content(name, out, digests) == wanted
    assert not left_behind(out)


def left_behind(out: Path) -> list[Path]:
    """Folders half-built, and locks."""
    return [path for path in out.rglob(".tmp-*") if path.is_dir() or "lock" in path.name]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["generate", *FAST])
def test_killed_at_random_moments(name, words_of, host, tmp_path, digests):
    out = tmp_path / "out"
    wanted, _ = unbroken(name, words_of, host, out, digests)
    rng = np.random.default_rng(0)
    kills, longest = 0, 0.1
    while kills < MOMENTS:
        ended = host.run(*words_of(name), seconds=float(rng.uniform(0, longest)))
        assert ended.status in (0, KILLED), ended.output
        if ended.status == KILLED:
            check_whole(name, out, digests, wanted)
            kills += 1
            # The moments move on until some of them come too late.
            longest *= 1.3
        else:
            assert content(name, out, digests) == wanted
            shutil.rmtree(out)
            longest = max(0.1, longest / 2)
    again = host.run(*words_of(name))
    assert again.status == 0, again.output
    assert content(name, out, digests) == wanted
    assert not left_behind(out)
