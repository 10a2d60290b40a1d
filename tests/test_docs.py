"""The Python in docs/python.md runs as it stands, from top to bottom."""

import re
import shutil
from pathlib import Path

import pytest

import objnerf

DOCS = Path(__file__).parent.parent / "docs"

#: What would take too long in a test, and what stands for it.
SHORTER = {
    "num_workers=2": "num_workers=0",
    'settings={"held_out.scenes": 1}, max_minutes=10': "settings=SMALL, max_steps=1, device='cpu'",
}


def test_the_page_on_python_runs(data, tmp_path, monkeypatch):
    shutil.copytree(data / "blocks_depth", tmp_path / "dataset")
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "python.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 8
    code = "\n".join(blocks)
    for long, short in SHORTER.items():
        assert code.count(long) == 1
        code = code.replace(long, short)
    small = {"held_out.scenes": 1, "evaluation.size": [16, 16], "evaluation.samples": 4}
    small |= {"sampling.eval_samples": 8, "saving.tensorboard": False, "stages.0.size": [32, 24]}
    names = {"SMALL": small}
    exec(compile(code, "docs/python.md", "exec"), names)
    assert names["report"].ok
    assert names["fixed"].is_dir()
    assert names["done"].views == names["dataset"].n_views
    assert names["batch"]["images"].shape[1:] == (2, 3, 48, 64)
    assert names["view"].rgb.shape == (48, 64, 3)
    assert len(names["scene"].views) == 2
    edited = objnerf.open_dataset("edited").scenes[0].views
    assert len(edited) == 1
    # The chair is gone, and the cube keeps its label.
    assert set(edited[0].labels().ravel()) == {0, 2}


@pytest.mark.parametrize("name", objnerf.__all__)
def test_the_page_on_python_names_the_whole_face(name):
    if name not in ("AssetFolders", "Dataset", "ScenePlan", "SceneScale"):
        assert name in (DOCS / "python.md").read_text()
