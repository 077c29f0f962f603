"""The workers of a training, as the variable TF_CONFIG lists them, and how they find each other.

Workers wait for each other here before TensorFlow does. While TensorFlow waits for other workers no
Python code runs: signals are not handled, and nobody is told who is missing. Once all workers have
answered here, its own wait is short.
"""

import json
import logging
import os
import socket
import time
from dataclasses import dataclass
from typing import Any

from tf_frcnn.errors import UserError

logger = logging.getLogger(__name__)

VARIABLE = "TF_CONFIG"
# The jobs that train, in the order in which TensorFlow numbers their tasks.
JOBS = ("chief", "worker")
EXAMPLE = (
    '{"cluster": {"worker": ["10.0.0.1:12345", "10.0.0.2:12345"]}, '
    '"task": {"type": "worker", "index": 0}}'
)
# Seconds between two tries, until a try fails, and between two messages.
INTERVAL, TIMEOUT, MESSAGE_EVERY = 0.5, 5.0, 60.0


@dataclass(frozen=True)
class Cluster:
    """All workers of a training, and which one this process is.

    Attributes:
        tasks: (job, index in the job, HOST:PORT) of each worker; the first is the chief.
        worker: this process, as an index into `tasks`.
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


def wait_for_workers(
    cluster: Cluster, interval: float = INTERVAL, message_every: float = MESSAGE_EVERY
) -> None:
    """Listen on this worker's port until every other worker has answered on its own port.

    One answer is enough. A worker that has heard from all others goes on and listens on the same
    port with TensorFlow, which answers those that still wait.

    Args:
        cluster: of the job.
        interval: seconds between two tries.
        message_every: seconds between two messages that name the missing workers.

    Raises:
        UserError: this worker cannot listen on its port, mostly because another process does.
    """
    addresses = {
        f"{job} {index} at {address}": address
        for number, (job, index, address) in enumerate(cluster.tasks)
        if number != cluster.worker
    }
    with listen(cluster.tasks[cluster.worker][2]):
        said = time.monotonic()
        while True:
            addresses = {name: a for name, a in addresses.items() if not _answers(a)}
            if not addresses:
                return
            if time.monotonic() - said >= message_every:
                logger.info("still waiting for %s", ", ".join(addresses))
                said = time.monotonic()
            time.sleep(interval)


def listen(address: str) -> socket.socket:
    """Listen as TensorFlow will: on the port of an address, on all interfaces.

    Raises:
        UserError: the port is taken, or its number is too large.
    """
    port = int(address.rpartition(":")[2])
    both = socket.has_dualstack_ipv6()
    try:
        return socket.create_server(
            ("", port),
            family=socket.AF_INET6 if both else socket.AF_INET,
            dualstack_ipv6=both,
        )
    except (OSError, OverflowError) as error:
        raise UserError(
            f"{VARIABLE}: port {port} of {address}, this worker's own, cannot be listened on "
            f"({getattr(error, 'strerror', None) or error}). End the process that has it, an "
            "earlier worker perhaps, or give another port on all machines."
        ) from None


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), TIMEOUT).close()
    except (OSError, OverflowError):  # the name of the machine may not be known yet
        return False
    return True
