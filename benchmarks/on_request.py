"""Work that is done and timed on request: what a process that `in_turn.py` calls does."""

import resource
import sys
import time
from collections.abc import Callable
from typing import Any


def answer(description: str, work: Callable[[], Any]) -> None:
    """Say what this is, then answer each line on the input: seconds of a call, peak memory in MiB.

    Args:
        description: a line, once all is loaded.
        work: what is timed; returns only when it is done.
    """
    print(description, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        work()
        seconds = time.perf_counter() - start
        print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)
