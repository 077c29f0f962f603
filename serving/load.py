"""Load a served model: images per second and latency, at a given number of requests at a time.

A closed loop: each sender sends its next request when its last one is answered. Requests that end
in the warm-up or after the measured time do not count. Latency is what a client sees, from sending
the request to the answer read and checked; requests are written beforehand. Exit status 1 when a
measured request failed.
"""

import itertools
import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import grpc_client
import numpy as np
import rest_client
import tyro
from client import Server, check_timeout, find_images, read_encoded

from tf_frcnn.environment import set_up_logging
from tf_frcnn.errors import EXIT_FINDINGS, EXIT_OK, UserError, run_command
from tf_frcnn.files import write_json

_PAUSE_AFTER_ERROR = 0.1  # seconds, in which a dead server could refuse thousands of requests
_PERCENTILES = (50, 95, 99)

_PROTOCOLS: dict[str, tuple[Callable[..., Server], str]] = {
    "rest": (rest_client.RestServer, rest_client.DEFAULT_SERVER),
    "grpc": (grpc_client.GrpcServer, grpc_client.DEFAULT_SERVER),
}


@dataclass(frozen=True)
class LoadArguments:
    """Everything that the load script takes."""

    inputs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE...")]
    """JPEG and PNG files, folders, globs in quotes; they are sent in turn."""
    protocol: Literal["rest", "grpc"] = "rest"
    """What to speak."""
    server: str = ""
    """Address of the server; by default http://localhost:8501 for REST, localhost:8500 for gRPC."""
    model: str = "quickstart"
    """Name that the model is served by."""
    version: int | None = None
    """Its version; the newest that the server has when not given."""
    concurrency: int = 4
    """Requests at a time."""
    seconds: float = 30.0
    """Measured time."""
    warm_up: float = 5.0
    """Seconds before it, at the same load."""
    batch_size: int = 1
    """Images a request."""
    timeout: float = 60.0
    """Seconds to wait for an answer."""
    output: Path | None = None
    """File for the figures, as JSON."""

    def check(self) -> None:
        """Check what types cannot say.

        Raises:
            UserError: a number is out of its range, or no input was given.
        """
        for option, value in (
            ("--concurrency", self.concurrency),
            ("--batch-size", self.batch_size),
        ):
            if value < 1:
                raise UserError(f"{option} {value}: expected 1 or more.")
        if not 0.0 < self.seconds < float("inf"):
            raise UserError(f"--seconds {self.seconds}: expected a number above 0.")
        if not 0.0 <= self.warm_up < float("inf"):
            raise UserError(f"--warm-up {self.warm_up}: expected 0 or more.")
        check_timeout(self.timeout)
        if not self.inputs:
            raise UserError("no IMAGE was given: expected files, folders or globs.")


@dataclass(frozen=True)
class Sample:
    """A request: when it was sent and answered, in seconds of one clock, and what went wrong."""

    begin: float
    end: float
    error: str | None = None


def drive(send: Callable[[int], object], concurrency: int, seconds: float) -> list[Sample]:
    """Keep a number of requests on their way.

    Args:
        send: is given the number of the request, from 0; raises `UserError` if it fails.
        concurrency: how many at a time.
        seconds: for so long new requests are sent; then those on their way are waited for.

    Returns:
        All requests, in no order.
    """
    numbers = itertools.count()
    stop = threading.Event()
    end = time.perf_counter() + seconds

    def work() -> list[Sample]:
        samples = []
        while (begin := time.perf_counter()) < end and not stop.is_set():
            error = None
            try:
                send(next(numbers))
            except UserError as failure:
                error = str(failure)
            samples.append(Sample(begin, time.perf_counter(), error))
            if error is not None:
                stop.wait(_PAUSE_AFTER_ERROR)
        return samples

    with ThreadPoolExecutor(concurrency) as pool:
        try:
            workers = [pool.submit(work) for _ in range(concurrency)]
            return [sample for worker in workers for sample in worker.result()]
        finally:
            stop.set()  # after Ctrl-C, which would wait for them otherwise


def summarise(
    samples: Sequence[Sample], start: float, seconds: float, batch_size: int
) -> dict[str, Any]:
    """Turn requests into figures.

    Args:
        samples: the requests, in any order.
        start: of the measured time.
        seconds: how long that is.
        batch_size: images a request.

    Returns:
        `requests` that were answered in the measured time, `errors`, `pictures_per_second`, and
        `latency_seconds`: `mean` and percentiles, each the latency of a request (nearest rank).

    Raises:
        UserError: none was answered in that time.
    """
    measured = [sample for sample in samples if start <= sample.end < start + seconds]
    latencies = [sample.end - sample.begin for sample in measured if sample.error is None]
    if not latencies:
        errors = [sample.error for sample in measured if sample.error is not None]
        reason = errors[0] if errors else "All took longer: give more --seconds."
        raise UserError(f"no request was answered in the measured {seconds:g} s. {reason}")
    ranks = np.percentile(latencies, _PERCENTILES, method="inverted_cdf")
    return {
        "requests": len(latencies),
        "errors": len(measured) - len(latencies),
        "pictures_per_second": batch_size * len(latencies) / seconds,
        "latency_seconds": {
            "mean": float(np.mean(latencies)),
            **{f"p{rank}": float(value) for rank, value in zip(_PERCENTILES, ranks, strict=True)},
        },
    }


def measure(arguments: LoadArguments, server: Server, contents: Sequence[bytes]) -> dict[str, Any]:
    """Send images for the given time.

    Args:
        arguments: the options.
        server: the model.
        contents: of the images' files.

    Returns:
        The settings, and the figures of `summarise`.

    Raises:
        UserError: the first request failed, which is sent alone, or all that were measured.
    """
    size = arguments.batch_size
    batches = [
        [contents[(first + offset) % len(contents)] for offset in range(size)]
        for first in range(0, len(contents), size)
    ]
    requests = [server.prepare(batch) for batch in batches]
    server.detect(requests[0], size)

    start = time.perf_counter() + arguments.warm_up
    samples = drive(
        lambda number: server.detect(requests[number % len(requests)], size),
        arguments.concurrency,
        arguments.warm_up + arguments.seconds,
    )
    return {
        "server": server.address,
        "protocol": arguments.protocol,
        "concurrency": arguments.concurrency,
        "seconds": arguments.seconds,
        "warm_up": arguments.warm_up,
        "batch_size": size,
        "pictures": len(contents),
        **summarise(samples, start, arguments.seconds, size),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the figures, keep them, and return the exit status.

    Args:
        argv: arguments without the program's name; the process's own when None.

    Raises:
        UserError: an option cannot be used, an image cannot be read, or the server fails.
    """
    arguments = tyro.cli(LoadArguments, prog="load.py", description=__doc__, args=argv)
    set_up_logging()
    arguments.check()
    paths, _ = find_images(arguments.inputs)
    contents = [read_encoded(path) for path in paths]
    connect, default_server = _PROTOCOLS[arguments.protocol]
    server = connect(
        arguments.server or default_server, arguments.model, arguments.version, arguments.timeout
    )
    figures = measure(arguments, server, contents)
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    if arguments.output is not None:
        write_json(arguments.output, figures)
    return EXIT_FINDINGS if figures["errors"] else EXIT_OK


if __name__ == "__main__":
    sys.exit(run_command(main))
