"""Times of repeated runs, and what is said of them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Timing:
    """Seconds of runs that did the same.

    Attributes:
        warm_up: of the runs before, which are not counted: the first arranges the graph.
        seconds: of the others, in their order.
    """

    warm_up: tuple[float, ...]
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median run, in seconds."""
        return float(np.median(self.seconds))

    def describe(self) -> dict[str, Any]:
        """Put it into numbers for JSON, all in seconds."""
        low, median, high = np.quantile(self.seconds, [0.1, 0.5, 0.9])
        return {
            "median": float(median),
            "p10": float(low),
            "p90": float(high),
            "min": min(self.seconds),
            "max": max(self.seconds),
            "runs": len(self.seconds),
            "first": self.warm_up[0] if self.warm_up else None,
        }


def measure(run: Callable[[], Any], num_warm_up: int, num_runs: int) -> Timing:
    """Time runs one by one.

    Args:
        run: does the work, and returns only when it is done.
        num_warm_up: runs before those that count.
        num_runs: runs that count, at least 1.
    """
    seconds = []
    for _ in range(num_warm_up + num_runs):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return Timing(tuple(seconds[:num_warm_up]), tuple(seconds[num_warm_up:]))
