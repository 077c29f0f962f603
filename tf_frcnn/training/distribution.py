"""One device, several devices or several machines: the strategy, and what workers agree on.

A worker is a process; it drives one replica of the model a device. All of them run the same
program, and come to the calls of `Distribution` that say so in the same order. The first worker is
the chief: it alone writes. Everything below is TensorFlow's: `tf.distribute` and its collectives.
"""

import json
import logging
import signal
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np

from tf_frcnn.config import DistributionConfig
from tf_frcnn.devices import grow_gpu_memory
from tf_frcnn.environment import load_tensorflow
from tf_frcnn.errors import ConfigError, UserError, WorkerLostError
from tf_frcnn.training.cluster import Cluster, read_cluster, wait_for_workers

logger = logging.getLogger(__name__)


class Distribution:
    """What a run is spread over.

    TensorFlow is imported when it is first needed, so that a single process can say what is wrong
    with its options without it.

    Args of `__init__`: name of the `strategy`, and the `cluster` of several workers.
    """

    def __init__(self, strategy: str = "none", cluster: Cluster | None = None) -> None:
        self._name = strategy
        self._cluster = cluster
        self.worker = 0 if cluster is None else cluster.worker
        self.num_workers = 1 if cluster is None else len(cluster.tasks)
        self._watch: Any = None

    @property
    def is_chief(self) -> bool:
        """Whether this is the worker that writes."""
        return self.worker == 0

    @cached_property
    def strategy(self) -> Any:
        """The `tf.distribute.Strategy`."""
        import tensorflow as tf

        if self._name == "none":
            return tf.distribute.get_strategy()
        if self.num_workers > 1:
            return tf.distribute.MultiWorkerMirroredStrategy()
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        names = [device.name.removeprefix("/device:") for device in devices]
        if len(names) == 1:
            logger.info("%s: there is one device, %s; as without a strategy", self._name, names[0])
            return tf.distribute.get_strategy()
        logger.info("%s: %d replicas on %s", self._name, len(names), ", ".join(names))
        return tf.distribute.MirroredStrategy(names)

    @property
    def num_replicas(self) -> int:
        """Replicas of the model, on all devices of all workers."""
        return self.strategy.num_replicas_in_sync

    @property
    def replicas_per_worker(self) -> int:
        """Replicas that each worker drives."""
        return self.num_replicas // self.num_workers

    def check_batch_size(self, batch_size: int) -> None:
        """See that every replica gets as many images as the others.

        Raises:
            ConfigError: the batch cannot be divided so.
        """
        if batch_size % self.num_replicas:
            raise ConfigError(
                f"--train.batch-size {batch_size}: expected a multiple of {self.num_replicas}, the "
                f"number of replicas ({self.num_workers} workers with {self.replicas_per_worker} "
                "devices each): it is the number of images of all replicas together."
            )

    # === Inside of a step ===

    def run(self, function: Callable[..., Any], batches: Sequence[Any], *shared: Any) -> Any:
        """Run a function of a batch on every replica; in a graph.

        Data sets that TensorFlow distributes would hand over the batches too. But every step would
        begin by asking all workers whether they have one, and taking them down may last half a
        minute.

        Args:
            function: gives a float32 tensor; sums up over the replicas what must be so.
            batches: one for each replica of this worker.
            *shared: further arguments, which all replicas of this worker are given.

        Returns:
            The mean of the tensors over all replicas, the same on every worker: one sum over all.
        """
        if self.num_replicas == 1:
            return function(batches[0], *shared)
        first = self.worker * self.replicas_per_worker
        per_replica = self.strategy.experimental_distribute_values_from_function(
            lambda context: batches[context.replica_id_in_sync_group - first]
        )
        results = self.strategy.run(function, args=(per_replica, *shared))
        return self.strategy.reduce("MEAN", results, axis=None)

    def on_devices(self, steps: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        """Put the batches of each step on the GPUs of its replicas during the step before it.

        Args:
            steps: a batch for each replica of this worker.

        Returns:
            The same; without a GPU, what was given.
        """
        devices = self._gpus()
        if not devices:
            return steps
        from tf_frcnn.training.prefetching import fetch_ahead, put

        return fetch_ahead(steps, lambda batches: put(batches, devices))

    def _gpus(self) -> list[str]:
        """List the GPUs of this worker's replicas, in their order."""
        import tensorflow as tf

        if self.num_replicas > 1:
            devices = self.strategy.extended.worker_devices
        else:
            devices = [device.name for device in tf.config.list_logical_devices("GPU")[:1]]
        return [device for device in devices if "GPU" in device]

    # === Between steps ===

    def merge(self, values: np.ndarray) -> np.ndarray:
        """Add up the arrays of all workers; each of them calls this and gets the sum.

        Args:
            values: [...] float64, of the same shape on every worker; what another worker fills in
                is 0.

        Raises:
            WorkerLostError: another worker is gone.
        """
        if self.num_workers == 1:
            return values
        import tensorflow as tf

        first = self.worker * self.replicas_per_worker  # one of the worker's replicas gives values
        none = np.zeros_like(values)
        shares = self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(
                values if context.replica_id_in_sync_group == first else none, tf.float64
            )
        )
        with self.lost_workers_noticed():
            return self.strategy.reduce("SUM", shares, axis=None).numpy()

    def of_each_worker(self, value: float) -> list[float]:
        """Tell all workers the numbers of each; waits for all of them."""
        numbers = np.zeros(self.num_workers)
        numbers[self.worker] = value
        return self.merge(numbers).tolist()

    def of_chief(self, value: float) -> float:
        """Tell all workers the chief's number; waits for all of them."""
        return self.of_each_worker(value)[0]

    def wait_for_all(self) -> None:
        """Wait until every worker has come to this call.

        Raises:
            WorkerLostError: another worker is gone.
        """
        self.of_each_worker(0)

    def check_same(self, value: Any, what: str, hint: str) -> None:
        """See that all workers have the same.

        Args:
            value: of this worker: a number, or anything that can be written as JSON.
            what: it is, for the message.
            hint: what to do where workers differ.

        Raises:
            UserError: a worker has another one than the chief.
        """
        is_number = isinstance(value, int)
        text = json.dumps(value, sort_keys=True)
        numbers = self.of_each_worker(value if is_number else zlib.crc32(text.encode()))
        for worker, number in enumerate(numbers):
            if number != numbers[0]:
                values = f" ({number:.0f}, expected {numbers[0]:.0f})" if is_number else ""
                raise UserError(
                    f"worker {worker} has another {what} than the chief{values}. {hint}"
                )

    @contextmanager
    def chief_first(self) -> Iterator[None]:
        """Let the chief go through the block before all others."""
        if not self.is_chief:
            self.wait_for_all()
        yield
        if self.is_chief:
            self.wait_for_all()

    @contextmanager
    def lost_workers_noticed(self) -> Iterator[None]:
        """Turn TensorFlow's errors about other workers inside the block into a message.

        Raises:
            WorkerLostError: another worker is gone.
        """
        from tf_frcnn.training.lost_workers import lost_workers_noticed

        with lost_workers_noticed(self._cluster):
            yield

    # === The beginning and the end ===

    def start(self) -> None:
        """Wait until all workers are there, and watch them from then on.

        Raises:
            UserError: this worker's port is taken.
            WorkerLostError: another worker went away again.
        """
        if self._cluster is None or self.num_workers == 1:
            return
        load_tensorflow()
        grow_gpu_memory()
        addresses = ", ".join(address for _, _, address in self._cluster.tasks)
        logger.info("worker %d of %s; waiting for the others", self.worker, addresses)
        wait_for_workers(self._cluster)
        with self.lost_workers_noticed(), _signals_after_tensorflow():
            replicas = self.num_replicas
        logger.info("%d workers, %d replicas", self.num_workers, replicas)
        from tf_frcnn.training.lost_workers import PeerWatch

        self._watch = PeerWatch(self._cluster)

    def finish(self) -> None:
        """Wait until all workers are done; after that each may leave.

        Raises:
            WorkerLostError: the chief is gone. To the chief, who has written everything, it makes
                no difference any more whether the others are there.
        """
        if self._watch is not None:
            self._watch.stop()
        try:
            self.wait_for_all()
        except WorkerLostError as error:
            if not self.is_chief:
                raise
            logger.warning("the run is complete, but %s", error)


@contextmanager
def _signals_after_tensorflow() -> Iterator[None]:
    """Let Ctrl-C end a process inside the block, where TensorFlow waits; then take SIGTERM back.

    Python's own handlers do not run before TensorFlow returns, and it sets one of its own for
    SIGTERM. There is nothing to save yet.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.getsignal(number) for number in numbers]
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)


# A single process on one device, which is what everything is by itself.
ALONE = Distribution()


def join_workers(config: DistributionConfig) -> Distribution:
    """Find out what a run is spread over; with several workers, wait for all of them.

    Raises:
        UserError: TF_CONFIG is missing or wrong.
    """
    if config.strategy != "multiworker":
        return Distribution(config.strategy)
    distribution = Distribution(config.strategy, read_cluster())
    distribution.start()
    return distribution
