"""`train.py` on two workers over loopback: equal to one process; lost workers; signals."""

import json
import signal
import socket
import time

import pytest

from tests.conftest import write_voc_folder
from tests.workers import (
    EVERY_PROPOSAL,
    FROZEN_BLOCKS,
    difference,
    find_free_ports,
    finish,
    read_checkpoint,
    start_train,
    start_worker,
    start_workers,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Give a working folder with a data set and the options of ten steps."""
    from tests.conftest import TINY_OPTIONS

    folder = tmp_path_factory.mktemp("workers")
    write_voc_folder(folder / "voc")
    options = [*TINY_OPTIONS, *EVERY_PROPOSAL, *FROZEN_BLOCKS]
    options += ["--data.root", "voc", "--train.batch-size", "4"]
    return folder, options


def outputs(name):
    return ["--output", name, "--export-dir", f"exported-{name}"]


def steps(number, every):
    return ["--train.steps", str(number), "--train.checkpoint-every", str(every)]


@pytest.fixture(scope="module")
def alone(place):
    """Train ten steps in one process -> the folder of its run."""
    folder, options = place
    ((status, output),) = finish(
        [start_train([*options, *outputs("alone"), *steps(10, 5)], folder)]
    )
    assert status == 0, output
    return folder / "alone"


def assert_same_run(run, expected):
    """Check weights, optimiser, validation losses and figures of two runs."""
    name = "checkpoints/step-00000010.h5"
    weights, other = read_checkpoint(run / name), read_checkpoint(expected / name)
    assert weights.keys() == other.keys()
    for key, value in other.items():
        assert difference(weights[key], value) < 1e-5, key
    logs = [
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (run, expected)
    ]
    for log in logs:
        for line in log:
            line.pop("seconds_per_step", None)
    last = [[line for line in log if line["step"] == 10] for log in logs]
    for line, expected_line in zip(*last, strict=True):
        assert line == pytest.approx(expected_line, rel=1e-4)
    metrics, figures = (
        json.loads((folder / "metrics.json").read_text()) for folder in (run, expected)
    )
    for key in ("split", "num_pictures", "num_boxes", "voc_ap50_area", "coco_ap", "outcomes"):
        assert metrics[key] == figures[key], key
    found, expected_found = (
        json.loads((folder / "detections.json").read_text()) for folder in (run, expected)
    )
    assert len(found) == len(expected_found) > 0
    assert {one["image_id"] for one in found} == {one["image_id"] for one in expected_found}


def test_two_workers_equal_one_process_and_the_chief_alone_writes(place, alone):
    folder, options = place
    processes = start_workers([*options, *outputs("pair"), *steps(10, 5)], folder)
    (status, chief), (other_status, other) = finish(processes)
    assert (status, other_status) == (0, 0), chief + other
    assert_same_run(folder / "pair", alone)
    names = [{path.name for path in run.iterdir()} for run in (folder / "pair", alone)]
    assert names[0] == names[1]
    assert [path.name for path in (folder / "exported-pair").iterdir()] == ["1"]
    assert len(list((folder / "pair" / "events").iterdir())) == 1
    # Who writes nothing also says nothing of what was written, nor shows a bar.
    assert "pair is finished" in chief and "is finished" not in other
    assert "validation loss" in other and "images/s" not in other


def wait_for(path, processes, seconds=600):
    """Wait for a file that the processes are to write; where they do not, tell what they said."""
    end = time.monotonic() + seconds
    while not path.exists():
        statuses = [process.poll() for process in processes]
        if any(status is not None for status in statuses) or time.monotonic() >= end:
            for process in processes:  # the others would wait for it, and outlive the test
                process.kill()
            outputs = "\n".join(output for _, output in finish(processes))
            pytest.fail(f"{path} is not written; exit statuses {statuses}\n{outputs}")
        time.sleep(0.05)


@pytest.mark.parametrize("lost", [0, pytest.param(1, marks=pytest.mark.release)])
def test_a_lost_worker_ends_the_other_and_the_job_goes_on_later(place, alone, lost):
    folder, options = place
    name = f"lost-{lost}"
    options = [*options, *outputs(name), *steps(10, 5)]
    processes = start_workers(options, folder)
    wait_for(folder / name / "checkpoints" / "step-00000005.h5", processes)
    processes[lost].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    results = finish(processes, timeout=120)
    assert time.monotonic() - killed < 120
    status, output = results[1 - lost]
    assert status == 4, output
    assert f"error: worker {lost} at 127.0.0.1:" in output and "Traceback" not in output
    results = finish(start_workers(options, folder))
    assert [status for status, _ in results] == [0, 0], results
    assert all("going on from the checkpoint of step 5" in output for _, output in results)
    assert_same_run(folder / name, alone)


def test_a_signal_to_one_worker_stops_both_after_the_same_step(place):
    folder, options = place
    processes = start_workers([*options, *outputs("stopped"), *steps(500, 5)], folder)
    wait_for(folder / "stopped" / "checkpoints" / "step-00000005.h5", processes)
    processes[1].send_signal(signal.SIGTERM)
    results = finish(processes, timeout=300)
    assert [status for status, _ in results] == [143, 143], results
    last_lines = [output.splitlines()[-1] for _, output in results]
    assert last_lines[0] == last_lines[1]
    step = int(last_lines[0].split()[3])
    assert (folder / "stopped" / "checkpoints" / f"step-{step:08d}.h5").is_file()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_worker_that_waits_for_one_that_never_comes(place, number):
    folder, options = place
    ports = find_free_ports(2)
    process = start_worker([*options, *outputs("waiting")], folder, ports, 0)
    end = time.monotonic() + 60
    with socket.socket() as probe:
        while probe.connect_ex(("127.0.0.1", ports[0])) != 0:
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.05)
    process.send_signal(number)
    ((status, output),) = finish([process], timeout=30)
    assert status == 128 + number, output
    assert "waiting for the others" in output and not (folder / "waiting").exists()


def test_sigterm_ends_a_worker_between_the_wait_and_the_first_step(place):
    folder, options = place
    processes = start_workers([*options, *outputs("early")], folder)
    wait_for(folder / "early" / "config.json", processes)
    processes[1].send_signal(signal.SIGTERM)
    (status, output), (other_status, other) = finish(processes, timeout=120)
    assert (status, other_status) == (4, 143), output + other
    assert "worker 1 at 127.0.0.1" in output and other.endswith("terminated\n")
