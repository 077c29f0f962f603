"""Work that is done and timed on request: what a process that `in_turn.py` calls does."""

import resource
import sys
import time
from collections.abc import Callable
from typing import Any


def answer(description: str, work: Callable[[], Any], tell_memory: bool = False) -> None:
    """Say what this is, then answer each line on the input with the seconds that one call took.

    Args:
        description: a line, once all is loaded.
        work: what is timed; returns only when it is done.
        tell_memory: whether to add the peak memory so far, MiB.
    """
    print(description, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        work()
        figures = [time.perf_counter() - start]
        if tell_memory:
            figures.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        print(*figures, flush=True)
