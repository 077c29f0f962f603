"""Workers, played by threads, wait for each other on the ports of their own addresses."""

import logging
import socket
import threading

import pytest

from tests.workers import find_free_ports
from tf_frcnn.errors import UserError
from tf_frcnn.training.cluster import Cluster, listen, wait_for_workers


def make_clusters(addresses):
    tasks = tuple(("worker", number, address) for number, address in enumerate(addresses))
    return [Cluster(tasks, number) for number in range(len(tasks))]


class Arrival(threading.Thread):
    """A worker that waits for the others, and then listens on its port again as TensorFlow does."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.cluster = cluster
        self.gone_on = threading.Event()
        self.over = threading.Event()
        self.start()

    def run(self):
        wait_for_workers(self.cluster, 0.01)
        self.gone_on.set()
        with listen(self.cluster.tasks[self.cluster.worker][2]):
            self.over.wait(30)


def all_have_gone_on(arrivals):
    """Wait for the workers, and let them end."""
    try:
        return all(arrival.gone_on.wait(10) for arrival in arrivals)
    finally:
        for arrival in arrivals:
            arrival.over.set()
            arrival.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_all_go_on_when_the_last_has_come(host):
    first, second, third = make_clusters([f"{host}:{port}" for port in find_free_ports(3)])
    early = [Arrival(first), Arrival(second)]
    assert not any(arrival.gone_on.wait(0.3) for arrival in early)
    assert all_have_gone_on([*early, Arrival(third)])


def test_a_worker_that_has_gone_on_is_not_waited_for_again():
    ports = find_free_ports(3)
    first, *_ = make_clusters([f"127.0.0.1:{port}" for port in ports])
    with socket.create_server(("127.0.0.1", ports[1])) as second:
        waiting = Arrival(first)
        second.accept()[0].close()
    assert not waiting.gone_on.wait(0.3)  # for the third; the second does not listen any more
    with socket.create_server(("127.0.0.1", ports[2])):
        assert all_have_gone_on([waiting])


def test_addresses_of_ipv6_are_understood():
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    clusters = make_clusters([f"[::1]:{port}" for port in find_free_ports(2)])
    assert all_have_gone_on([Arrival(cluster) for cluster in clusters])


def test_who_is_missing_is_said(caplog):
    own, missing = find_free_ports(2)
    addresses = [f"127.0.0.1:{own}", f"127.0.0.1:{missing}", "no-such-machine.invalid:2000"]
    first, *_ = make_clusters(addresses)

    class Enough(Exception):
        pass

    class Listener(logging.Handler):
        def emit(self, record):
            raise Enough(record.getMessage())

    logger, listener = logging.getLogger("tf_frcnn.training.cluster"), Listener()
    logger.addHandler(listener)
    try:
        with caplog.at_level(logging.INFO, "tf_frcnn"), pytest.raises(Enough) as said:
            wait_for_workers(first, interval=0.01, message_every=0.02)
    finally:
        logger.removeHandler(listener)
    assert str(said.value) == (
        f"still waiting for worker 1 at 127.0.0.1:{missing}, "
        "worker 2 at no-such-machine.invalid:2000"
    )
    with socket.create_server(("127.0.0.1", own)):
        pass  # the port is free again


def test_a_port_that_another_process_has_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        first, _ = make_clusters([f"127.0.0.1:{port}", "b:1"])
        with pytest.raises(UserError, match=rf"TF_CONFIG: port {port} of 127.0.0.1:{port}, this w"):
            wait_for_workers(first)


def test_a_port_that_does_not_exist_is_told():
    first, _ = make_clusters(["127.0.0.1:65536", "b:1"])
    with pytest.raises(UserError, match="TF_CONFIG: port 65536 of 127.0.0.1:65536"):
        wait_for_workers(first)
