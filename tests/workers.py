"""Starts `train.py` in processes of its own: a single one, or workers of one job over loopback."""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np

ROOT = Path(__file__).parents[1]
# Every anchor becomes a proposal and every proposal is sampled. Which of two proposals with nearly
# the same score comes first would else depend on the last digit of the features, and sums over two
# halves of a batch have other last digits than sums over the whole.
EVERY_PROPOSAL = (
    *("--model.rpn-nms-iou", "1.0", "--train.rpn-pre-nms-top-k", "1000"),
    *("--train.rpn-post-nms-top-k", "1000", "--train.roi-batch-size", "1024"),
    *("--train.roi-positive-fraction", "1.0"),
)
# Gradients of the first layers are sums over all pixels, which another order of additions changes:
# in ten steps their weights differ by 2e-5 to 3e-4, those of the others by less than 1e-5.
FROZEN_BLOCKS = ("--train.frozen-layers", "block1", "block2")


def start_train(options, folder, tf_config=None):
    """Start `train.py` with a working folder -> the process; its output is captured."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    environment.pop("TF_CONFIG", None)
    if tf_config is not None:
        environment["TF_CONFIG"] = json.dumps(tf_config)
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *map(str, options)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def find_free_ports(count):
    """Find ports of this machine that nothing listens on."""
    with ExitStack() as sockets:  # held together, so that no port is found twice
        listeners = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]


def start_worker(options, folder, ports, index):
    """Start one worker of a job whose workers listen on these ports -> its process."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    options = [*options, "--distribution.strategy", "multiworker"]
    return start_train(
        options, folder, {"cluster": cluster, "task": {"type": "worker", "index": index}}
    )


def start_workers(options, folder, count=2):
    """Start a job of several workers -> their processes, the chief first."""
    ports = find_free_ports(count)
    return [start_worker(options, folder, ports, index) for index in range(count)]


def finish(processes, timeout=900):
    """Wait for processes -> (exit status, output) of each; kill what does not end."""
    try:
        outputs = [process.communicate(timeout=timeout)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [
        (process.returncode, output) for process, output in zip(processes, outputs, strict=True)
    ]


def read_checkpoint(path):
    """Read the arrays of a checkpoint: weights and optimiser, not what callbacks remember."""
    arrays = {}

    def collect(name, item):
        if isinstance(item, h5py.Dataset) and name.startswith(("weights/", "optimizer/")):
            arrays[name] = np.asarray(item)

    with h5py.File(path, "r") as file:
        file.visititems(collect)
    return arrays


def difference(values, expected):
    """Give the largest difference of two arrays, in units of the largest number, or of 1.

    The averages of batch normalisation are as large as what they are averages of: thousands.
    """
    return float(np.max(np.abs(values - expected)) / max(float(np.max(np.abs(expected))), 1.0))
