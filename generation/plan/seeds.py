"""One random generator a purpose: what one part of a plan draws never shifts what another part draws."""

from enum import IntEnum

import numpy as np

from generation.plan.preset import Split


class Stream(IntEnum):
    """What a generator is for."""

    OBJECTS = 1
    PLACEMENT = 2
    CAMERAS = 3
    ROOM = 4
    LIGHTS = 5
    RENDER = 6
    EDITS = 7


def stream_rng(seed: int, scene: int, stream: Stream, split: Split, attempt: int) -> np.random.Generator:
    """The generator of one purpose in one attempt at a scene.

    Args:
        seed: the dataset's; 0 is a seed.
        scene: id of the scene.
        stream: the purpose.
        split: train and test scenes share no generator.
        attempt: 0 for the first plan of a scene, 1 for the one that replaces it, …
    """
    entropy = [seed, scene, int(stream), 0 if split == "train" else 1, attempt]
    return np.random.default_rng(np.random.SeedSequence(entropy))
