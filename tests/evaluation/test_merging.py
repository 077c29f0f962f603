"""Detections of several workers: bit-equal to those that each made, in the data set's order."""

import threading

import numpy as np
import pytest

from tests.evaluation.images import found, image, make_dataset
from tf_frcnn.evaluation.detections import merge_detections


def merge_in_threads(dataset, shares):
    """Let a thread for each share call `merge_detections` -> what each of them gets."""
    barrier = threading.Barrier(len(shares))
    values, results = [None] * len(shares), [None] * len(shares)

    def work(worker):
        def merge(array):
            values[worker] = array
            barrier.wait(10)
            total = np.sum(values, axis=0)
            barrier.wait(10)
            return total

        results[worker] = merge_detections(dataset, shares[worker], merge)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(len(shares))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.fixture
def records():
    """Give records of five images with 2, 0, 1, 3 and 0 detections."""
    random = np.random.default_rng(3)
    return [
        found(
            f"p{number}",
            random.uniform(0, 200, (count, 4)),
            random.uniform(0, 1, count),
            random.integers(1, 3, count),
        )
        for number, count in enumerate((2, 0, 1, 3, 0))
    ]


@pytest.mark.parametrize("num_workers", [1, 2, 3, 7])
def test_every_worker_gets_all_records_as_they_were_made(records, num_workers):
    dataset = make_dataset(*(image(record.image_id, []) for record in records))
    shares = [records[worker::num_workers] for worker in range(num_workers)]
    for merged in merge_in_threads(dataset, shares):
        assert [record.image_id for record in merged] == [f"p{number}" for number in range(5)]
        for record, expected in zip(merged, records, strict=True):
            for name in ("boxes", "scores", "classes"):
                one, other = getattr(record, name), getattr(expected, name)
                np.testing.assert_array_equal(one, other)
                assert one.dtype == other.dtype


def test_nothing_found_by_anybody():
    dataset = make_dataset(image("a", []), image("b", []))
    shares = [[found("a", [], [])], [found("b", [], [])]]
    (merged, _) = merge_in_threads(dataset, shares)
    assert [len(record.scores) for record in merged] == [0, 0]
    assert merged[0].boxes.shape == (0, 4)
