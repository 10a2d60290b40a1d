"""Make ``objnerf.ipynb`` out of the examples: ``python examples/make_notebook.py``.

The examples are scripts in the percent format: ``# %%`` begins a cell of code, ``# %% [markdown]`` text.
"""

import re
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

FOLDER = Path(__file__).parent
NOTEBOOK = FOLDER / "objnerf.ipynb"
EXAMPLES = ("generate_and_look", "train_your_own", "edit_scene")


def cells(script: str) -> list[tuple[str, str]]:
    """(kind, text) of a script's cells; its docstring is the first one."""
    docstring, *parts = re.split(r"^# %%", script, flags=re.MULTILINE)
    found = [("markdown", docstring.strip().strip('"').strip())]
    for part in parts:
        heading, _, body = part.partition("\n")
        if heading.strip() == "[markdown]":
            text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in body.strip().splitlines())
            found.append(("markdown", text))
        else:
            found.append(("code", body.strip()))
    return found


def build() -> nbformat.NotebookNode:
    """The notebook, without outputs; equal scripts give an equal notebook."""
    notebook = new_notebook(
        metadata={
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for example in EXAMPLES:
        script = (FOLDER / f"{example}.py").read_text(encoding="utf-8")
        for number, (kind, text) in enumerate(cells(script)):
            make = new_markdown_cell if kind == "markdown" else new_code_cell
            notebook.cells.append(make(text, id=f"{example.replace('_', '-')}-{number}"))
    nbformat.validate(notebook)
    return notebook


if __name__ == "__main__":
    NOTEBOOK.write_text(nbformat.writes(build()) + "\n", encoding="utf-8")
