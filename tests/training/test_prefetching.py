"""Fetching ahead: the order, errors in their place, one item and no more; devices by type."""

import threading

import pytest
import tensorflow as tf

from tf_frcnn.training.distribution import ALONE
from tf_frcnn.training.prefetching import fetch_ahead, put


def test_items_come_prepared_and_in_order():
    assert list(fetch_ahead(iter(range(5)), lambda number: 10 * number)) == [0, 10, 20, 30, 40]
    assert list(fetch_ahead(iter(()), lambda number: number)) == []


def test_the_next_item_is_fetched_while_one_is_in_use_and_no_further_one():
    fetched = [threading.Event() for _ in range(4)]

    def items():
        for number, event in enumerate(fetched):
            event.set()
            yield number

    ahead = fetch_ahead(items(), lambda number: number)
    assert next(ahead) == 0
    assert fetched[1].wait(60) and not fetched[2].is_set()
    assert next(ahead) == 1
    assert fetched[2].wait(60) and not fetched[3].is_set()
    ahead.close()
    assert not any(one.name.startswith("prefetch") for one in threading.enumerate())


def test_an_error_comes_after_the_items_before_it():
    def items():
        yield 1
        yield 2
        raise OSError("the third")

    ahead, found = fetch_ahead(items(), lambda number: number), []
    with pytest.raises(OSError, match="the third"):
        for number in ahead:
            found.append(number)
    assert found == [1, 2]


def test_floats_go_to_the_device_and_int32_stays():
    name = tf.config.list_logical_devices("CPU")[0].name
    whole = tf.constant([1, 2])
    (batch,) = put([{"images": tf.constant([0.5]), "seeds": whole}], [name])
    assert batch["seeds"] is whole
    assert batch["images"].device.endswith("CPU:0") and batch["images"].numpy().tolist() == [0.5]


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU")
def test_without_a_gpu_batches_are_taken_as_they_come():
    steps = iter([(1,), (2,)])
    assert ALONE.on_devices(steps) is steps
