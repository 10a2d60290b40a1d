"""How pictures of a preset look, in figures, beside those of the published set.

    python benchmarks/look.py                              # 12 scenes of clevr-567
    python benchmarks/look.py --preset room-diverse
    python benchmarks/look.py --dataset data/rooms         # pictures that are there already

brightest   brightest channel of saturated pixels, 8-bit: 10th, 50th and 90th percentile
saturation  their median HSV saturation
clipped     share of the background's pixels that have a channel at 255
darkest     brightest channel of the background's pixels, 8-bit: 2nd percentile, lowest over the views

A pixel is saturated when its HSV saturation is above 0.3: coloured objects are, grey ones and a grey floor
are not.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from generation.jobs import Workers, generate_dataset
from generation.plan.request import build_request
from objnerf.dataset import open_dataset

SATURATED = 0.3

#: uORF's CLEVR-567, measured on its pictures; nothing of the kind is known of the other sets.
PUBLISHED = {"clevr-567": {"brightest": [78, 108, 139], "saturation": 0.54}}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="clevr-567")
    parser.add_argument("--dataset", type=Path, help="measure this one; default: render one of the preset")
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.dataset is not None:
        print(json.dumps({"ours": measure(arguments.dataset)}, indent=2))
        return
    with tempfile.TemporaryDirectory(prefix="objnerf-look-") as folder:
        request = build_request(
            arguments.preset,
            scenes=arguments.scenes,
            views=2,
            size=(128, 96),
            passes=["mask"],
            seed=arguments.seed,
        )
        generate_dataset(request, Path(folder) / "d", workers=Workers(1)).raise_failures()
        figures = {"ours": measure(Path(folder) / "d"), "published": PUBLISHED.get(arguments.preset)}
    print(json.dumps(figures, indent=2))


def measure(root: Path) -> dict[str, object]:
    """The figures of a dataset with masks."""
    pixels, clipped, darkest = [], [], []
    for view in open_dataset(root).views():
        image = view.image()
        background = image[view.labels() == 0].max(axis=-1)
        pixels.append(image.reshape(-1, 3).astype(np.float64))
        clipped.append(float((background == 255).mean()))
        darkest.append(float(np.percentile(background, 2)))
    every = np.concatenate(pixels)
    brightest, least = every.max(axis=1), every.min(axis=1)
    saturation = (brightest - least) / np.maximum(brightest, 1)
    chosen = saturation > SATURATED
    return {
        "brightest": np.percentile(brightest[chosen], [10, 50, 90]).round().astype(int).tolist(),
        "saturation": round(float(np.median(saturation[chosen])), 2),
        "clipped": round(float(np.mean(clipped)), 4),
        "darkest": min(darkest),
    }


if __name__ == "__main__":
    main()
