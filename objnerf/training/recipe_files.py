"""Reading, combining and writing recipes.

A recipe is put together from layers, each stronger than the one before it:

1. the defaults of ``recipe`` (uORF's values),
2. what the dataset's own ``dataset.yaml`` states (``scale`` only),
3. the recipe: one that ships with the package (``objnerf/recipes/NAME.yaml``) or a file,
4. what the command line sets (``--near``, …, ``--set key.sub=value``).

The result is written to a run's ``config.yaml``, so that a run can be read, repeated and evaluated without
knowing where its values came from. Importing this module loads no torch.
"""

import difflib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from objnerf.dataset.card import what_is_wrong
from objnerf.dataset.index import open_dataset
from objnerf.dataset.untrusted import MAX_YAML_BYTES, parse_yaml, read_text, read_yaml
from objnerf.errors import InputError
from objnerf.models.config import UorfConfig, VolumesConfig
from objnerf.training.recipe import Recipe, RunConfig, Stage

#: Used where no recipe is named: it trains on any machine.
DEFAULT_RECIPE = "tiny"


def recipe_names() -> list[str]:
    """Names of the recipes that ship with the package."""
    folder = resources.files("objnerf") / "recipes"
    return sorted(
        entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")
    )


def load_recipe(
    source: str,
    *,
    dataset_scale: Mapping[str, Any] | None = None,
    overrides: Sequence[tuple[str, Any]] = (),
) -> Recipe:
    """Read a recipe and combine it with the dataset's scale and the user's settings.

    Args:
        source: name of a recipe that ships with the package, or path of a YAML file.
        dataset_scale: what ``dataset.yaml`` states about ``scale`` (keys of ``Scale``); None is ignored.
        overrides: (dotted key, value) pairs, the later the stronger; ``stages.0.rays`` reaches into a list.
    Raises:
        InputError: no such recipe, not YAML, or a key or value that a recipe cannot have.
    """
    content, where = _read(source)
    known = {key: value for key, value in (dataset_scale or {}).items() if value is not None}
    merged = _merge({"scale": known}, content) if known else content
    for key, value in overrides:
        merged = _set(merged, key, value)
    merged.setdefault("name", Path(source).stem)
    return parse_recipe(merged, where=where)


#: The options of ``objnerf train`` and the keys that they set.
OPTIONS = {
    "near": "scale.near",
    "far": "scale.far",
    "nss_scale": "scale.nss_scale",
    "obj_scale": "scale.obj_scale",
    "focal_ratio": "scale.focal_ratio",
    "fixed_locality": "model.fixed_locality",
    "num_slots": "model.num_slots",
    "lr": "optimiser.lr",
    "attn_decay_steps": "schedule.attn_decay_steps",
    "warmup_steps": "schedule.warmup_steps",
    "seed": "seed",
}


def option_overrides(options: Mapping[str, Any], assignments: Sequence[str]) -> list[tuple[str, Any]]:
    """The (dotted key, value) pairs that a command line asks for.

    Args:
        options: values of ``OPTIONS``; None where the user said nothing.
        assignments: ``key.sub=value``, stronger than the options.
    Raises:
        InputError: an assignment cannot be read.
    """
    pairs = [(OPTIONS[name], value) for name, value in options.items() if value is not None]
    return pairs + [parse_assignment(text) for text in assignments]


def resolve_recipe(
    dataset_root: Path,
    source: str | None,
    out: Path | None,
    overrides: Sequence[tuple[str, Any]],
    *,
    resume: bool,
) -> tuple[Recipe, Path]:
    """The recipe of a training run, and its folder.

    Args:
        dataset_root: its ``dataset.yaml`` has the default scale.
        source: a recipe's name or file; None for ``tiny``, or with ``resume`` for the run's own.
        out: the run folder; None for ``runs/DATASET-RECIPE``.
        overrides: (dotted key, value) pairs, the later the stronger.
        resume: whether the run in ``out`` is to go on.
    Raises:
        InputError: the dataset, the recipe or an option cannot be used.
    """
    dataset = open_dataset(dataset_root)
    named = source or DEFAULT_RECIPE
    out = out or Path("runs") / f"{dataset_root.resolve().name}-{Path(named).stem}"
    if resume and source is None and (out / "config.yaml").is_file():
        named = str(out / "config.yaml")
    if dataset.has_own_intrinsics and _says_focal_ratio(named, overrides):
        # What is asked for holds for all views; a later --set scale.own_intrinsics=true still wins.
        overrides = [("scale.own_intrinsics", False), *overrides]
    return load_recipe(named, dataset_scale=dataset.stated_scale(), overrides=overrides), out


def _says_focal_ratio(source: str, overrides: Sequence[tuple[str, Any]]) -> bool:
    """Whether a recipe, or what overrides it, states the lens but not whether views may have their own."""
    scale = _read(source)[0].get("scale")
    keys = {f"scale.{key}" for key in scale} if isinstance(scale, dict) else set()
    keys |= {key for key, _ in overrides}
    return "scale.focal_ratio" in keys and "scale.own_intrinsics" not in keys


def parse_recipe(content: Mapping[str, Any], *, where: str) -> Recipe:
    """Check a recipe's content; ``where`` is what an error message calls it.

    Raises:
        InputError: names each key that is wrong and what it may be.
    """
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        lines = [_explain(problem) for problem in error.errors(include_url=False)]
        raise InputError(f"{where} cannot be used:\n" + "\n".join(f"  {line}" for line in lines)) from None


def parse_assignment(text: str) -> tuple[str, Any]:
    """Take ``key.sub=value`` apart; the value is read as YAML (``3``, ``true``, ``null``, ``[64, 64]``).

    Raises:
        InputError: there is no ``=``, no key, or the value is not YAML.
    """
    key, equals, value = text.partition("=")
    key = key.strip().replace("-", "_")
    if not equals or not key:
        raise InputError(f"--set needs key.sub=value, for instance optimiser.lr=1e-3; got {text!r}")
    return key, _plain_number(parse_yaml(value, f"--set {key}: the value {value!r}"))


def dump_yaml(model: BaseModel) -> str:
    """A recipe or run config as YAML text, which reads back as the same."""
    return yaml.safe_dump(model.model_dump(mode="json"), sort_keys=False, default_flow_style=None, width=100)


def read_run_config(run: Path) -> RunConfig:
    """Read ``config.yaml`` of a run folder.

    Raises:
        InputError: the folder or the file is missing or cannot be used.
    """
    path = run / "config.yaml"
    if not path.exists():
        what = "does not exist"
        if run.is_dir():
            what = "has no config.yaml, so it is not a run folder"
        elif run.exists():
            what = "is a file"
        raise InputError(f"{run} {what}; expected a folder that `objnerf train --out` wrote")
    content = read_yaml(path)
    if isinstance(content, dict) and "recipe" in content:
        content = content | {"recipe": _without_retired(content["recipe"], str(path))}
    try:
        return RunConfig.model_validate(content)
    except ValidationError as error:
        lines = "\n".join(f"  {_explain(problem)}" for problem in error.errors(include_url=False))
        raise InputError(f"{path} is no run configuration of this version of objnerf:\n{lines}") from None


def _read(source: str) -> tuple[dict[str, Any], str]:
    path = Path(source)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        if not path.is_file():
            raise InputError(f"there is no recipe file {source}")
        text, where = read_text(path, MAX_YAML_BYTES), f"the recipe {source}"
    else:
        names = recipe_names()
        if source not in names:
            near = difflib.get_close_matches(source, names, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise InputError(
                f"There is no recipe {source!r}.{hint} The recipes are: {', '.join(names)}; "
                "the path of a .yaml file works too."
            )
        entry = resources.files("objnerf") / "recipes" / f"{source}.yaml"
        text, where = entry.read_text(encoding="utf-8"), f"the recipe {source}"
    content = parse_yaml(text, where)
    if content is None:
        # Every key has a default, but whoever names a file expects that it says something.
        raise InputError(
            f"{where} is empty; `objnerf train DATASET --print-config` prints all keys to start from"
        )
    if not isinstance(content, dict):
        raise InputError(f"{where} must be a mapping of keys to values, found a {type(content).__name__}")
    if {"format_version", "recipe", "dataset"} <= set(content):
        # A run's config.yaml is a recipe, too: `--recipe runs/a/config.yaml`.
        content = _without_retired(content["recipe"], where)
    return _numbers(content), where


#: Keys that runs of version 0.1 wrote down, and that nothing reads any more.
RETIRED = (("sampling", "token_share"), ("losses", "ground"))


def _without_retired(content: Any, where: str) -> Any:
    """A recipe that an older version wrote into a run's folder, without what is gone since.

    Raises:
        InputError: its model is gone.
    """
    if not isinstance(content, dict):
        return content
    model = content.get("model")
    if isinstance(model, dict) and model.get("kind") == "places":
        raise InputError(
            f"{where}: the model 'places' was replaced by 'volumes', so its runs cannot be "
            "used any more; train again with --recipe tiny or fast, or use objnerf 0.1.0"
        )
    return {
        name: {key: value for key, value in part.items() if (name, key) not in RETIRED}
        if isinstance(part, dict)
        else part
        for name, part in content.items()
    }


def _merge(under: Any, over: Any) -> Any:
    """``under`` overridden by ``over``: mappings are merged key by key, everything else is replaced."""
    if not isinstance(under, dict) or not isinstance(over, dict):
        return over
    return {
        key: _merge(under[key], over[key]) if key in under and key in over else over.get(key, under.get(key))
        for key in [*under, *(key for key in over if key not in under)]
    }


def _set(content: Any, key: str, value: Any) -> Any:
    """``content`` with the value at a dotted key replaced; mappings on the way are made where missing."""
    head, dot, rest = key.partition(".")
    if isinstance(content, (list, tuple)):
        if not head.isdigit() or int(head) >= len(content):
            raise InputError(f"{head!r} is not a position in a list of {len(content)} (the first one is 0)")
        items = list(content)
        items[int(head)] = _set(items[int(head)], rest, value) if dot else value
        return items
    base = dict(content) if isinstance(content, dict) else {}
    if head == "model" and rest == "kind" and base.get("model", {}).get("kind", "uorf") != value:
        # The other kind has other keys: only those that both have are kept.
        kept = {
            name: item
            for name, item in base.get("model", {}).items()
            if name in {"num_slots", "fixed_locality"}
        }
        return {**base, "model": {**kept, "kind": value}}
    return {**base, head: _set(base.get(head), rest, value) if dot else value}


def _plain_number(value: Any) -> Any:
    """YAML 1.1 reads ``1e-3`` as text; a person who writes it means a number."""
    if isinstance(value, str):
        try:
            return float(value) if any(char.isdigit() for char in value) else value
        except ValueError:
            return value
    return value


def _numbers(content: Any) -> Any:
    if isinstance(content, dict):
        return {str(key): _numbers(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_numbers(value) for value in content]
    return _plain_number(content)


def _explain(problem: Any) -> str:
    """One line on one problem that pydantic found: the key, what was found, what is expected."""
    kinds = {"uorf", "volumes"}
    location = [part for part in problem["loc"] if not (part in kinds and "model" in problem["loc"])]
    key = ".".join(str(part) for part in location)
    if problem["type"] == "extra_forbidden":
        known = _known_keys(problem["loc"][:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"{key}: there is no such key; {hint}known here: {', '.join(known)}"
    if problem["type"] == "missing":
        return f"{key}: is missing"
    message = what_is_wrong(problem)
    if problem["type"] == "value_error":
        return f"{key}: {message}" if key else message
    return f"{key}: {message}, found {problem['input']!r}"


def _known_keys(location: Sequence[Any]) -> list[str]:
    """Keys of the section of a recipe (or run config) at a pydantic location."""
    section: Any = Recipe
    for part in location:
        if part in {"uorf", "volumes"}:
            section = {"uorf": UorfConfig, "volumes": VolumesConfig}[part]
        elif part == "stages":
            section = Stage
        elif isinstance(part, str) and part in getattr(section, "model_fields", {}):
            annotation = section.model_fields[part].annotation
            options = [annotation, *getattr(annotation, "__args__", ())]
            found = [
                option for option in options if isinstance(option, type) and issubclass(option, BaseModel)
            ]
            section = found[0] if found else section
    return list(section.model_fields)
