"""Look for bytes that make a reader raise what it should not.

    python tests/fuzz/fuzz.py                             # all readers, ten seconds each
    python tests/fuzz/fuzz.py --seconds 600 colmap        # those whose name holds "colmap"

With atheris (pip install 'objnerf[fuzz]') the search is guided by what code the bytes reach; without it seeds
are damaged at random. What was found is written to ``fuzz-found/TARGET``. Exit status 1 if anything was.
"""

import argparse
import importlib
import importlib.util
import multiprocessing
import random
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from types import ModuleType

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[2])]

GUIDED = importlib.util.find_spec("atheris") is not None


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="parts of targets' names; all targets without")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--found", type=Path, default=Path("fuzz-found"), help="folder for what was found")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    module = _load_targets()
    with tempfile.TemporaryDirectory() as scratch:
        known = [target.name for target in module.targets(Path(scratch))]
    chosen = [n for n in known if not arguments.names or any(part in n for part in arguments.names)]
    faults = 0
    for name in chosen:
        # A process each: atheris ends the one that it runs in. Forked, since to instrument takes long.
        search = multiprocessing.get_context("fork").Process(
            target=_search, args=(module, name, arguments.seconds, arguments.seed, arguments.found)
        )
        search.start()
        search.join()
        faults += search.exitcode != 0
        print(
            f"{name}: {'nothing found' if search.exitcode == 0 else f'status {search.exitcode}'}", flush=True
        )
    return int(faults > 0)


def _load_targets() -> ModuleType:
    """The targets, their code instrumented for coverage where atheris is installed."""
    if not GUIDED:
        return importlib.import_module("targets")
    import atheris

    with atheris.instrument_imports(include=["objnerf", "generation", "validate", "trimesh"]):
        return importlib.import_module("targets")


def _search(module: ModuleType, name: str, seconds: float, seed: int, found: Path) -> None:
    """Search in this process, and end it."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        target = next(target for target in module.targets(scratch) if target.name == name)

        def one(content: bytes) -> None:
            try:
                target.read(content)
            except module.MESSAGES:
                pass
            except BaseException:
                found.mkdir(parents=True, exist_ok=True)
                (found / name).write_bytes(content)
                traceback.print_exc()
                raise

        for sound in target.seeds:
            target.read(sound)
        if GUIDED:
            import atheris

            corpus = scratch / "corpus"
            corpus.mkdir()
            for number, sound in enumerate(target.seeds):
                (corpus / str(number)).write_bytes(sound)
            options = [f"-max_total_time={max(1, int(seconds))}", f"-seed={seed + 1}", "-rss_limit_mb=4096"]
            options += [
                "-timeout=30",
                f"-artifact_prefix={found}/{name}-",
                "-verbosity=0",
                "-print_final_stats=1",
            ]
            found.mkdir(parents=True, exist_ok=True)
            atheris.Setup([sys.argv[0], *options, str(corpus)], one)
            atheris.Fuzz()
        from mutation import damaged

        rng, end, count = random.Random(seed), time.monotonic() + seconds, 0
        while time.monotonic() < end:
            one(damaged(rng, target.seeds))
            count += 1
        print(f"{name}: {count} inputs", flush=True)


if __name__ == "__main__":
    sys.exit(main())
