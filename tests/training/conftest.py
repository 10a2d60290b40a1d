"""A dataset whose pictures say which pixel of which view they are, and recipes small enough for tests."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from objnerf.dataset.cameras import look_at
from objnerf.dataset.files import write_image, write_matrix
from objnerf.dataset.names import make_view_stem
from objnerf.training.recipe import Recipe
from objnerf.training.recipe_files import parse_recipe

WIDTH, HEIGHT, SCENES, VIEWS = 32, 24, 6, 3


@pytest.fixture(scope="session")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 scenes of 3 views, 32 × 24: red is 7 · column, green 9 · row, blue 10 · (3 · scene + view)."""
    root = tmp_path_factory.mktemp("coded")
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for scene in range(SCENES):
        for view in range(VIEWS):
            index = scene * VIEWS + view
            stem = make_view_stem(index, scene, view, SCENES)
            blue = np.full_like(rows, 10 * index)
            write_image(root / f"{stem}.png", np.stack([7 * columns, 9 * rows, blue], -1).astype(np.uint8))
            angle = 0.3 + 2.1 * index
            position = np.array([9.5 * np.cos(angle), 9.5 * np.sin(angle), 8.0])
            write_matrix(root / f"{stem}_RT.txt", look_at(position, np.zeros(3)))
    return root


@pytest.fixture
def small() -> dict[str, Any]:
    """The content of a recipe that takes a step in some milliseconds; to be changed by tests."""
    return {
        "name": "small",
        "model": {"kind": "uorf", "num_slots": 3, "z_dim": 8, "n_freq": 2, "n_layers": 1},
        "input_size": [16, 16],
        "clock": "step",
        "stages": [{"name": "only", "until": 12, "size": [32, 24], "supervision": "rays", "rays": 16}],
        "batch": {"scenes": 2, "views": 2},
        "sampling": {"samples": 6, "jitter": True},
        "optimiser": {"lr": 1e-2, "clip": 1.0},
        "schedule": {"warmup_steps": 4, "attn_decay_steps": 10},
        "held_out": {"scenes": 1},
        "evaluation": {"every": 0, "scenes": 1, "size": [16, 12], "samples": 6},
        "saving": {"log_every": 1, "checkpoint_every": 1000, "tensorboard": False},
    }


@pytest.fixture
def small_volumes(small: dict[str, Any]) -> dict[str, Any]:
    """The same for object volumes, whose views are all inputs."""
    small["model"] = {"kind": "volumes", "num_slots": 3, "width": 16, "outline_width": 16}
    small["model"] |= {"cells": 12, "layers": 4}
    small["stages"][0]["supervision"] = "novel"
    return small


@pytest.fixture
def small_recipe(small: dict[str, Any]) -> Recipe:
    return parse_recipe(small, where="the test's recipe")
