"""``import objnerf`` costs nothing and offers everything; what is offered does what it says."""

import ast
import doctest
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import generation.api
import objnerf
from objnerf import _HOME

ROOT = Path(__file__).parent.parent


def test_importing_loads_no_other_library():
    code = "import objnerf, sys; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert not {"torch", "bpy", "numpy", "pydantic", "PIL", "generation", "validate"} & set(loaded.split())


def test_every_name_is_there_and_no_other():
    assert sorted(_HOME) == objnerf.__all__ == sorted(objnerf.__all__)
    assert set(objnerf.__all__) <= set(dir(objnerf))
    for name in objnerf.__all__:
        found = getattr(objnerf, name)
        assert found.__doc__
        assert "Raises:" in found.__doc__ or isinstance(found, type)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        objnerf.nothing  # noqa: B018


def test_type_checkers_are_told_the_same_modules():
    tree = ast.parse((ROOT / "objnerf" / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    documented = {}
    for line in block.body:
        for alias in line.names:
            renamed = f"{line.module}:{alias.name}" if alias.asname else line.module
            documented[alias.asname or alias.name] = renamed
    assert documented == _HOME


@pytest.mark.slow
def test_type_checkers_know_every_name(tmp_path):
    """mypy finds every name, and refuses an argument of the wrong type."""
    script = tmp_path / "uses.py"
    script.write_text(
        "import objnerf\n"
        + "".join(f"print(objnerf.{name})\n" for name in objnerf.__all__)
        + "objnerf.generate('clevr-567', 'out', scenes='many')\n"
        "objnerf.open_dataset(3)\n"
    )
    command = [sys.executable, "-m", "mypy", "--no-incremental", "--follow-imports=silent", str(script)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    errors = [line for line in done.stdout.splitlines() if "error" in line and str(script.name) in line]
    lines = {line.split(":")[1] for line in errors}
    count = len(objnerf.__all__)
    assert lines == {str(count + 2), str(count + 3)}, done.stdout


def test_the_examples_in_docstrings_run(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    for module in (objnerf, generation.api):
        done = doctest.testmod(module, extraglobs={"tmp_path": tmp_path, "np": np})
        assert done.attempted
        assert not done.failed


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a few steps, trained from Python."""
    out = tmp_path_factory.mktemp("run") / "run"
    settings = {
        "input_size": (32, 32),
        "evaluation.samples": 4,
        "evaluation.size": [16, 16],
        "sampling.eval_samples": 8,
        "held_out.scenes": 1,
        "saving.tensorboard": False,
        "model.num_slots": 4,
    }
    outcome = objnerf.train(
        ROOT / "tests" / "data" / "blocks", str(out), settings=settings, device="cpu", max_steps=2
    )
    assert outcome.step == 2
    return out


def test_a_model_is_trained_resumed_loaded_scored_and_rendered(run):
    dataset = ROOT / "tests" / "data" / "blocks"
    outcome = objnerf.train(str(dataset), run, device="cpu", max_steps=3, resume=True)
    assert (outcome.step, outcome.reason) == (3, "--max-steps 3")
    model = objnerf.load_model(str(run), device="cpu")
    assert model.step == 3
    assert isinstance(model.model, torch.nn.Module)
    assert model.recipe.model.num_slots == 4

    scores = objnerf.evaluate(model, dataset)
    assert [scene.scene for scene in scores.scenes] == [2]
    assert scores.mean["psnr"] > 0
    assert objnerf.evaluate(run, str(dataset)).mean == scores.mean

    scene = objnerf.open_dataset(dataset).scenes[2]
    view = objnerf.render_view(model, scene, scene.views[1].pose(), size=(24, 20))
    assert view.rgb.shape == (20, 24, 3)
    assert view.labels.shape == view.depth.shape == (20, 24)
    same = objnerf.render_view(model, model.encode(scene), scene.views[1].pose(), size=(24, 20))
    assert np.array_equal(view.rgb, same.rgb)
