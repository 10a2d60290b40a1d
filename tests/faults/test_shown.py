"""What comes from a dataset is shown as text: no markup in pages, no orders to the terminal."""

import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import cli

#: Names that mean something to a browser, a terminal, a shell, or whoever reads line by line.
EVIL = (
    "<img src=x onerror=run()>",
    '"><b onclick=run()>',
    "\x1b[31m\x1b]0;owned\x07",
    "a\nerror: b",
    "$(touch owned)",
)


class _Tags(HTMLParser):
    """Collects attributes that run something."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [name for name, value in attrs if name in ("onerror", "onclick") or value == "x"]


def call(*words: object) -> Result:
    result = CliRunner().invoke(cli.main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


@pytest.fixture
def evil(data: Path, tmp_path: Path) -> Path:
    """A dataset with such names, each of them wrong in some way, so that it is talked about."""
    root = tmp_path / "dataset"
    root.mkdir()
    for number, name in enumerate(EVIL):
        for view in range(2):
            for path in (data / "blocks").glob(f"*sc0000_img{view}*"):
                suffix = path.name.partition(f"_img{view}")[2]
                shutil.copyfile(path, root / f"{name}_sc{number:04d}_img{view}{suffix}")
        next(iter(root.glob(f"*_sc{number:04d}_img0_RT.txt"))).write_text("no matrix\n")
        shutil.copyfile(data / "blocks" / "00000_sc0000_img0.png", root / f"{name}.png")
    (root / "dataset.yaml").write_text(
        'preset: "</script><img src=x onerror=run()>"\nnear: "\\e[31m<b onclick=run()>"\n'
    )
    return root


def test_pages_hold_no_markup_of_a_dataset(evil: Path, tmp_path: Path) -> None:
    call("validate", evil, "--html", tmp_path / "v.html", "--json", tmp_path / "v.json")
    call("poses", evil, "--out", tmp_path / "p.html")
    for page in (tmp_path / "v.html", tmp_path / "p.html"):
        if page.exists():
            tags = _Tags()
            tags.feed(page.read_text())
            assert tags.found == []
    assert (tmp_path / "v.html").exists()


@pytest.mark.parametrize("verb", ["validate", "poses", "convert", "train"])
def test_the_terminal_gets_no_orders_from_a_dataset(
    verb: str, evil: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words: dict[str, list[object]] = {
        "validate": ["validate", evil],
        "poses": ["poses", evil, "--out", tmp_path / "p.html"],
        "convert": ["convert", evil, tmp_path / "out", "--to", "colmap"],
        "train": ["train", evil, "--out", tmp_path / "run", "--no-validate"],
    }
    result = call(*words[verb])
    assert result.exit_code != 0
    assert result.output
    assert not {character for character in result.output if ord(character) < 32} - {"\n", "\t", "\r"}
    assert "\nerror: b" not in result.output
    assert not list(tmp_path.glob("**/owned"))
