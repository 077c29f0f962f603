"""Time the search for near duplicates on made-up difference hashes, and tell its peak memory.

    python benchmarks/near_duplicates.py frames|distinct IMAGES

`frames` are of one scene, each without 2 % of its steps; of `distinct` images the shares of lighter
and darker steps differ.
"""

import resource
import sys
import time
from pathlib import Path

import numpy as np

from tf_frcnn.doctor.duplicates import GRID, ImageFacts, find_duplicates

STEPS = 2 * GRID**2


def draw(kind: str, random: np.random.Generator, scene: np.ndarray) -> np.ndarray:
    """Draw the [STEPS] int8 difference hash of an image."""
    if kind == "frames":
        row, places = scene.copy(), np.flatnonzero(scene)
        row[random.choice(places, len(places) // 50, replace=False)] = 0
        return row
    values = random.normal(random.normal(0, 0.5), 1, STEPS)
    return np.where(np.abs(values) < 0.5, 0, np.sign(values)).astype(np.int8)


def main() -> None:
    """Draw, search, and print."""
    kind, count = sys.argv[1], int(sys.argv[2])
    random = np.random.default_rng(0)
    scene = random.choice([-1, 0, 1], STEPS, p=(0.3, 0.4, 0.3)).astype(np.int8)
    facts = {
        Path(f"{number}.png"): ImageFacts("", str(number), draw(kind, random, scene))
        for number in range(count)
    }
    start = time.process_time()
    _, groups = find_duplicates({"train": list(facts)}, facts)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{kind} {count}: {len(groups)} groups, {seconds:.1f} s, {peak:.0f} MiB")


if __name__ == "__main__":
    main()
