"""Processes that are called in turn, so that a noisy machine slows all of them alike.

A process answers each line on its input with the seconds that one call took and its peak memory so
far, MiB. All are loaded before the first call.
"""

import os
import subprocess
from typing import Any

import numpy as np
from provenance import ROOT


class System:
    """A process that is called in turn with others.

    Args of `__init__`: `command` that starts it; its first line says what it is.
    """

    def __init__(self, command: list[str]) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.description = self._read_line()
        self.peak_mib = 0.0

    def call(self) -> float:
        """Let it work once -> seconds; peak memory is noted."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        seconds, self.peak_mib = map(float, self._read_line().split())
        return seconds

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise SystemExit(f"{' '.join(map(str, self._process.args))}: ended without an answer")  # type: ignore[arg-type]
        return line


def call_in_turn(
    commands: dict[str, list[str]], rounds: int, warm_up: int
) -> dict[str, dict[str, Any]]:
    """Start all systems and call them round by round.

    Args:
        commands: name of a system -> the command that starts it.
        rounds: calls of each that count.
        warm_up: calls of each before them.

    Returns:
        Name -> its `description`, `seconds` of all calls that count, their `median`, the seconds of
        the `first_call`, and `peak_mib`.
    """
    systems = {name: System(command) for name, command in commands.items()}
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for number in range(warm_up + rounds):
        for name, system in systems.items():
            seconds[name].append(system.call())
        print(f"round {number + 1}: ", {k: round(v[-1], 2) for k, v in seconds.items()}, flush=True)
    for system in systems.values():
        system.close()
    return {
        name: {
            "description": systems[name].description,
            "first_call": values[0],
            "median": float(np.median(values[warm_up:])),
            "seconds": values[warm_up:],
            "peak_mib": systems[name].peak_mib,
        }
        for name, values in seconds.items()
    }
