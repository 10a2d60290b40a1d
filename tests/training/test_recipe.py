"""Recipes: layers, overrides, and errors that name the key and what is expected."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from objnerf.errors import InputError
from objnerf.training.recipe import Recipe
from objnerf.training.recipe_files import (
    OPTIONS,
    dump_yaml,
    load_recipe,
    option_overrides,
    parse_assignment,
    parse_recipe,
    read_run_config,
    recipe_names,
    resolve_recipe,
)

NOTHING = dict.fromkeys(OPTIONS)


def resolved(dataset: Path, source: str | None, out: Path | None, options: Any, assignments: Any = ()):
    """What a call of `objnerf train` with these options makes."""
    return resolve_recipe(dataset, source, out, option_overrides(options, assignments), resume=False)


def write(path: Path, content: Any) -> str:
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_defaults_are_the_reference():
    recipe = Recipe()
    assert recipe.scale.model_dump() == {
        "near": 6.0,
        "far": 20.0,
        "nss_scale": 7.0,
        "obj_scale": 4.5,
        "focal_ratio": (350 / 320, 350 / 240),
        "own_intrinsics": True,
    }
    assert recipe.optimiser.lr == 3e-4
    assert (recipe.schedule.warmup_steps, recipe.schedule.attn_decay_steps) == (1000, 200_000)


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_of_the_package_load_and_come_back(name: str, tmp_path: Path):
    recipe = load_recipe(name)
    assert recipe.name == name
    (tmp_path / "again.yaml").write_text(dump_yaml(recipe))
    assert load_recipe(str(tmp_path / "again.yaml")) == recipe


def test_the_stronger_layer_wins(tmp_path: Path):
    """dataset.yaml beats the defaults, the recipe beats dataset.yaml, the command line beats all."""
    source = write(tmp_path / "mine.yaml", {"scale": {"far": 15}})
    recipe = load_recipe(
        source,
        dataset_scale={"near": 5.0, "far": 18.0, "obj_scale": 3.0, "nss_scale": None},
        overrides=[("scale.obj_scale", 2.5), ("seed", 0)],
    )
    scale = recipe.scale
    assert (scale.near, scale.far, scale.nss_scale, scale.obj_scale) == (5.0, 15.0, 7.0, 2.5)
    assert recipe.name == "mine"


def test_dataset_yaml_is_the_default_of_the_verb(coded: Path, tmp_path: Path):
    dataset = tmp_path / "with_card"
    dataset.mkdir()
    for file in list(coded.iterdir())[:6]:
        (dataset / file.name).write_bytes(file.read_bytes())
    (dataset / "dataset.yaml").write_text("near: 4.5\nfocal_ratio: [1.1, 1.2]\nobj_scale: 3.25\n")
    recipe, out = resolved(dataset, None, None, NOTHING | {"obj_scale": 4.0})
    assert (recipe.scale.near, recipe.scale.obj_scale, recipe.scale.focal_ratio) == (4.5, 4.0, (1.1, 1.2))
    assert out == Path("runs/with_card-tiny")


def test_the_lens_in_the_views_own_files_is_the_default(data: Path, tmp_path: Path):
    recipe, _ = resolved(data / "uocf_lens", None, None, NOTHING)
    assert recipe.scale.focal_ratio == (1.2, 1.6)
    assert recipe.scale.own_intrinsics
    # What the user says holds for all views, unless he also says that it does not.
    options = NOTHING | {"focal_ratio": (1.1, 1.5)}
    recipe, _ = resolved(data / "uocf_lens", None, None, options)
    assert (recipe.scale.focal_ratio, recipe.scale.own_intrinsics) == ((1.1, 1.5), False)
    own = ("scale.own_intrinsics=true",)
    recipe, _ = resolved(data / "uocf_lens", None, None, options, own)
    assert (recipe.scale.focal_ratio, recipe.scale.own_intrinsics) == ((1.1, 1.5), True)
    mine = tmp_path / "mine.yaml"
    mine.write_text("scale: {focal_ratio: [1.1, 1.5]}\n")
    recipe, _ = resolved(data / "uocf_lens", str(mine), None, NOTHING)
    assert (recipe.scale.focal_ratio, recipe.scale.own_intrinsics) == ((1.1, 1.5), False)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("near", 5.5),
        ("far", 21.5),
        ("nss_scale", 6.5),
        ("obj_scale", 3.5),
        ("focal_ratio", (1.25, 1.5)),
        ("fixed_locality", True),
        ("num_slots", 4),
        ("lr", 0.25),
        ("attn_decay_steps", 77),
        ("warmup_steps", 33),
        ("seed", 9),
    ],
)
def test_every_option_reaches_its_key_and_no_other(option: str, value: Any, coded: Path):
    before, _ = resolved(coded, "uorf_clevr_567", None, NOTHING)
    after, _ = resolved(coded, "uorf_clevr_567", None, NOTHING | {option: value})
    assert changes(before.model_dump(), after.model_dump()) == {OPTIONS[option]: value}


def changes(before: Any, after: Any, key: str = "") -> dict[str, Any]:
    if isinstance(before, dict):
        return {
            name: value
            for part in before
            for name, value in changes(before[part], after[part], f"{key}.{part}" if key else part).items()
        }
    return {} if before == after else {key: after}


def test_every_option_is_tried_above():
    assert set(OPTIONS) == {
        "near",
        "far",
        "nss_scale",
        "obj_scale",
        "focal_ratio",
        "fixed_locality",
        "num_slots",
        "lr",
        "attn_decay_steps",
        "warmup_steps",
        "seed",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("optimiser.lr=1e-3", ("optimiser.lr", 0.001)),
        ("batch.scenes=4", ("batch.scenes", 4)),
        ("input-size=[64, 48]", ("input_size", [64, 48])),
        ("perceptual=null", ("perceptual", None)),
        ("compile=true", ("compile", True)),
        ("name=a=b", ("name", "a=b")),
        ("precision=bf16", ("precision", "bf16")),
    ],
)
def test_assignments(text: str, expected: tuple[str, Any]):
    assert parse_assignment(text) == expected


@pytest.mark.parametrize("text", ["batch.scenes", "=3", "a=[1,"])
def test_assignments_that_say_nothing(text: str):
    with pytest.raises(InputError, match="--set"):
        parse_assignment(text)


def test_overrides_reach_into_lists_and_make_sections():
    recipe = load_recipe("uorf_room_chair", overrides=[("stages.1.patch", 32), ("perceptual.weight", 0.5)])
    assert [stage.patch for stage in recipe.stages] == [64, 32]
    assert recipe.perceptual is not None
    assert (recipe.perceptual.weight, recipe.perceptual.start) == (0.5, 100)
    recipe = load_recipe("uorf_room_chair", overrides=[("adversarial.start", 3.0)])
    assert recipe.adversarial is not None
    assert (recipe.adversarial.start, recipe.adversarial.weight) == (3.0, 0.01)


def test_another_kind_of_model_keeps_what_both_know():
    recipe = load_recipe("uorf_room_chair", overrides=[("model.kind", "volumes")])
    assert (recipe.model.kind, recipe.model.num_slots) == ("volumes", 5)


def test_runs_of_version_0_1(tmp_path: Path):
    """Their uORF recipes are read without the keys that are gone; what cannot be used says so by name."""
    recipe = load_recipe("uorf_room_chair").model_dump(mode="json")
    recipe["sampling"]["token_share"] = 0.25
    recipe["losses"]["ground"] = 0.0
    facts = {"path": "x", "scenes": 2, "views": 4, "image_size": [64, 64]}
    facts |= {"train_scenes": [0], "held_out_scenes": [1]}
    content = {"format_version": 1, "objnerf_version": "0.1.0", "recipe": recipe, "dataset": facts}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    assert read_run_config(tmp_path).recipe == load_recipe("uorf_room_chair")
    assert load_recipe(str(path)) == load_recipe("uorf_room_chair")
    content["recipe"]["model"] = {"kind": "places", "num_slots": 6}
    path.write_text(yaml.safe_dump(content))
    for use in (lambda: read_run_config(tmp_path), lambda: load_recipe(str(path))):
        with pytest.raises(InputError, match="'places' was replaced by 'volumes'"):
            use()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"batch": {"scene": 3}}, ["batch.scene:", "no such key", "did you mean scenes?"]),
        ({"model": {"kind": "uorf", "slots": 3}}, ["model.slots:", "num_slots"]),
        ({"model": {"kind": "nerf"}}, ["model", "nerf", "uorf", "volumes"]),
        ({"optimiser": {"lr": "fast"}}, ["optimiser.lr:", "number", "'fast'"]),
        ({"optimiser": {"lr": 0}}, ["optimiser.lr:", "greater than 0", "found 0"]),
        ({"scale": {"near": 8, "far": 7}}, ["scale", "near must be smaller than far"]),
        ({"scale": 3}, ["scale:", "found 3"]),
        ({"stages": []}, ["at least one stage"]),
        ({"stages": [{"name": "a", "until": 5}]}, ["stages.0.size: is missing"]),
        (
            {"stages": [{"name": "a", "until": 5, "size": [8, 8], "supervision": "patches", "patch": 9}]},
            ["stages.0", "does not fit"],
        ),
        ({"schedule": {"stages": ["fine"]}}, ["schedule.stages", "fine", "coarse"]),
        ({"seed": -1}, ["seed:", "found -1"]),
        ({"input_size": [30, 32]}, ["input_size", "multiples of 4", "30 × 32"]),
        ({"model": {"kind": "uorf", "bottom": True}, "input_size": [36, 36]}, ["multiples of 8"]),
    ],
)
def test_errors_name_the_key_and_what_is_expected(content: dict[str, Any], words: list[str]):
    with pytest.raises(InputError) as caught:
        parse_recipe(content, where="mine.yaml")
    message = str(caught.value)
    assert message.startswith("mine.yaml cannot be used")
    for word in words:
        assert word in message


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(InputError) as caught:
        parse_recipe({"seed": -1, "optimiser": {"lr": 0}, "batch": {"scene": 1}}, where="mine.yaml")
    assert len(str(caught.value).splitlines()) == 4


def test_pictures_are_needed_by_losses_on_pictures():
    rays = [{"name": "a", "until": 5, "size": [8, 8], "supervision": "rays"}]
    with pytest.raises(InputError, match="stage a draws single rays"):
        parse_recipe({"stages": rays, "perceptual": {}}, where="x")
    sizes = [
        {"name": "a", "until": 5, "size": [8, 8], "supervision": "images"},
        {"name": "b", "until": 9, "size": [16, 16], "supervision": "images"},
    ]
    with pytest.raises(InputError, match="one size in all stages"):
        parse_recipe({"stages": sizes, "adversarial": {}}, where="x")


def test_unknown_recipes_and_files(tmp_path: Path):
    with pytest.raises(InputError, match=r"no recipe 'tinny'.*Did you mean tiny\?"):
        load_recipe("tinny")
    with pytest.raises(InputError, match="no recipe file"):
        load_recipe(str(tmp_path / "none.yaml"))
    (tmp_path / "list.yaml").write_text("[1, 2]")
    with pytest.raises(InputError, match="mapping"):
        load_recipe(str(tmp_path / "list.yaml"))
    (tmp_path / "broken.yaml").write_text("a: [1")
    with pytest.raises(InputError, match="expected YAML"):
        load_recipe(str(tmp_path / "broken.yaml"))
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    with pytest.raises(InputError, match=r"empty\.yaml is empty; .*--print-config"):
        load_recipe(str(tmp_path / "empty.yaml"))


def test_no_run_folder(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        read_run_config(tmp_path / "none")
    with pytest.raises(InputError, match=r"no config\.yaml"):
        read_run_config(tmp_path)
    (tmp_path / "config.yaml").write_text("recipe: 3")
    with pytest.raises(InputError, match="no run configuration"):
        read_run_config(tmp_path)


def test_recipes_cannot_be_changed():
    with pytest.raises(ValidationError):
        Recipe().seed = 3
