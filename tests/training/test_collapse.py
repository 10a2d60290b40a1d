"""The monitor: figures with known values, verdicts, and runs that are spoiled on purpose."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from objnerf.dataset.card import SceneScale
from objnerf.models import UORF, ModelConfig, SceneCode, SceneModel, build_model
from objnerf.models.volumes.model import ObjectVolumes
from objnerf.rendering.volume import Rendering
from objnerf.training import context, loop
from objnerf.training.collapse import (
    Collapse,
    CollapseMonitor,
    effective_rank,
    foreground_gradient_share,
    measure,
    slot_similarity,
)
from objnerf.training.recipe import Monitor
from objnerf.training.recipe_files import parse_recipe

HEALTHY = {
    "slots/foreground_opacity": 0.12,
    "slots/background_opacity": 0.85,
    "slots/foreground_share": 0.12,
    "slots/used": 3.0,
    "slots/similarity": 0.05,
    "slots/rank": 2.8,
    "gradient/foreground_share": 0.4,
}


def seen(slot_opacity: torch.Tensor, slots: torch.Tensor) -> tuple[SceneCode, Rendering]:
    """One scene that shows this, rays × slots, made of these slots."""
    rays, count = slot_opacity.shape
    code = SceneCode(
        slots=slots[None],
        field_from_world=torch.eye(4)[None],
        offsets=torch.zeros(1, count, 3),
        active=torch.ones(1, count, dtype=torch.bool),
    )
    opacity = slot_opacity[None]
    return code, Rendering(torch.zeros(1, rays, 3), torch.zeros(1, rays), opacity.sum(-1), opacity)


def test_effective_rank():
    """Orthogonal slots count fully, multiples of one vector once, no slot not at all."""
    eye = torch.eye(3)
    same = torch.tensor([[1.0, 2, 0], [2, 4, 0], [-3, -6, 0]])
    assert effective_rank(torch.stack([eye * 7, same, torch.zeros(3, 3)])).tolist() == pytest.approx(
        [3.0, 1.0, 0.0], abs=1e-2
    )


def test_effective_rank_of_two_slots_at_an_angle():
    """At 60° the Gram matrix has the eigenvalues 1.5 and 0.5, so singular values 1.2247 and 0.7071.

    Shares 0.634 and 0.366: entropy 0.634 · 0.4557 + 0.366 · 1.0051 = 0.6568, and e^0.6568 = 1.929.
    """
    slots = torch.tensor([[[1.0, 0], [0.5, 3**0.5 / 2]]])
    assert effective_rank(slots).item() == pytest.approx(1.929, abs=1e-3)


def test_slot_similarity():
    """Slots 0 and 1 show the same, slot 2 is apart, slot 3 is not used: (1 + 0 + 0) / 3."""
    opacity = torch.tensor([[0.5, 1.0, 0, 0.1], [0.25, 0.5, 0, 0.1], [0, 0, 1, 0.1]])[None]
    used = torch.tensor([[True, True, True, False]])
    assert slot_similarity(opacity, used).item() == pytest.approx(1 / 3)
    assert slot_similarity(opacity, torch.tensor([[True, False, False, False]])).item() == 0


def test_measure():
    """Four rays: two see the background only, one slot 1, one half slot 1 and a little slot 2."""
    shown = torch.tensor([[1.0, 0, 0], [0.8, 0, 0], [0, 1, 0], [0.3, 0.5, 0.1]])
    figures = measure(*seen(shown, torch.tensor([[9.0, 9], [1, 0], [0, 1]])))
    assert figures["slots/foreground_opacity"].item() == pytest.approx(1.6 / 4)
    assert figures["slots/background_opacity"].item() == pytest.approx(2.1 / 4)
    assert figures["slots/foreground_share"].item() == pytest.approx(1.6 / 3.7)
    assert figures["slots/foreground_pixels"].item() == pytest.approx(2 / 4)
    assert figures["slots/used"].item() == 2
    assert figures["slots/rank"].item() == pytest.approx(2, abs=1e-3)
    # Over the rays slot 1 is (0, 0, 1, .5) and slot 2 (0, 0, 0, .1): cosine .05 / (1.118 · .1).
    assert figures["slots/similarity"].item() == pytest.approx(0.4472, abs=1e-3)


def test_foreground_gradient_share():
    """Norm 3 in the foreground's field, 4 elsewhere: 3 of 5. Without a gradient there: nothing."""
    model = nn.ModuleDict({"lifting": nn.Linear(1, 1, bias=False), "encoder": nn.Linear(1, 1, bias=False)})
    model["encoder"].weight.grad = torch.tensor([[4.0]])
    assert foreground_gradient_share(model).item() == 0
    model["lifting"].weight.grad = torch.tensor([[3.0]])
    assert foreground_gradient_share(model).item() == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({}, None),
        (
            {
                "slots/foreground_opacity": 0.0,
                "slots/foreground_share": 0.0,
                "gradient/foreground_share": 0.0,
            },
            Collapse.DEAD_FOREGROUND,
        ),
        (
            {"slots/foreground_opacity": 1e-3, "slots/foreground_share": 1e-3},
            Collapse.BACKGROUND_EATS_OBJECTS,
        ),
        ({"slots/foreground_share": 0.99}, Collapse.FOREGROUND_EATS_BACKGROUND),
        ({"slots/explained_opacity": 0.8}, Collapse.FOREGROUND_EATS_BACKGROUND),
        ({"slots/explained_opacity": 0.2}, None),
        ({"slots/similarity": 0.97, "slots/rank": 1.1}, Collapse.FEW_RANK),
        ({"slots/similarity": 0.97, "slots/used": 1.0}, None),
    ],
)
def test_verdicts(changed: dict[str, float], kind: Collapse | None):
    """Each bound names its collapse: not before the grace period and a window, and once only."""
    monitor = CollapseMonitor(Monitor(grace=100, window=40), slots=4)
    found = [monitor.update(step, HEALTHY | changed) for step in range(20, 300, 20)]
    findings = [finding for finding in found if finding is not None]
    assert [finding.kind for finding in findings] == ([] if kind is None else [kind])
    if findings:
        assert findings[0].step == 140
        assert str(findings[0]).startswith(f"step 140: {kind}: ")
        assert "Advice: " in str(findings[0])


def test_a_bad_moment_is_no_collapse():
    """One interval in three without foreground: the window's mean stays above the bound."""
    monitor = CollapseMonitor(Monitor(grace=0, window=60), slots=4)
    for step in range(20, 400, 20):
        changed = {"slots/foreground_opacity": 0.0} if step % 60 == 0 else {}
        assert monitor.update(step, HEALTHY | changed) is None


def test_disabled():
    monitor = CollapseMonitor(Monitor(enabled=False, grace=0, window=10), slots=4)
    assert monitor.update(100, HEALTHY | {"slots/foreground_share": 1.0}) is None


# -- whole runs, spoiled on purpose


def kill_foreground(model: UORF) -> None:
    """A ReLU density that is negative everywhere: no gradient will ever revive it."""
    nn.init.constant_(model.decoder.f_after_shape.bias, -100.0)


def make_slots_alike(model: UORF) -> None:
    """All foreground slots begin as the same vector, so nothing can ever tell them apart."""
    nn.init.constant_(model.slot_attention.slots_logsigma, -100.0)
    nn.init.constant_(model.decoder.f_after_shape.bias, 1.0)


def weaken_foreground(model: UORF) -> None:
    """The background is dense from the start; the box (see the test) is too small for any object."""
    nn.init.constant_(model.decoder.f_after_shape.bias, 1.0)
    nn.init.constant_(model.decoder.b_after[-1].bias, 20.0)


def kill_background(model: UORF) -> None:
    """No density in the background; the foreground (see the test) may be anywhere."""
    with torch.no_grad():
        model.decoder.b_after[-1].bias[3] = -100.0
    nn.init.constant_(model.decoder.f_after_shape.bias, 20.0)


SPOILED = [
    (Collapse.DEAD_FOREGROUND, kill_foreground, {}),
    (Collapse.FEW_RANK, make_slots_alike, {}),
    (Collapse.BACKGROUND_EATS_OBJECTS, weaken_foreground, {"scale": {"obj_scale": 0.4}}),
    (Collapse.FOREGROUND_EATS_BACKGROUND, kill_background, {"locality": {"until": 0}}),
]


def spoiling(spoil: Callable[[UORF], None], attempts: int) -> Callable[..., SceneModel]:
    """``build_model``, but the first ``attempts`` models are spoiled."""
    built = []

    def build(config: ModelConfig, geometry: SceneScale) -> SceneModel:
        model = build_model(config, geometry)
        built.append(model)
        if len(built) <= attempts:
            assert isinstance(model, UORF)
            spoil(model)
        return model

    return build


def run_spoiled(
    data: Path, out: Path, small: dict[str, Any], changes: dict[str, Any], monitor: dict[str, Any], steps: int
) -> None:
    small["stages"][0]["until"] = steps
    small["optimiser"]["lr"] = 1e-3
    small["schedule"]["attn_decay_steps"] = 1000
    small["saving"]["log_every"] = 10
    small |= {"monitor": monitor, **changes}
    loop.train(data / "blocks", out, parse_recipe(small, where="x"))


@pytest.mark.parametrize(("kind", "spoil", "changes"), SPOILED, ids=[str(kind) for kind, *_ in SPOILED])
def test_collapse_on_purpose_is_recognised(
    kind: Collapse,
    spoil: Callable[[UORF], None],
    changes: dict[str, Any],
    data: Path,
    small: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """Each is named in the log within 500 steps, with the default bounds and a short grace period."""
    monkeypatch.setattr(context, "build_model", spoiling(spoil, attempts=1))
    with caplog.at_level(logging.WARNING, logger="objnerf"):
        run_spoiled(data, tmp_path / "run", small, changes, {"grace": 40, "window": 40}, steps=80)
    warnings = [record.getMessage() for record in caplog.records if "Advice" in record.getMessage()]
    assert len(warnings) == 1
    assert f": {kind}: " in warnings[0]


def small_volumes(seed: int, steps: int) -> dict[str, Any]:
    """The recipe tiny with a smaller model and smaller images."""
    return {
        "name": "small",
        "model": {
            "kind": "volumes",
            "num_slots": 6,
            "width": 32,
            "outline_width": 16,
            "cells": 24,
            "layers": 10,
        },
        "input_size": [32, 24],
        "clock": "step",
        "stages": [{"name": "only", "until": steps, "size": [32, 24], "supervision": "novel", "rays": 128}],
        "batch": {"mirror": True, "permute_colours": True},
        "sampling": {"samples": 16, "jitter": True},
        "optimiser": {"kind": "muon", "lr": 4e-3, "betas": [0.9, 0.99], "clip": 1.0},
        "schedule": {"warmup_steps": 100, "cool_to": 0.02},
        "losses": {"colour": 2.5},
        "held_out": {"share": 0},
        "evaluation": {"every": 0, "scenes": 1, "size": [16, 12], "samples": 6},
        "saving": {"log_every": 20, "checkpoint_every": 1000, "tensorboard": False},
        "seed": seed,
    }


def fill_grid(model: ObjectVolumes) -> None:
    """Every voxel is opaque, whatever the image shows."""
    with torch.no_grad():
        model.lifting.voxels.out.bias[0] = 20.0


def test_a_foreground_that_is_a_fog_over_the_floor_is_recognised(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Cameras see floor beyond the grid, so that the foreground does not cover everything."""

    def build(config: ModelConfig, geometry: SceneScale) -> SceneModel:
        model = build_model(config, geometry)
        assert isinstance(model, ObjectVolumes)
        fill_grid(model)
        return model

    monkeypatch.setattr(context, "build_model", build)
    content = small_volumes(seed=0, steps=16)
    content["optimiser"]["lr"] = 1e-6
    content["saving"]["log_every"] = 4
    content["monitor"] = {"grace": 4, "window": 8, "most_foreground": 1.0}
    with caplog.at_level(logging.WARNING, logger="objnerf"):
        loop.train(data / "blocks", tmp_path / "run", parse_recipe(content, where="x"))
    warnings = [record.getMessage() for record in caplog.records if "Advice" in record.getMessage()]
    assert len(warnings) == 1
    assert "foreground eats background" in warnings[0]
    assert "the background explains them" in warnings[0]


def test_restarts_from_another_seed(
    data: Path,
    small: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """Two attempts die, the third lives: two restarts, said aloud, and the run has all of its steps."""
    monkeypatch.setattr(context, "build_model", spoiling(kill_foreground, attempts=2))
    monitor = {"grace": 10, "window": 10, "restarts": 2}
    with caplog.at_level(logging.WARNING, logger="objnerf"):
        run_spoiled(data, tmp_path / "run", small, {}, monitor, steps=40)
    assert [f"restart {n} of at most 2" in caplog.text for n in (1, 2)] == [True, True]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    attempts = [line["attempt"] for line in lines if "attempt" in line]
    assert attempts == sorted(attempts)
    assert set(attempts) == {0, 1, 2}
    state = json.loads((tmp_path / "run" / "checkpoints" / "last.json").read_text())
    assert (state["step"], state["attempt"]) == (40, 2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_healthy_runs_raise_no_alarm(seed: int, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """The recipe tiny, smaller, beyond the grace period and a window."""
    recipe = parse_recipe(small_volumes(seed, steps=500), where="x")
    with caplog.at_level(logging.WARNING, logger="objnerf"):
        loop.train(data / "blocks", tmp_path / "run", recipe)
    assert not [record for record in caplog.records if "Advice" in record.getMessage()]
