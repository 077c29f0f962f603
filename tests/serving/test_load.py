"""The load script: what counts, percentiles by hand, and a closed loop against a stand-in."""

import itertools
import json
import threading
import time

import load
import pytest

from tests.predict.predicting import write_image
from tests.serving.stand_ins import RestStandIn, grpc_stand_in, rest_error, same_row
from tf_frcnn.errors import UserError, run_command


def run(url, *arguments):
    """Run the script in this process -> exit status."""
    arguments = [*map(str, arguments), "--server", url]
    return run_command(lambda: load.main(arguments))


def samples(latencies, begin=100.0):
    """Make requests that were sent at the same time."""
    return [load.Sample(begin, begin + latency) for latency in latencies]


# === Figures ===


def test_figures_by_hand():
    # 20 requests of 0.1 s, 0.2 s, ..., 2 s, of two images each, in 4 s: 20 x 2 / 4 = 10 a second.
    # Nearest rank: 50 % of 20 is the 10th, 95 % the 19th, 99 % is 19.8, so the 20th; the mean is
    # (0.1 + 2) / 2 = 1.05. Times are sums of binary fractions, hence the tolerance.
    latencies = [0.1 * number for number in range(20, 0, -1)]
    figures = load.summarise(samples(latencies), 100.0, 4.0, batch_size=2)
    assert figures == {
        "requests": 20,
        "errors": 0,
        "pictures_per_second": 10.0,
        "latency_seconds": {
            "mean": pytest.approx(1.05, abs=1e-9),
            "p50": pytest.approx(1.0, abs=1e-9),
            "p95": pytest.approx(1.9, abs=1e-9),
            "p99": pytest.approx(2.0, abs=1e-9),
        },
    }


def test_the_latencies_of_one_request():
    figures = load.summarise(samples([0.5]), 100.0, 1.0, batch_size=1)
    assert set(figures["latency_seconds"].values()) == {0.5}


def test_what_ends_outside_the_measured_time_is_left_out():
    # Measured are [100, 110): the first ends in the warm-up, the second began there, the fourth
    # ends too late, and so does the last, exactly at the end.
    every = [
        load.Sample(98.0, 99.5),
        load.Sample(99.0, 101.0),
        load.Sample(105.0, 106.0),
        load.Sample(109.0, 111.0),
        load.Sample(109.5, 110.0),
    ]
    figures = load.summarise(every, 100.0, 10.0, batch_size=1)
    assert figures["requests"] == 2 and figures["pictures_per_second"] == 0.2
    assert figures["latency_seconds"]["mean"] == 1.5


def test_errors_are_counted_and_have_no_latency():
    failed = [load.Sample(100.0, 100.001, "refused"), load.Sample(90.0, 99.0, "in the warm-up")]
    figures = load.summarise([*samples([0.5]), *failed], 100.0, 1.0, batch_size=1)
    assert figures["requests"] == 1 and figures["errors"] == 1
    assert figures["latency_seconds"]["mean"] == 0.5


def test_nothing_was_answered():
    with pytest.raises(UserError, match=r"in the measured 2 s\. refused$"):
        load.summarise([load.Sample(100.0, 100.5, "refused")], 100.0, 2.0, 1)
    with pytest.raises(UserError, match=r"in the measured 2 s\. All took longer"):
        load.summarise(samples([5.0]), 100.0, 2.0, 1)


# === The closed loop ===


def test_so_many_requests_are_on_their_way_and_no_more():
    lock, numbers, active, seen = threading.Lock(), [], set(), set()

    def send(number):
        with lock:
            numbers.append(number)
            active.add(number)
            seen.add(len(active))
        time.sleep(0.02)
        with lock:
            active.remove(number)

    done = load.drive(send, concurrency=3, seconds=0.4)
    assert max(seen) == 3 and len(done) == len(numbers)
    assert sorted(numbers) == list(range(len(numbers)))
    assert all(sample.end - sample.begin >= 0.02 and sample.error is None for sample in done)
    begins = [sample.begin for sample in done]
    assert max(begins) - min(begins) < 0.4, "none is sent after the end"


def test_a_server_that_is_gone_is_not_asked_without_a_pause():
    def send(number):
        raise UserError("refused")

    done = load.drive(send, concurrency=2, seconds=0.35)
    # Two senders, each at 0, 0.1, 0.2 and 0.3 s at most.
    assert 2 <= len(done) <= 8 and {sample.error for sample in done} == {"refused"}


def test_a_fault_of_the_program_ends_all_senders():
    def send(number):
        if number == 3:
            raise ZeroDivisionError
        time.sleep(0.01)

    start = time.perf_counter()
    with pytest.raises(ZeroDivisionError):
        load.drive(send, concurrency=1, seconds=60)
    assert time.perf_counter() - start < 30


# === The script ===


def test_figures_are_printed_and_written(images, tmp_path, capsys):
    def slow(request):
        time.sleep(0.02)
        return same_row(request)

    file = tmp_path / "load.json"
    options = ("--concurrency", 3, "--seconds", 0.6, "--warm-up", 0.2, "--batch-size", 2)
    with RestStandIn(slow) as server:
        assert run(server.url, images, "--output", file, *options) == 0
    figures = json.loads(capsys.readouterr().out)
    assert json.loads(file.read_text()) == figures
    assert server.most_at_a_time == 3
    assert {len(json.loads(request.body)["instances"]) for request in server.requests} == {2}
    # Three images by two: a and b, c and a.
    assert len({request.body for request in server.requests}) == 2
    assert 0 < figures["requests"] < len(server.requests), "the warm-up is left out"
    assert figures["pictures_per_second"] == pytest.approx(2 * figures["requests"] / 0.6)
    latency = figures["latency_seconds"]
    assert 0.02 <= latency["p50"] <= latency["p95"] <= latency["p99"]
    assert figures["errors"] == 0 and figures["pictures"] == 3 and figures["concurrency"] == 3
    assert figures["server"] == f"{server.url}/v1/models/quickstart"


def test_errors_make_exit_status_1(images, capsys):
    turns = itertools.count()

    def flaky(request):  # the first one, which is sent alone, is answered
        return rest_error(503, "queue is full") if next(turns) % 2 else same_row(request)

    with RestStandIn(flaky) as server:
        assert run(server.url, images, "--seconds", 0.7, "--warm-up", 0) == 1
    figures = json.loads(capsys.readouterr().out)
    assert figures["errors"] > 0 and figures["requests"] > 0


def test_a_first_request_that_fails_ends_it(images, tmp_path, capsys):
    with RestStandIn(lambda _: rest_error(404, "Servable not found")) as server:
        assert run(server.url, images, "--output", tmp_path / "load.json") == 2
    assert len(server.requests) == 1 and not (tmp_path / "load.json").exists()
    assert "no such model loaded (Servable not found)" in capsys.readouterr().err


def test_an_image_that_cannot_be_sent(images, capsys):
    (images / "d.png").write_text("no image")
    assert run("http://127.0.0.1:1", images) == 2
    assert "d.png: begins with b'no image'" in capsys.readouterr().err


def test_a_file_that_cannot_be_written(images, capsys):
    with RestStandIn(same_row) as server:
        options = ("--seconds", 1.0, "--warm-up", 0, "--output", "/proc/load.json")
        assert run(server.url, images, *options) == 2
    said = capsys.readouterr()
    assert "/proc/load.json: cannot be written" in said.err and json.loads(said.out)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--concurrency", "0"), "--concurrency 0: expected 1 or more"),
        (("--batch-size", "-1"), "--batch-size -1: expected 1 or more"),
        (("--seconds", "0"), "--seconds 0.0: expected a number above 0"),
        (("--seconds", "inf"), "--seconds inf: expected"),
        (("--warm-up", "-1"), "--warm-up -1.0: expected 0 or more"),
        (("--timeout", "nan"), "--timeout nan: expected"),
    ],
)
def test_options_out_of_range(options, message, images, capsys):
    assert run("http://127.0.0.1:1", images, *options) == 2
    assert message in capsys.readouterr().err


def test_over_grpc(tmp_path, capsys):
    pytest.importorskip(
        "tensorflow_serving.apis", reason="needs tensorflow-serving-api: extra [serving]"
    )
    from tests.serving.test_grpc_client import same_rows

    image = write_image(tmp_path / "a.png")
    with grpc_stand_in(same_rows) as target:
        options = ("--protocol", "grpc", "--seconds", 0.5, "--warm-up", 0.1)
        assert run(target, image, *options) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["requests"] > 0 and figures["protocol"] == "grpc"
    assert figures["server"] == f"{target}, model quickstart"
