"""Workers wait for each other here, before TensorFlow does.

While TensorFlow waits for the other workers no Python runs: no signal is heeded, and nobody is told
who is missing. When all have met here, its own wait is short.
"""

import logging
import socket
import time

from tf_frcnn.errors import UserError
from tf_frcnn.training.cluster import VARIABLE, Cluster

logger = logging.getLogger(__name__)

# Seconds between two tries, for one answer, and between two messages.
INTERVAL, TIMEOUT, MESSAGE_EVERY = 0.5, 5.0, 60.0


def wait_for_workers(
    cluster: Cluster, interval: float = INTERVAL, message_every: float = MESSAGE_EVERY
) -> None:
    """Listen on this worker's own port until every other worker has answered on its own.

    Who has answered once counts as there: it may have gone on, to listen on the same port with
    TensorFlow, which answers those that are still here.

    Args:
        cluster: of the job.
        interval: seconds between two tries.
        message_every: seconds between two messages that say who is missing.

    Raises:
        UserError: this worker cannot listen on its port; most often another process has it.
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
    """Listen where TensorFlow will: on the port of an address, on all interfaces.

    Raises:
        UserError: the port is taken, or there is none of this number.
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
    except (OSError, OverflowError):  # the machine may not have a name yet
        return False
    return True
