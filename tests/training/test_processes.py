"""Several processes share the work as `torchrun` starts them; here two on the CPU, with gloo.

And what else needs a process of its own: compiled networks.
"""

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from objnerf.errors import InputError
from objnerf.models.slots import SlotAttention
from objnerf.training.checkpoints import load_run
from objnerf.training.loop import train
from objnerf.training.processes import choose_device, join_processes
from objnerf.training.recipe_files import parse_recipe


def without_spread(make):
    """Slots start without spread: their noise, which each process draws for its own scenes, has no effect."""

    def make_without(self, *arguments, **named):
        make(self, *arguments, **named)
        with torch.no_grad():
            self.slots_logsigma.fill_(-1e4)
            self.slots_logsigma_bg.fill_(-1e4)

    return make_without


SCRIPT = f"""
import sys
from pathlib import Path
import torch
from objnerf.models.slots import SlotAttention
from objnerf.training.loop import train
from objnerf.training.recipe_files import load_recipe

{inspect.getsource(without_spread)}
SlotAttention.__init__ = without_spread(SlotAttention.__init__)
torch.set_num_threads(1)
print(train(Path(sys.argv[1]), Path(sys.argv[2]), load_recipe(sys.argv[3])))
"""


def run(dataset: Path, out: Path, content: dict[str, Any], processes: int) -> list[dict[str, Any]]:
    """Train in processes of their own; the lines of metrics."""
    script, recipe = out.with_suffix(".py"), out.with_suffix(".yaml")
    script.write_text(SCRIPT)
    recipe.write_text(yaml.safe_dump(content))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [
            sys.executable,
            *(launcher if processes > 1 else []),
            str(script),
            str(dataset),
            str(out),
            str(recipe),
        ],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return lines(out)


def lines(out: Path) -> list[dict[str, Any]]:
    """What a run logged."""
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_are_one_with_the_double_batch(
    coded: Path, small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    small["stages"][0]["until"] = 5
    small["batch"] |= {"scenes": 2, "accumulate": 2}
    two = run(coded, tmp_path / "two", small, processes=2)
    small["batch"]["scenes"] = 4
    monkeypatch.setattr(SlotAttention, "__init__", without_spread(SlotAttention.__init__))
    train(coded, tmp_path / "one", parse_recipe(small, where="the test's recipe"))
    one = lines(tmp_path / "one")
    assert len(one) == len(two) == 6  # 5 steps and a look at the held-out scene
    for ours, theirs in zip(one, two, strict=True):
        for key in {"loss/colour", "error/colour", "gradient", "learning_rate", "psnr/held_out"} & set(ours):
            assert theirs[key] == pytest.approx(ours[key], rel=1e-4), (key, ours["step"])
    assert one[4]["loss/colour"] != one[0]["loss/colour"]
    pairs = zip(
        load_run(tmp_path / "one")[0].state_dict().items(),
        load_run(tmp_path / "two")[0].state_dict().values(),
        strict=True,
    )
    for (name, mine), other in pairs:
        torch.testing.assert_close(other, mine, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.slow
def test_two_processes_share_a_discriminator(coded: Path, small: dict[str, Any], tmp_path: Path):
    """Its gradients, R1's second derivatives included, are averaged without upsetting the model's."""
    small["stages"] = [{"name": "only", "until": 6, "size": [16, 16], "supervision": "images"}]
    small["adversarial"] = {"start": 1, "generator_after": 2, "r1_every": 2, "width": 8}
    found = run(coded, tmp_path / "two", small, processes=2)
    assert [line["step"] for line in found if "discriminator/r1" in line] == [2, 4, 6]
    assert [line["step"] for line in found if "loss/adversarial" in line] == [5]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["uorf", "volumes"])
def test_compiled_networks_learn_the_same(
    kind: str, coded: Path, small: dict[str, Any], tmp_path: Path, request: pytest.FixtureRequest
):
    """In a process of its own, for torch cannot compile functions whose shapes are checked as they run."""
    small["stages"][0]["until"] = 2
    if kind == "volumes":
        request.getfixturevalue("small_volumes")
    plain = run(coded, tmp_path / "plain", small, processes=1)
    compiled = run(coded, tmp_path / "compiled", small | {"compile": True}, processes=1)
    for ours, theirs in zip(plain[:2], compiled[:2], strict=True):
        assert theirs["error/colour"] == pytest.approx(ours["error/colour"], rel=1e-4)
        assert theirs["gradient"] == pytest.approx(ours["gradient"], rel=1e-3)


def test_one_process_agrees_with_itself():
    with join_processes("cpu") as processes:
        assert (processes.count, processes.main) == (1, True)
        assert processes.agree(True)
        assert not processes.agree(False)
        assert torch.equal(processes.mean(torch.tensor([1.0, 3.0])), torch.tensor([1.0, 3.0]))


def test_devices():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in {"cpu", "cuda", "mps"}
    for name in ("cuda:99", "abacus", "meta", "cpu:1"):
        with pytest.raises(InputError, match=f"--device {name}"):
            choose_device(name)
