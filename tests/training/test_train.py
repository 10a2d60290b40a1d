"""The loop: it learns, it can be killed and goes on exactly, and every option has an effect."""

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from objnerf.console import Progress
from objnerf.dataset.files import read_image, write_image
from objnerf.dataset.folders import only_writer
from objnerf.dataset.index import open_dataset
from objnerf.errors import InputError, WorkError
from objnerf.training.checkpoints import load_run, read_state
from objnerf.training.loop import RunOptions, train
from objnerf.training.recipe import Recipe
from objnerf.training.recipe_files import load_recipe, parse_recipe, read_run_config
from objnerf.training.schedule import learning_rate_factor


def lines(run: Path, key: str) -> list[float]:
    """Values of one figure in a run's metrics."""
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line[key] for line in found if key in line]


def weights(run: Path) -> list[torch.Tensor]:
    return list(load_run(run)[0].state_dict().values())


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def first_error(coded: Path, out: Path, content: dict[str, Any]) -> float:
    train(coded, out, parse_recipe(content, where="x"), RunOptions(max_steps=1))
    return lines(out, "error/colour")[0]


def test_it_learns(coded: Path, small: dict[str, Any], tmp_path: Path):
    """The coded pictures are smooth: a few steps more than halve the error."""
    small["stages"][0]["until"] = 60
    small["schedule"]["attn_decay_steps"] = 1000
    outcome = train(coded, tmp_path / "run", parse_recipe(small, where="x"))
    errors = lines(tmp_path / "run", "error/colour")
    assert (outcome.step, outcome.reason, len(errors)) == (60, "finished", 60)
    assert np.mean(errors[-10:]) < 0.5 * np.mean(errors[:10])
    assert outcome.psnr == lines(tmp_path / "run", "psnr/held_out")[-1]


class Killed(BaseException):
    """Nothing catches it, so nothing is saved on the way out."""


def train_and_kill(coded: Path, out: Path, recipe: Recipe, calls: int) -> None:
    """Train until the bar has shown so many steps."""
    updates = 0

    @contextmanager
    def killer(description: str, unit: str) -> Iterator[Progress]:
        def report(done: int, total: int, note: str) -> None:
            nonlocal updates
            updates += unit == "steps"
            if updates == calls:
                raise Killed

        yield report

    with pytest.raises(Killed):
        train(coded, out, recipe, RunOptions(bar=killer))


def test_killed_and_resumed_is_as_unbroken(coded: Path, small: dict[str, Any], tmp_path: Path):
    """Killed after step 7, with its last checkpoint at step 6: the same weights and figures in the end."""
    small["saving"]["checkpoint_every"] = 3
    small["batch"]["accumulate"] = 2
    recipe = parse_recipe(small, where="x")
    train(coded, tmp_path / "unbroken", recipe)

    train_and_kill(coded, tmp_path / "killed", recipe, calls=7)
    with (tmp_path / "killed" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "err')  # what a process leaves that dies while it writes
    torch.rand(3)  # another process would not have this one's random state either
    assert read_state(tmp_path / "killed" / "checkpoints" / "last.safetensors").step == 6
    outcome = train(coded, tmp_path / "killed", recipe, RunOptions(resume=True))
    assert outcome.step == 12
    assert same(weights(tmp_path / "killed"), weights(tmp_path / "unbroken"))
    for key in ("step", "error/colour", "gradient", "learning_rate", "psnr/held_out"):
        assert lines(tmp_path / "killed", key) == lines(tmp_path / "unbroken", key)
    sessions = json.loads((tmp_path / "killed" / "environment.json").read_text())["sessions"]
    assert len(sessions) == 2


def test_a_dataset_that_changes_while_it_is_learned_changes_nothing(
    coded: Path, small_recipe: Recipe, tmp_path: Path
):
    train(coded, tmp_path / "calm", small_recipe)
    dataset = Path(shutil.copytree(coded, tmp_path / "dataset"))
    asked = []

    def pull_away() -> bool:
        if not asked:
            shutil.rmtree(dataset)
        asked.append(True)
        return False

    train(dataset, tmp_path / "run", small_recipe, RunOptions(stop=pull_away))
    assert len(asked) == 12
    assert same(weights(tmp_path / "run"), weights(tmp_path / "calm"))


def test_a_run_is_resumed_on_the_files_that_it_was_begun_with(
    coded: Path, small_recipe: Recipe, tmp_path: Path
):
    dataset = Path(shutil.copytree(coded, tmp_path / "dataset"))
    train(dataset, tmp_path / "run", small_recipe, RunOptions(max_steps=2))
    moved = dataset.rename(tmp_path / "elsewhere")
    assert train(moved, tmp_path / "run", small_recipe, RunOptions(resume=True, max_steps=3)).step == 3
    picture = next(iter(open_dataset(moved).views())).image_path
    before = picture.read_bytes()
    write_image(picture, 255 - read_image(picture) // 2)
    with pytest.raises(InputError, match=r"not those that the run in .* was started with"):
        train(moved, tmp_path / "run", small_recipe, RunOptions(resume=True))
    picture.write_bytes(before)
    assert train(moved, tmp_path / "run", small_recipe, RunOptions(resume=True)).step == 12


def test_a_second_process_on_a_run_is_refused(coded: Path, small_recipe: Recipe, tmp_path: Path):
    with only_writer(tmp_path / "run"), pytest.raises(InputError, match="another process is writing there"):
        train(coded, tmp_path / "run", small_recipe)
    assert train(coded, tmp_path / "run", small_recipe, RunOptions(max_steps=1)).step == 1


def test_sums_are_repeatable_while_training_alone(coded: Path, small_recipe: Recipe, tmp_path: Path):
    seen = []

    def stop() -> bool:
        seen.append(torch.are_deterministic_algorithms_enabled())
        return True

    train(coded, tmp_path / "run", small_recipe, RunOptions(stop=stop))
    assert seen == [True]
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory


@pytest.mark.slow
def test_threads_do_not_change_the_weights(data: Path, tmp_path: Path):
    """Two threads that add up gradients in changing order would show after a few steps of `tiny`."""
    overrides = [("saving.tensorboard", False), ("evaluation.every", 0), ("evaluation.samples", 4)]
    recipe = load_recipe("tiny", overrides=overrides)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for name in ("one", "two"):
            train(data / "blocks", tmp_path / name, recipe, RunOptions(max_steps=5))
    finally:
        torch.set_num_threads(threads)
    assert same(weights(tmp_path / "one"), weights(tmp_path / "two"))


def test_a_stop_saves_and_goes_on(coded: Path, small_recipe: Recipe, tmp_path: Path):
    train(coded, tmp_path / "unbroken", small_recipe)
    asked = iter([False, False, True])
    outcome = train(coded, tmp_path / "run", small_recipe, RunOptions(stop=lambda: next(asked)))
    assert (outcome.step, outcome.reason) == (3, "stopped")
    train(coded, tmp_path / "run", small_recipe, RunOptions(resume=True))
    assert same(weights(tmp_path / "run"), weights(tmp_path / "unbroken"))
    # Nothing is left to do: a third call changes nothing.
    assert train(coded, tmp_path / "run", small_recipe, RunOptions(resume=True)).step == 12


def test_resuming_what_was_never_begun_begins(coded: Path, small_recipe: Recipe, tmp_path: Path):
    assert train(coded, tmp_path / "run", small_recipe, RunOptions(resume=True, max_steps=2)).step == 2


def test_limits(coded: Path, small_recipe: Recipe, tmp_path: Path):
    outcome = train(coded, tmp_path / "a", small_recipe, RunOptions(max_steps=3))
    assert (outcome.step, outcome.reason) == (3, "--max-steps 3")
    outcome = train(coded, tmp_path / "b", small_recipe, RunOptions(max_minutes=1e-9))
    assert (outcome.step, outcome.reason) == (1, "--max-minutes 1e-09")
    assert load_run(tmp_path / "b")[1] == small_recipe


def test_another_run_is_never_overwritten(coded: Path, small: dict[str, Any], tmp_path: Path):
    recipe = parse_recipe(small, where="x")
    out = tmp_path / "run"
    train(coded, out, recipe, RunOptions(max_steps=1))
    with pytest.raises(InputError, match=r"holds a run already.*--resume"):
        train(coded, out, recipe, RunOptions(max_steps=1))
    small["optimiser"]["lr"] = 0.5
    with pytest.raises(InputError, match=r"optimiser\.lr: 0\.01 -> 0\.5"):
        train(coded, out, parse_recipe(small, where="x"), RunOptions(resume=True))
    small["optimiser"]["lr"] = 0.01
    small["held_out"]["scenes"] = 2
    with pytest.raises(InputError, match=r"held_out\.scenes"):
        train(coded, out, parse_recipe(small, where="x"), RunOptions(resume=True))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="not empty and holds no run"):
        train(coded, tmp_path / "other", recipe)
    with pytest.raises(InputError, match="found a file"):
        train(coded, tmp_path / "other" / "thesis.tex", recipe)


def test_a_run_that_failed_before_its_first_step_is_no_run(
    coded: Path, small_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def exhausted(*arguments: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    with monkeypatch.context() as patch:
        patch.setattr("objnerf.training.steps.losses_of_step", exhausted)
        with pytest.raises(WorkError, match=r"does not suffice.*training_chunk"):
            train(coded, tmp_path / "run", small_recipe)
    assert train(coded, tmp_path / "run", small_recipe, RunOptions(max_steps=1)).step == 1


def test_killed_before_the_first_checkpoint(coded: Path, small_recipe: Recipe, tmp_path: Path):
    """Figures without a checkpoint are not lost by mistake; resuming begins again and writes them anew."""
    run = tmp_path / "run"
    train(coded, run, small_recipe, RunOptions(max_steps=2))
    for file in (run / "checkpoints").iterdir():
        file.unlink()
    with pytest.raises(InputError, match="holds a run already"):
        train(coded, run, small_recipe)
    train(coded, run, small_recipe, RunOptions(max_steps=3, resume=True))
    assert lines(run, "step")[:3] == [1, 2, 3]
    assert len(lines(run, "error/colour")) == 3


def collapsing(small: dict[str, Any]) -> dict[str, Any]:
    """A recipe whose every run is called collapsed after 6 steps: no foreground is ever enough."""
    small["monitor"] = {"restarts": 2, "grace": 2, "window": 4, "least_foreground": 1.0}
    return small


def test_a_collapsed_run_begins_again(coded: Path, small: dict[str, Any], tmp_path: Path):
    """Twice from another derived seed, then it is only logged; the limit on steps counts the last attempt."""
    run = tmp_path / "run"
    outcome = train(coded, run, parse_recipe(collapsing(small), where="x"))
    assert outcome.step == 12
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["restart"] for line in found if "restart" in line] == [1, 2]
    first_errors = [line["error/colour"] for line in found if line["step"] == 1]
    assert len(set(first_errors)) == 3
    assert (run / "train.log").read_text().count("starting again from another seed") == 2
    assert read_state(run / "checkpoints" / "last.safetensors").attempt == 2


def test_killed_while_watched(coded: Path, small: dict[str, Any], tmp_path: Path):
    """A run that is killed within its second attempt comes to the same end as an unbroken one."""
    collapsing(small)["saving"]["checkpoint_every"] = 5
    recipe = parse_recipe(small, where="x")
    train(coded, tmp_path / "unbroken", recipe)
    train_and_kill(coded, tmp_path / "killed", recipe, calls=11)
    state = read_state(tmp_path / "killed" / "checkpoints" / "last.safetensors")
    assert (state.attempt, state.step) == (1, 5)
    train(coded, tmp_path / "killed", recipe, RunOptions(resume=True))
    assert same(weights(tmp_path / "killed"), weights(tmp_path / "unbroken"))
    assert lines(tmp_path / "killed", "error/colour") == lines(tmp_path / "unbroken", "error/colour")


def test_what_is_only_watched_may_change(coded: Path, small: dict[str, Any], tmp_path: Path):
    train(coded, tmp_path / "run", parse_recipe(small, where="x"), RunOptions(max_steps=1))
    small["saving"]["log_every"] = 2
    recipe = parse_recipe(small, where="x")
    assert train(coded, tmp_path / "run", recipe, RunOptions(resume=True)).step == 12
    assert read_run_config(tmp_path / "run").recipe == recipe


def test_the_run_folder(coded: Path, small: dict[str, Any], tmp_path: Path):
    small["saving"]["tensorboard"] = True
    run = tmp_path / "run"
    train(coded, run, parse_recipe(small, where="x"), RunOptions(max_steps=2, command=["objnerf", "train"]))
    assert sorted(path.name for path in run.iterdir()) == [
        "checkpoints",
        "config.yaml",
        "environment.json",
        "metrics.jsonl",
        "previews",
        "tensorboard",
        "train.log",
    ]
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["dataset"]["train_scenes"] == [0, 1, 2, 3, 4]
    assert config["dataset"]["held_out_scenes"] == [5]
    assert config["dataset"]["image_size"] == [32, 24]
    session = json.loads((run / "environment.json").read_text())["sessions"][0]
    assert session["command"] == ["objnerf", "train"]
    assert session["packages"]["torch"] == torch.__version__
    assert "5 scenes to train on, 1 held out" in (run / "train.log").read_text()
    # One row of six tiles of 16 × 12 pixels, eightfold, 4 pixels apart.
    preview = read_image(run / "previews" / "step_000002.png")
    assert preview.shape == (12 * 8, 6 * 16 * 8 + 5 * 4, 3)
    events = next((run / "tensorboard").iterdir()).read_bytes()
    assert b"loss/colour" in events
    assert b"preview" in events


def test_nothing_held_out(coded: Path, small: dict[str, Any], tmp_path: Path):
    """Pictures show training scenes then, and no checkpoint is called the best."""
    small["held_out"] = {"share": 0.0}
    outcome = train(coded, tmp_path / "run", parse_recipe(small, where="x"), RunOptions(max_steps=1))
    assert outcome.psnr is None
    assert len(list((tmp_path / "run" / "previews").iterdir())) == 1
    assert not (tmp_path / "run" / "checkpoints" / "best.safetensors").exists()


def test_a_broken_loss_is_said_and_not_saved(coded: Path, small: dict[str, Any], tmp_path: Path):
    small["optimiser"] = {"lr": 1e30}
    small["schedule"]["warmup_steps"] = 0
    small["saving"] = {"log_every": 100, "checkpoint_every": 1, "tensorboard": False}
    with pytest.raises(WorkError, match=r"training broke down.*step \d+.*nan.*--lr"):
        train(coded, tmp_path / "run", parse_recipe(small, where="x"))
    last = tmp_path / "run" / "checkpoints" / "last.safetensors"
    if last.exists():
        assert all(value.isfinite().all() for value in weights(tmp_path / "run"))


def test_learning_rate_warm_up_and_decay(coded: Path, small: dict[str, Any], tmp_path: Path):
    """--lr, --warmup-steps and --attn-decay-steps: the rate of every step is the formula's."""
    recipe = parse_recipe(small, where="x")
    train(coded, tmp_path / "run", recipe)
    expected = [recipe.optimiser.lr * learning_rate_factor(recipe.schedule, step) for step in range(12)]
    assert lines(tmp_path / "run", "learning_rate") == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"scale": {"near": 3.0}},
        {"scale": {"far": 30.0}},
        {"scale": {"nss_scale": 3.0}},
        {"scale": {"obj_scale": 1.0}},
        {"scale": {"focal_ratio": (0.8, 0.8)}},
        {"seed": 1},
        {"locality": {"until": 0}},
        {"input_size": [8, 8]},
        {"precision": "bf16"},
    ],
    ids=str,
)
def test_an_option_changes_the_first_step(
    change: dict[str, Any], coded: Path, small: dict[str, Any], tmp_path: Path
):
    assert first_error(coded, tmp_path / "a", small) != first_error(coded, tmp_path / "b", small | change)


@pytest.mark.parametrize("change", [{"num_slots": 4}, {"fixed_locality": True}, {"z_dim": 12}], ids=str)
def test_a_model_option_changes_the_first_step(
    change: dict[str, Any], coded: Path, small: dict[str, Any], tmp_path: Path
):
    other = small | {"model": small["model"] | change}
    assert first_error(coded, tmp_path / "a", small) != first_error(coded, tmp_path / "b", other)


def test_chunks_change_nothing(coded: Path, small: dict[str, Any], tmp_path: Path):
    small["batch"]["scenes"] = 1
    train(coded, tmp_path / "whole", parse_recipe(small, where="x"), RunOptions(max_steps=3))
    small["sampling"]["training_chunk"] = 5
    train(coded, tmp_path / "chunks", parse_recipe(small, where="x"), RunOptions(max_steps=3))
    for one, other in zip(weights(tmp_path / "whole"), weights(tmp_path / "chunks"), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", ["uorf_clevr_567", "uorf_room_chair", "uorf_room_diverse"])
def test_the_published_recipes_at_reduced_size(name: str, coded: Path, tmp_path: Path):
    """Both stages, locality on and off, perceptual and (Room-Diverse) adversarial loss, in a few steps."""
    overrides: list[tuple[str, Any]] = [
        ("clock", "step"),
        ("input_size", [16, 16]),
        ("model.num_slots", 3),
        ("stages.0", {"name": "coarse", "until": 4, "size": [8, 8], "supervision": "images"}),
        ("stages.1", {"name": "fine", "until": 9, "size": [16, 16], "supervision": "patches", "patch": 8}),
        ("batch.views", 2),
        ("sampling.samples", 6),
        ("sampling.training_chunk", 50),
        ("locality.until", 3),
        ("perceptual.start", 2),
        ("evaluation.size", [8, 8]),
        ("evaluation.samples", 6),
        ("evaluation.scenes", 1),
        ("saving", {"log_every": 1, "checkpoint_every": 100, "tensorboard": False}),
    ]
    gan = name == "uorf_room_diverse"
    if gan:
        overrides += [("adversarial.start", 3), ("adversarial.generator_after", 2), ("adversarial.width", 8)]
        overrides += [("adversarial.r1_every", 2)]
    recipe = load_recipe(name, overrides=overrides)
    run = tmp_path / "run"
    assert train(coded, run, recipe).step == 9
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    parts = {line["step"]: {key for key in line if key.startswith(("loss/", "disc"))} for line in found}
    colour, picture = {"loss/colour"}, {"loss/colour", "loss/perceptual"}
    if gan:
        # Step 3 (the fourth) trains the discriminator alone, step 4 nothing, then the model's turns are even.
        discriminator = {"discriminator/discriminator", "discriminator/r1"}
        both = picture | {"loss/adversarial"}
        assert [parts.get(step) for step in range(1, 10)] == [
            *(colour, colour, picture, discriminator, None),
            *(discriminator, both, discriminator, both),
        ]
    else:
        assert [parts[step] for step in range(1, 10)] == [colour, colour, *[picture] * 7]
    assert [line["stage"] for line in found if "stage" in line][-1] == "fine"
    assert read_run_config(run).perceptual_features in {"gradient-pyramid", "vgg16"}
    assert all(math.isfinite(value) for line in found for value in line.values() if isinstance(value, float))


def test_pictures_may_differ_in_size_from_the_encoders_input(
    coded: Path, small_volumes: dict[str, Any], tmp_path: Path
):
    """Novel rays find their pixel in larger and smaller pictures alike, each in its own way."""
    small_volumes["batch"] |= {"mirror": True, "permute_colours": True}
    errors = set()
    for size in ([32, 24], [16, 16], [8, 6]):
        small_volumes["stages"][0]["size"] = size
        errors.add(first_error(coded, tmp_path / str(size[0]), small_volumes))
    assert len(errors) == 3


def test_depth_teaches_where_surfaces_are(data: Path, small_volumes: dict[str, Any], tmp_path: Path):
    """The loss of depth falls while it counts, and a dataset without depth is refused by name."""
    small_volumes["losses"] = {"depth": 0.1}
    small_volumes["stages"][0]["until"] = 60
    small_volumes["held_out"] = {"share": 0}
    small_volumes["sampling"]["samples"] = 12
    run = tmp_path / "run"
    train(data / "blocks_depth", run, parse_recipe(small_volumes, where="x"))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    seen = [line["loss/depth"] for line in lines if "loss/depth" in line]
    assert len(seen) == 60
    assert sum(seen[-10:]) < sum(seen[:10]) - 0.1
    with pytest.raises(InputError, match=r"_depth\.npy beside it, found none; this needs depth"):
        train(data / "blocks", tmp_path / "other", parse_recipe(small_volumes, where="x"))
