"""The documentation: its Python runs as it stands, its commands exist, its links lead somewhere."""

import re
import shlex
import shutil
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

import cli
import objnerf

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

#: What would take too long in a test, and what stands for it.
SHORTER = {
    "num_workers=2": "num_workers=0",
    'settings={"held_out.scenes": 1}, max_minutes=10': "settings=SMALL, max_steps=1, device='cpu'",
}


def test_the_page_on_python_runs(data, tmp_path, monkeypatch):
    shutil.copytree(data / "blocks_depth", tmp_path / "dataset")
    for case in ("gltf_metal", "ply_vertex_colours"):
        shutil.copytree(data / "meshes" / case, tmp_path / "chairs" / case)
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "python.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 9
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
    recoloured = [item.tint for item in names["chairs"].objects]
    assert recoloured == [None, (0.8, 0.2, 0.2)]
    # The chair is gone, and the cube keeps its label.
    assert set(edited[0].labels().ravel()) == {0, 2}


@pytest.mark.parametrize("name", objnerf.__all__)
def test_the_page_on_python_names_the_whole_face(name):
    if name not in ("AssetFolders", "Dataset", "ScenePlan", "SceneScale"):
        assert name in (DOCS / "python.md").read_text()


PAGES = sorted(DOCS.rglob("*.md"))
READABLE = [ROOT / "README.md", ROOT / "benchmarks" / "README.md", *PAGES]
NAMES = [str(page.relative_to(ROOT)) for page in READABLE]


def _slug(heading):
    """The anchor of a heading, as GitHub and MkDocs make it."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading.replace("`", ""))
    return re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", text.lower()).strip())


def _prose(page):
    """The text of a page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def _anchors(page):
    return {_slug(heading) for heading in re.findall(r"^#+ (.*)$", _prose(page), flags=re.MULTILINE)}


@pytest.mark.parametrize("page", READABLE, ids=NAMES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        if anchor:
            assert anchor in _anchors(there), target


def _shell(text):
    """The calls of objnerf in blocks of shell code, one after the other."""
    for block in re.findall(r"^```(?:sh)?\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        yield from re.findall(r"^(?:\$ |torchrun .* --no-python )?objnerf (.*)$", block, flags=re.MULTILINE)


def _commands(page):
    """The calls of objnerf that a page shows: in blocks of code, and between backquotes."""
    text = page.read_text()
    yield from _shell(text)
    yield from re.findall(r"`objnerf ([a-z][^`]*)`", _prose(page))


def _words(command):
    """The words of a call, without what stands for something else: [optional], …, NAME."""
    return [word for word in shlex.split(command, comments=True) if word not in ("…", "...")]


@pytest.mark.parametrize("page", READABLE, ids=NAMES)
def test_commands_have_the_options_that_pages_show(page):
    """Every verb and option exists, and values that are no placeholders are of the option's type."""
    for command in _commands(page):
        if "[" in command:
            # A synopsis: only the options' names can be checked.
            command = command.replace("[", "").replace("]", "").replace("|", " ")
            options = [word for word in _words(command) if word.startswith("-")]
            verb, context = _verb(_words(command))
            names = {name for option in verb.params for name in (*option.opts, *option.secondary_opts)}
            assert set(options) <= names, command
            continue
        verb, context = _verb(words := _words(command))
        words = words[len(context.command_path.split()) - 1 :]
        values, _, _ = verb.make_parser(context).parse_args(words)
        for option in verb.params:
            value = values.get(option.name)
            if isinstance(option, click.Option) and value is not None and not re.search("[A-Z$]", str(value)):
                option.type_cast_value(context, value)


def _verb(words):
    """The click command that words call, and its context."""
    context = click.Context(cli.main, info_name="objnerf", token_normalize_func=cli._normalise)
    command = cli.main
    for word in words:
        if not isinstance(command, click.Group) or word.startswith("-"):
            break
        assert word in command.commands, f"objnerf {' '.join(words)}"
        command = command.commands[word]
        context = click.Context(command, parent=context, info_name=word)
    return command, context


def test_every_page_is_in_the_navigation_of_the_site():
    site = yaml.load((ROOT / "mkdocs.yml").read_text(), yaml.CSafeLoader)

    def pages(entry):
        if isinstance(entry, str):
            return {entry}
        entries = entry.values() if isinstance(entry, dict) else entry
        return set().union(*map(pages, entries))

    elsewhere = {"index.md", "benchmarks.md", "changes.md", "examples.md"}
    assert pages(site["nav"]) == {page.relative_to(DOCS).as_posix() for page in PAGES} | elsewhere


def test_every_verb_is_in_the_readme_s_table():
    table = re.findall(r"^\| ((?:`[a-z]+`(?:, )?)+) \|", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    listed = {verb for cell in table for verb in re.findall("[a-z]+", cell)}
    assert set(cli.main.commands) <= listed


@pytest.mark.slow
def test_the_shell_blocks_of_the_tutorial_run(tmp_path, monkeypatch):
    """With fewer and smaller images, and one step of training."""
    monkeypatch.chdir(tmp_path)
    shorter = {
        "--scenes 24 --size 128x96": "--scenes 8 --size 32x24 --samples 1 --workers 1",
        "--max-minutes 10": "--max-steps 1 --device cpu --set evaluation.size=[16,12]",
        "--orbit 24": "--orbit 2",
    }
    text = (DOCS / "tutorial.md").read_text()
    calls = list(_shell(text))
    assert len(calls) == 9
    for call in calls:
        for long, short in shorter.items():
            call = call.replace(long, short)
        result = CliRunner().invoke(cli.main, shlex.split(call))
        if call.startswith("export") and result.exit_code == 1:
            # After one step an object may not be opaque enough to have a surface.
            assert "opaque enough" in result.output
        else:
            assert result.exit_code == 0, (call, result.output)
    for name in (
        "scenes/preview/contact_sheet.png",
        "report.html",
        "cameras.html",
        "scores.html",
        "orbit.gif",
    ):
        assert (tmp_path / name).is_file(), name
    assert any((tmp_path / "run" / "previews").iterdir())
