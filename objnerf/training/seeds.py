"""Seeds: one stream of random numbers for each purpose, so that none shifts another.

What a step draws depends on the seed, the attempt and the step. So a resumed run needs no generator's state,
and two processes with half the batch each draw what one would.
"""

import numpy as np

# The purposes that randomness is drawn for. Their numbers are part of what a run computes.
ORDER, RAYS, NOISE, INIT = range(4)


def derive_seed(seed: int, attempt: int, stream: int, *more: int) -> int:
    """A 63-bit seed for one purpose of one attempt of a run.

    Args:
        seed: of the recipe.
        attempt: restarts after a collapse, from 0.
        stream: ``ORDER``, ``RAYS``, ``NOISE`` or ``INIT``.
        more: what else distinguishes two draws, such as the step.
    """
    words = np.random.SeedSequence([seed, attempt, stream, *more]).generate_state(2, np.uint32)
    return (int(words[0]) << 31) ^ int(words[1])
