"""Discovery on a CPU: how well objects are found after a fixed number of minutes, RGB only.

    python benchmarks/discovery.py DATASET                            # tiny and uorf, 15 minutes, seeds 0 1 2
    python benchmarks/discovery.py DATASET --contenders tiny --seeds 0 --minutes 6
    python benchmarks/discovery.py DATASET --contenders tiny --steps 1200 --set optimiser.kind=adam

Every run is what ``objnerf train DATASET --recipe … --max-minutes …`` does, scored like ``objnerf evaluate``
on the scenes that were held out. ``uorf`` is the faithful recipe with tiny's number of slots and at tiny's
size of pictures, whole images, without the perceptual loss, which it would not reach in that time.
``--steps`` trains for so many steps instead of minutes, the learning rate cooling down to the last of them,
so that the metrics do not depend on the machine's speed.

Prints a Markdown table, one line a run and one for the means, and what happens in scenes that are harder:
more objects than most, objects that touch in the picture, slots left over. Leave the machine alone meanwhile.
"""

import argparse
import json
import logging
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from scipy import ndimage

from objnerf.console import progress_bar
from objnerf.dataset.files import atomic_path
from objnerf.dataset.index import Dataset, Scene, open_dataset
from objnerf.evaluation.evaluate import Evaluation, evaluate_run, open_run
from objnerf.training.loop import RunOptions, train
from objnerf.training.recipe import Recipe
from objnerf.training.recipe_files import load_recipe, parse_assignment

FIGURES = ("fg_ari", "nv_ari", "nv_fg_ari", "ari", "psnr", "ref_ari", "ref_fg_ari", "ref_nv_ari")
"""With occlusion; then as uORF counts, each slot rendered alone."""


@dataclass(frozen=True)
class Run:
    """One run and its scores on held-out scenes."""

    contender: str
    seed: int
    minutes: float
    steps: int
    seconds: float
    """Of training, from the first step to the last."""
    mean: dict[str, float | None]
    by_kind: dict[str, dict[str, float]]
    """FG-ARI and number of scenes for each kind of scene."""


def contender_recipe(name: str, dataset: Dataset, assignments: Sequence[tuple[str, Any]] = ()) -> Recipe:
    """The recipe of a contender: one of the package, or ``uorf``, the faithful one at tiny's size."""
    scale = dataset.stated_scale()
    if name != "uorf":
        return load_recipe(name, dataset_scale=scale, overrides=assignments)
    tiny = load_recipe("tiny", dataset_scale=scale)
    size = list(tiny.stages[-1].size)
    return load_recipe(
        "uorf_clevr_567",
        dataset_scale=scale,
        overrides=[
            ("name", "uorf"),
            ("model.num_slots", tiny.model.num_slots),
            ("stages", [{"name": "coarse", "until": 1200, "size": size, "supervision": "images"}]),
            ("perceptual", None),
            ("held_out", tiny.held_out.model_dump()),
            ("evaluation", {"every": 0, "scenes": 1, "size": size, "samples": 64}),
            ("saving", {"log_every": 1, "checkpoint_every": 1000, "tensorboard": False}),
            ("sampling.eval_samples", tiny.sampling.eval_samples),
            *assignments,
        ],
    )


def train_and_score(
    contender: str, recipe: Recipe, dataset: Dataset, out: Path, *, minutes: float | None, device: str
) -> tuple[Run, Evaluation]:
    """Train for some minutes, or all of the recipe's steps, then score the held-out scenes."""
    outcome = train(
        dataset.root, out, recipe, RunOptions(device=device, max_minutes=minutes, bar=progress_bar)
    )
    result = evaluate_run(open_run(out, device, dataset=dataset), dataset)
    run = Run(
        contender=contender,
        seed=recipe.seed,
        minutes=round(outcome.seconds / 60, 1) if minutes is None else minutes,
        steps=outcome.step,
        seconds=round(outcome.seconds, 1),
        mean={figure: result.mean[figure] for figure in FIGURES},
        by_kind=scores_by_kind(result, dataset, recipe.model.num_slots),
    )
    return run, result


def scores_by_kind(result: Evaluation, dataset: Dataset, slots: int) -> dict[str, dict[str, float]]:
    """FG-ARI of scenes with objects that touch in the input view or not, by objects, by slots left over."""
    found: dict[str, list[float]] = {}
    for scores in result.scenes:
        value = scores.figures["fg_ari"]
        if value is None:
            continue
        count = scene_objects(dataset.scenes[scores.scene])
        touching = "touching" if objects_touch(dataset.scenes[scores.scene]) else "apart"
        for kind in (touching, f"{count} objects", f"{slots - 1 - count} empty slots"):
            found.setdefault(kind, []).append(value)
    return {
        kind: {"fg_ari": sum(values) / len(values), "scenes": len(values)}
        for kind, values in sorted(found.items())
    }


def scene_objects(scene: Scene) -> int:
    """Objects that the input view's mask shows."""
    return int(scene.views[0].labels().max())


def objects_touch(scene: Scene) -> bool:
    """Whether two objects of the input view are neighbours in the picture."""
    labels = scene.views[0].labels()
    for label in range(1, labels.max() + 1):
        around = ndimage.binary_dilation(labels == label, iterations=2)
        if ((labels > 0) & (labels != label) & around).any():
            return True
    return False


def table(runs: Sequence[Run]) -> str:
    """Runs as a Markdown table, with a line of means a contender."""
    lines = [
        "| recipe | seed | minutes | steps | FG-ARI | NV-ARI | NV-FG-ARI | ARI | PSNR "
        "| ARI, uORF's | FG-ARI, uORF's | NV-ARI, uORF's |",
        "|" + "---|" * 12,
    ]
    for contender in dict.fromkeys(run.contender for run in runs):
        own = [run for run in runs if run.contender == contender]
        rows: list[tuple[str, Sequence[Run]]] = [(str(run.seed), [run]) for run in own]
        for label, group in [*rows, ("mean", own)] if len(own) > 1 else rows:
            steps = sum(run.steps for run in group) // len(group)
            cells = [contender, label, f"{group[0].minutes:g}", str(steps)]
            for figure in FIGURES:
                values = [value for run in group if (value := run.mean[figure]) is not None]
                digits = 1 if figure == "psnr" else 2
                cells.append(f"{sum(values) / len(values):.{digits}f}" if values else "–")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--contenders", nargs="+", default=["tiny", "uorf"], help="recipes, or uorf")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=15.0)
    length.add_argument("--steps", type=int, help="train for so many steps instead")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--held-out", type=int, help="number of scenes to hold out; the recipe's share if not given"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a value of the recipe; repeatable",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/discovery"), help="folder for the runs")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    dataset = open_dataset(args.dataset)
    runs: list[Run] = []
    for contender in args.contenders:
        for seed in args.seeds:
            chosen: list[tuple[str, Any]] = [("seed", seed)]
            if args.held_out is not None:
                chosen.append(("held_out.scenes", args.held_out))
            if args.steps is not None:
                chosen.append(("stages.0.until", args.steps))
            chosen += [parse_assignment(text) for text in args.set]
            recipe = contender_recipe(contender, dataset, chosen)
            run, _ = train_and_score(
                contender,
                recipe,
                dataset,
                args.out / f"{contender}-{seed}",
                minutes=None if args.steps is not None else args.minutes,
                device="cpu",
            )
            runs.append(run)
            print(json.dumps(asdict(run)), flush=True)
    machine = {"cpu": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    with atomic_path(args.out / "discovery.json") as path:
        path.write_text(json.dumps({"machine": machine, "runs": [asdict(run) for run in runs]}, indent=1))
    print(table(runs))


if __name__ == "__main__":
    main()
