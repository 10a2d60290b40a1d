"""What comes with which extra, and what a user reads who lacks one."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from objnerf.evaluation import doctor
from objnerf.extras import EXTRA_OF, SHARED, missing_extra

ROOT = Path(__file__).parent.parent

#: Where the name on PyPI is not the name that is imported.
DISTRIBUTION_OF = {
    "cv2": "opencv-python-headless",
    "imageio_ffmpeg": "imageio-ffmpeg",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
}


def _project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _names(requirements):
    return {requirement.split(">")[0].split("=")[0].split(";")[0].strip() for requirement in requirements}


def test_the_extras_are_those_of_the_distribution():
    project = _project()
    stated = {
        (name, extra)
        for extra, requirements in project["optional-dependencies"].items()
        if extra not in ("all", "dev", "docs", "fuzz")
        for name in _names(requirements)
    }
    known = {(DISTRIBUTION_OF.get(module, module), extra) for module, extra in EXTRA_OF.items()}
    known |= {(module, extra) for module, extras in SHARED.items() for extra in extras.values()}
    assert known == stated
    assert not {name for name, _ in stated} & _names(project["dependencies"])
    assert "beartype" not in _names(project["dependencies"])


def test_the_doctor_looks_at_the_packages_of_each_extra():
    extras = _project()["optional-dependencies"]
    for extra, packages in doctor.PARTS.items():
        assert _names(extras[extra]) - {"bpy", "torch"} == set(packages)


def _without(module, *words, tmp_path):
    """Run the command line in a Python that does not have a module."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] == {module!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    return subprocess.run(
        [sys.executable, "-m", "cli", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("module", "words", "message"),
    [
        ("torch", ["evaluate", "runs/none", "tests/data/blocks"], "objnerf evaluate needs torch"),
        ("shapely", ["generate", "--scenes", "1", "--out"], "objnerf generate needs shapely"),
        ("scipy", ["generate", "--scenes", "1", "--out"], "pip install 'objnerf[generate]'"),
    ],
)
def test_a_verb_says_which_extra_it_lacks(tmp_path, module, words, message):
    words = [*words, str(tmp_path / "out")] if words[-1] == "--out" else words
    done = _without(module, *words, tmp_path=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_validator_needs_neither_torch_nor_any_other_extra(tmp_path):
    done = _without("torch", "validate", "tests/data/blocks", tmp_path=tmp_path)
    assert done.returncode == 0, done.stderr


def test_other_missing_modules_are_defects():
    assert missing_extra(ModuleNotFoundError("no", name="objnerf.nothing"), "x") is None
    assert missing_extra(ModuleNotFoundError("no", name=None), "x") is None
