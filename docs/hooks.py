"""What the site needs beyond the pages of this folder; mkdocs.yml names this file.

README, the benchmarks' table, the changes and the examples are elsewhere in the repository, where a reader of
the code expects them. The site shows them as pages, and the links between them are rewritten.
"""

import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
EXAMPLES = ("generate_and_look", "train_your_own", "edit_scene")
#: Pages of the site that are other files of the repository.
PAGES = {"index.md": "README.md", "benchmarks.md": "benchmarks/README.md", "changes.md": "CHANGELOG.md"}


def examples_page() -> str:
    """The scripts in examples/ as one page: their comments as text, their code as blocks."""
    parts = [
        "# Examples\n\nThe scripts in `examples/` of the repository; run one with `python examples/NAME.py`. "
        "The notebook `examples/objnerf.ipynb` contains all three."
    ]
    for name in EXAMPLES:
        docstring, *cells = re.split(r"^# %%.*\n", (ROOT / "examples" / f"{name}.py").read_text(), flags=re.M)
        title, _, text = docstring.strip().strip('"').strip().partition("\n")
        parts.append(f"## {title.lstrip('# ')}\n\n`examples/{name}.py`\n{text}")
        for cell in cells:
            if all(line.startswith("#") for line in cell.strip().splitlines()):
                text = "\n".join(line[1:].removeprefix(" ") for line in cell.strip().splitlines())
                # Their headings are below the script's own.
                parts.append(re.sub(r"^## ", "### ", text, flags=re.M))
            else:
                parts.append(f"```python\n{cell.strip()}\n```")
    return "\n\n".join(parts) + "\n"


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that stand elsewhere in the repository."""
    for uri, path in PAGES.items():
        files.append(File.generated(config, uri, content=(ROOT / path).read_text()))
    files.append(File.generated(config, "examples.md", content=examples_page()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite links that are right in the repository to the same pages of the site."""
    folder = PurePosixPath(page.file.src_uri).parent
    here = Path(PAGES.get(page.file.src_uri, f"docs/{folder}/_")).parent
    return re.sub(r"\]\(([^)#:\s]+)(#[^)]*)?\)", lambda link: _link(link, here, folder), markdown)


def _link(link: "re.Match[str]", here: Path, folder: PurePosixPath) -> str:
    """A Markdown link with its target in the site; unchanged where the target is no page of it."""
    target = Path(*_normal((here / link[1]).parts)).as_posix()
    of_page = {path: uri for uri, path in PAGES.items()} | {"examples": "examples.md"}
    uri = of_page.get(target) or (target.removeprefix("docs/") if target.startswith("docs/") else None)
    if uri is None:
        return link[0]
    up = "../" * len(folder.parts)
    return f"]({up}{uri}{link[2] or ''})"


def _normal(parts: tuple[str, ...]) -> list[str]:
    """The parts of a path without ``..``."""
    kept: list[str] = []
    for part in parts:
        if part == "..":
            kept.pop()
        elif part != ".":
            kept.append(part)
    return kept
