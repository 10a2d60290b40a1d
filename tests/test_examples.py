"""The examples run, with small settings, and the notebook is made of them."""

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parent.parent / "examples"


def run_example(name, folder, **settings):
    """Run an example with other values of its constants, in a process of its own; what it printed."""
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    changed = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            constant = node.targets[0].id
            if constant in settings:
                node.value = ast.parse(repr(settings[constant]), mode="eval").body
                changed.add(constant)
    assert changed == set(settings)
    script = folder / f"{name}.py"
    script.write_text(ast.unparse(tree))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_generate_and_look(tmp_path):
    output = run_example("generate_and_look", tmp_path, SCENES=1, SIZE=(64, 48))
    assert "1 scenes, 4 views" in output
    places = re.findall(r"object \d+: .* \(([-+.\d]+), ([-+.\d]+), ([-+.\d]+)\)", output)
    assert 5 <= len(places) <= 7
    for x, y, z in places:
        # Within the locality box and above the ground.
        assert max(abs(float(x)), abs(float(y))) < 4.5
        assert 0 < float(z) < 4.5
    out = tmp_path / "runs" / "examples" / "generate"
    assert (out / "views.png").is_file()
    assert (out / "cameras.html").is_file()


def test_train_your_own(tmp_path):
    output = run_example("train_your_own", tmp_path, SCENES=3, HELD_OUT=1, EPOCHS=12, SIZE=(32, 24))
    losses = [float(loss) for loss in re.findall(r"loss ([.\d]+)", output)]
    assert losses
    found = re.search(r"off by ([.\d]+) world units \(mean depth: ([.\d]+)\); IoU .* ([.\d]+)", output)
    error, baseline, iou = map(float, found.groups())
    assert 0 < error < 14
    assert baseline > 0
    assert 0 <= iou <= 1


def test_edit_scene(tmp_path):
    output = run_example("edit_scene", tmp_path, SCENES=4, SIZE=(32, 24), MAX_STEPS=2)
    assert "2 steps" in output
    scores = dict(re.findall(r"^(as it is|moved|removed) +PSNR ([.\d]+) dB", output, flags=re.MULTILINE))
    assert len(scores) == 3
    assert all(float(score) > 3 for score in scores.values())
    out = tmp_path / "runs" / "examples" / "edit"
    assert (out / "edits.png").is_file()
    # The truths differ, for the edits are edits.
    truths = [next((out / "truth" / name).glob("*img0.png")) for name in ("as_it_is", "moved", "removed")]
    assert len({truth.read_bytes() for truth in truths}) == 3


def test_the_notebook_is_made_of_the_examples():
    made = runpy.run_path(str(FOLDER / "make_notebook.py"))
    assert made["NOTEBOOK"].read_text() == nbformat.writes(made["build"]()) + "\n", (
        "run python examples/make_notebook.py"
    )


@pytest.mark.parametrize("name", ["generate_and_look", "train_your_own", "edit_scene"])
def test_the_cells_of_a_script_are_all_of_it(name):
    cells = runpy.run_path(str(FOLDER / "make_notebook.py"))["cells"]
    script = (FOLDER / f"{name}.py").read_text()
    code = "\n".join(text for kind, text in cells(script) if kind == "code")
    docstring, *body = ast.parse(script).body
    assert isinstance(docstring.value, ast.Constant)
    assert [ast.dump(node) for node in ast.parse(code).body] == [ast.dump(node) for node in body]
