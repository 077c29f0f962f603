"""What is said of repeated runs."""

import pytest

from tf_frcnn.timing import Timing, measure


def test_figures_are_of_the_runs_that_count():
    timing = Timing(warm_up=(9.0, 5.0), seconds=(4.0, 1.0, 3.0, 2.0, 0.0))
    # Sorted 0 1 2 3 4: the median is 2; 10 % lies 0.4 of the way from 0 to 1, 90 % 0.6 from 3 to 4.
    assert timing.median == 2.0
    assert timing.describe() == {
        "median": 2.0,
        "p10": pytest.approx(0.4),
        "p90": pytest.approx(3.6),
        "min": 0.0,
        "max": 4.0,
        "runs": 5,
        "first": 9.0,
    }


@pytest.mark.parametrize(("num_warm_up", "first"), [(0, None), (2, 1.0)])
def test_warm_up_is_run_and_not_counted(num_warm_up, first, monkeypatch):
    # The clock gives 0, 1, 10, 12, 20, 23, ...: runs of 1, 2, 3, ... seconds.
    ticks = iter(value for n in range(9) for value in (10.0 * n, 10.0 * n + n + 1))
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    calls = []
    timing = measure(lambda: calls.append(1), num_warm_up, 3)
    assert len(calls) == num_warm_up + 3
    assert timing.seconds == tuple(float(num_warm_up + n) for n in (1, 2, 3))
    assert timing.describe()["first"] == first
