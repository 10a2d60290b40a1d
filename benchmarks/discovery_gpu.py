"""Discovery on one GPU: throughput, memory, quality against wall clock; ``fast`` beside the faithful uORF.

    python benchmarks/discovery_gpu.py DATASET                                  # 1, 3, 10 and 30 minutes each
    python benchmarks/discovery_gpu.py DATASET --minutes 10 --contenders fast   # a single point
    python benchmarks/discovery_gpu.py DATASET --device cpu --recipe tiny ...   # tries the script, no figures

DATASET is a generated set or a published one. Every point is a run of its own, trained for that long (the
learning rate cools over the time given) and scored on the held-out scenes. The faithful recipe is taken as
published for the dataset (``--reference``), with scenes held out so that it can be scored too.

Writes OUT/discovery_gpu.json (the device, every run, throughput) and OUT/discovery_gpu.html, quality over
wall clock, that opens offline.
"""

import argparse
import json
import logging
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import torch
from discovery import FIGURES, Run, table, train_and_score  # type: ignore[import-not-found]
from plotly.subplots import make_subplots

from objnerf.dataset.files import atomic_path
from objnerf.dataset.index import Dataset, open_dataset
from objnerf.training.loop import RunOptions, train
from objnerf.training.recipe import Recipe
from objnerf.training.recipe_files import load_recipe

_log = logging.getLogger("discovery_gpu")


@dataclass(frozen=True)
class Throughput:
    """What a recipe costs, a step, after the first ones."""

    recipe: str
    replayed: bool
    """Whether the recipe has steps replayed, where the model and the device allow that."""
    steps: int
    step_seconds: float
    rays_per_second: float
    samples_per_second: float
    """Points on rays; a model may decode fewer of them, or several slots in each."""
    peak_memory_gib: float | None
    """Allocated on the GPU; None on a CPU."""


def read_recipe(name: str, dataset: Dataset, held_out: int | None, assignments: Sequence[str]) -> Recipe:
    """A recipe with what the dataset says about its scale, scenes held out, and no files but the needed."""
    overrides: list[tuple[str, Any]] = [("saving.tensorboard", False), ("evaluation.every", 0)]
    if held_out is not None:
        overrides.append(("held_out.scenes", held_out))
    for assignment in assignments:
        key, _, value = assignment.partition("=")
        overrides.append((key, json.loads(value)))
    return load_recipe(name, dataset_scale=dataset.stated_scale(), overrides=overrides)


def measure_throughput(recipe: Recipe, dataset: Dataset, out: Path, device: str, steps: int) -> Throughput:
    """Time some steps after a third as many, which compile and warm up; of the recipe's first stage."""
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    started: list[float] = []
    done, first = 0, max(1, steps // 3)

    def stop() -> bool:
        nonlocal done
        done += 1
        if done in (first, first + steps):
            if cuda:
                torch.cuda.synchronize()
            started.append(time.perf_counter())
        return len(started) == 2

    quiet = recipe.model_copy(
        update={"saving": recipe.saving.model_copy(update={"log_every": 10**9, "checkpoint_every": 10**9})}
    )
    train(dataset.root, out, quiet, RunOptions(device=device, stop=stop))
    seconds = (started[1] - started[0]) / steps
    stage = recipe.stages[0]
    pixels = stage.size[0] * stage.size[1] if stage.supervision == "images" else stage.patch**2
    rays = stage.rays if stage.supervision == "rays" else pixels * recipe.batch.views
    rays_per_second = rays * recipe.batch.scenes * recipe.batch.accumulate / seconds
    return Throughput(
        recipe=recipe.name,
        replayed=recipe.record,
        steps=steps,
        step_seconds=seconds,
        rays_per_second=rays_per_second,
        samples_per_second=rays_per_second * recipe.sampling.samples,
        peak_memory_gib=torch.cuda.max_memory_allocated() / 2**30 if cuda else None,
    )


def plot(runs: Sequence[Run], title: str) -> go.Figure:
    """Each figure over the minutes, a line a recipe, a dot a run."""
    figure = make_subplots(
        rows=1, cols=len(FIGURES), subplot_titles=[name.replace("_", "-") for name in FIGURES]
    )
    colours = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd"]
    for number, contender in enumerate(dict.fromkeys(run.contender for run in runs)):
        own = sorted((run for run in runs if run.contender == contender), key=lambda run: run.minutes)
        for column, name in enumerate(FIGURES, start=1):
            figure.add_trace(
                go.Scatter(
                    x=[run.minutes for run in own],
                    y=[run.mean[name] for run in own],
                    name=contender,
                    mode="lines+markers",
                    line={"color": colours[number % len(colours)]},
                    showlegend=column == 1,
                ),
                row=1,
                col=column,
            )
    figure.update_xaxes(type="log", title_text="minutes")
    figure.update_layout(title=title, template="plotly_white", height=420, width=320 * len(FIGURES))
    return figure


def machine(device: str) -> dict[str, Any]:
    """What the figures were measured on."""
    name = platform.processor() or platform.machine()
    if device.startswith("cuda"):
        name = torch.cuda.get_device_name()
    return {
        "device": name,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "date": time.strftime("%Y-%m-%d"),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--recipe", default="fast", help="the fast recipe, or a file")
    parser.add_argument("--reference", default="uorf_clevr_567", help="the faithful recipe of the dataset")
    parser.add_argument(
        "--contenders", nargs="+", choices=["fast", "reference"], default=["fast", "reference"]
    )
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0, 3.0, 10.0, 30.0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--held-out", type=int, default=16, help="number of scenes to hold out")
    parser.add_argument("--steps", type=int, default=60, help="steps to time")
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--set",
        dest="assignments",
        action="append",
        default=[],
        metavar="KEY=JSON",
        help="change a key of every recipe",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/discovery_gpu"))
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("no CUDA device here; --device cpu tries the script, but measures nothing of interest")
    dataset = open_dataset(args.dataset)
    names = {"fast": args.recipe, "reference": args.reference}
    throughputs: list[Throughput] = []
    runs: list[Run] = []
    page = f"Discovery on {machine(args.device)['device']}, {len(dataset.scenes)} scenes"
    for contender in args.contenders:
        recipe = read_recipe(
            names[contender], dataset, args.held_out, [*args.assignments, f"seed={args.seed}"]
        )
        one_by_one = recipe.model_copy(update={"record": False})
        for number, timed in enumerate([recipe, one_by_one] if contender == "fast" else [recipe]):
            timing = args.out / f"{contender}-timing-{number}"
            throughputs.append(measure_throughput(timed, dataset, timing, args.device, args.steps))
            _log.info("%s", throughputs[-1])
        for minutes in sorted(args.minutes):
            out = args.out / f"{contender}-{minutes:g}min"
            run, _ = train_and_score(contender, recipe, dataset, out, minutes=minutes, device=args.device)
            runs.append(run)
            # Written after every run: a long benchmark that is cut short leaves what it has.
            report = {
                "machine": machine(args.device),
                "dataset": {"scenes": len(dataset.scenes), "views": dataset.n_views},
                "throughput": [asdict(each) for each in throughputs],
                "runs": [asdict(each) for each in runs],
            }
            with atomic_path(args.out / "discovery_gpu.json") as path:
                path.write_text(json.dumps(report, indent=1))
            with atomic_path(args.out / "discovery_gpu.html") as path:
                path.write_text(plot(runs, page).to_html(include_plotlyjs=True, full_html=True))
    print(table(runs))


if __name__ == "__main__":
    main()
