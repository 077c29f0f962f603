"""The machines of a training with several workers, as the variable TF_CONFIG lists them."""

import json
import os
from dataclasses import dataclass
from typing import Any

from tf_frcnn.errors import UserError

VARIABLE = "TF_CONFIG"
# Jobs that train, in the order in which TensorFlow counts their tasks.
JOBS = ("chief", "worker")
EXAMPLE = (
    '{"cluster": {"worker": ["10.0.0.1:12345", "10.0.0.2:12345"]}, '
    '"task": {"type": "worker", "index": 0}}'
)


@dataclass(frozen=True)
class Cluster:
    """All workers of a training, and which of them this process is.

    Attributes:
        tasks: (job, index in the job, HOST:PORT) of each worker; the first is the chief.
        worker: number of this process among them.
    """

    tasks: tuple[tuple[str, int, str], ...]
    worker: int


def read_cluster() -> Cluster:
    """Read TF_CONFIG.

    Raises:
        UserError: it is not set, or is not what TensorFlow expects.
    """
    text = os.environ.get(VARIABLE, "")
    if not text:
        raise _error("is not set")
    try:
        config = json.loads(text)
    except ValueError as error:
        raise _error(f"is no JSON ({error}): {text}") from None
    if not isinstance(config, dict):
        raise _error(f"is no JSON object: {text}")
    tasks = _read_tasks(config.get("cluster"))
    task = config.get("task")
    if not isinstance(task, dict):
        raise _error(f"has the task {task!r}, not an object with type and index")
    kind, index = task.get("type"), task.get("index")
    for worker, (job, number, _) in enumerate(tasks):
        if job == kind and not isinstance(index, bool) and str(number) == str(index):
            return Cluster(tasks, worker)
    known = ", ".join(f"{job} {number}" for job, number, _ in tasks)
    raise _error(f"has the task {kind} {index}, but the cluster's are {known}")


def _read_tasks(cluster: Any) -> tuple[tuple[str, int, str], ...]:
    if not isinstance(cluster, dict) or not cluster:
        raise _error(f"has the cluster {cluster!r}, not an object with a list of workers")
    unknown = sorted(set(cluster) - set(JOBS))
    if unknown:
        raise _error(f"has tasks of the type {unknown[0]}; only {' and '.join(JOBS)} can train")
    tasks = []
    for job in JOBS:
        addresses = cluster.get(job, [])
        if not isinstance(addresses, list):
            raise _error(f"has {addresses!r} as {job}, not a list of HOST:PORT")
        for index, address in enumerate(addresses):
            if not isinstance(address, str) or not address.rpartition(":")[2].isdecimal():
                raise _error(f"has the address {address!r} as {job} {index}, not HOST:PORT")
            tasks.append((job, index, address))
    if not tasks:
        raise _error("has a cluster without workers")
    return tuple(tasks)


def _error(problem: str) -> UserError:
    return UserError(
        f"--distribution.strategy multiworker: the environment variable {VARIABLE} {problem}. "
        f"Expected on every machine the same addresses, and its own place among them: {EXAMPLE}."
    )
