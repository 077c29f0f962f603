"""A worker that is gone ends the job on all others, with a message and an exit status.

Without that they would hang. Some 20 s after a worker has stopped answering, TensorFlow aborts what
the workers compute together; `lost_workers_noticed` turns that into a message. While a worker
computes by itself for minutes (it checks the data, or detects on its share), there is nothing to
abort: then `PeerWatch` notices.
"""

import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf
from tensorflow.python.eager import context  # has the health check of other tasks

from tf_frcnn.errors import WorkerLostError
from tf_frcnn.training.cluster import Cluster

logger = logging.getLogger(__name__)

# What operations of several workers raise when they are aborted.
_ABORTED = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
)
# A peer is gone when it has not answered TRIES times, INTERVAL seconds apart. GRACE seconds later
# the process ends, unless the main thread has noticed by itself.
TRIES, INTERVAL, GRACE = 3, 10.0, 30.0


@contextmanager
def lost_workers_noticed(cluster: Cluster | None) -> Iterator[None]:
    """Turn what TensorFlow raises when a worker is lost into a `WorkerLostError`.

    Args:
        cluster: of the job; None leaves all errors as they are.

    Raises:
        WorkerLostError: another worker is gone.
    """
    try:
        yield
    except _ABORTED as error:
        if cluster is None:
            raise
        raise WorkerLostError(_describe_loss(cluster, str(error))) from None


class PeerWatch:
    """Asks the other workers again and again whether they answer; ends the process if one does not.

    Args of `__init__`: the `cluster`; `interval` and `grace` in seconds.
    """

    def __init__(self, cluster: Cluster, interval: float = INTERVAL, grace: float = GRACE) -> None:
        self._cluster = cluster
        self._interval = interval
        self._grace = grace
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def stop(self) -> None:
        """Stop asking, before the workers leave one by one."""
        self._stopped.set()

    def _watch(self) -> None:
        names = [f"/job:{job}/replica:0/task:{index}" for job, index, _ in self._cluster.tasks]
        del names[self._cluster.worker]
        failures = dict.fromkeys(names, 0)
        while not self._stopped.wait(self._interval):
            for name in names:
                failures[name] = 0 if self._answers(name) else failures[name] + 1
                if failures[name] == TRIES:
                    self._end(name)
                    return

    def _answers(self, name: str) -> bool:
        try:
            context.context().check_collective_ops_peer_health(name, int(1000 * self._interval))
        except tf.errors.OpError:
            return False
        return True

    def _end(self, name: str) -> None:
        if self._stopped.wait(self._grace):
            return
        logger.error("error: %s", _describe_loss(self._cluster, name))
        for handler in logging.getLogger("tf_frcnn").handlers:
            handler.flush()
        os._exit(WorkerLostError.exit_status)  # the main thread may be inside TensorFlow


def _describe_loss(cluster: Cluster, said: str) -> str:
    """Write the message: which worker, if TensorFlow's error names it, and what to do."""
    named = {
        f"{job} {index} at {address}"
        for job, index, address in cluster.tasks
        if re.search(rf"/job:{job}(/replica:0)?/task:{index}\b", said)
    }
    own_job, own_index, own_address = cluster.tasks[cluster.worker]
    others = sorted(named - {f"{own_job} {own_index} at {own_address}"})
    who = " or ".join(others) if others else f"one of the {len(cluster.tasks)} workers"
    return (
        f"{who} does not answer any more, and no worker can go on alone. Its own log says why it "
        "ended. Start all workers again with the same command: they go on from the last "
        "checkpoint."
    )
