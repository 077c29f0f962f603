"""Magnitudes of arrays, and of what the layers of a model answer."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_frcnn.training.non_finite.layers import Magnitude, measure, recorded_outputs


@pytest.mark.parametrize(
    ("arrays", "largest", "share"),
    [
        ([[1.0, -3.0, 2.0]], 3.0, 0.0),
        # Two of five numbers are not finite; of the others -4 is the largest.
        ([[math.nan, -4.0], [[2.0], [math.inf], [0.5]]], 4.0, 0.4),
        ([[-math.inf]], 0.0, 1.0),
        ([], 0.0, 0.0),
        ([np.zeros((0, 4))], 0.0, 0.0),
        ([np.float16([60000.0, -65504.0])], 65504.0, 0.0),
        ([tf.constant([3e38, 1.0], tf.bfloat16)], float(tf.constant(3e38, tf.bfloat16)), 0.0),
    ],
)
def test_magnitudes(arrays, largest, share):
    arrays = [one if hasattr(one, "dtype") else np.float32(one) for one in arrays]
    assert measure(arrays) == Magnitude(pytest.approx(largest), pytest.approx(share))
    assert measure(arrays).is_finite == (share == 0.0)


def test_layers_are_recorded_in_the_order_of_their_calls_and_let_go():
    inputs = keras.Input((2,))
    # Named against the order of the flow: z, then a.
    hidden = keras.layers.Dense(1, use_bias=False, name="z")(inputs)
    model = keras.Model(inputs, keras.layers.Rescaling(-10.0, name="a")(hidden))
    model.get_layer("z").set_weights([np.float32([[2.0], [3.0]])])
    with recorded_outputs(model) as outputs:
        answer = model(tf.constant([[1.0, 1.0], [0.5, -1.0]]))
    # 2 + 3 = 5 and 1 - 3 = -2; times -10, the largest is 50.
    np.testing.assert_allclose(answer, [[-50.0], [20.0]])
    assert [name for name in outputs if name in ("z", "a")] == ["z", "a"]
    assert outputs["z"].magnitude.largest == 5.0 and outputs["a"].magnitude.largest == 50.0
    assert outputs["z"].dtype == "float32"
    model(tf.constant([[100.0, 100.0]]))
    assert outputs["z"].magnitude.largest == 5.0


@pytest.mark.parametrize("wrong_map", [0, 1, 2])
def test_all_calls_of_a_layer_that_is_shared_by_maps_count(wrong_map):
    # One head on maps of 2, 4 and 8 cells: times 3, of each map's own size of numbers.
    inputs = [keras.Input((None, 1)) for _ in range(3)]
    head = keras.layers.Dense(1, use_bias=False, name="head")
    model = keras.Model(inputs, [head(one) for one in inputs])
    head.set_weights([np.float32([[3.0]])])
    maps = [np.full((1, 2 << index, 1), 10.0 * (3 - index), np.float32) for index in range(3)]
    maps[wrong_map][0, 0, 0] = np.nan
    with recorded_outputs(model) as outputs:
        model([tf.constant(one) for one in maps])
    # 30 is the largest input, and the first map has two of it: one is left. One number of 14.
    assert outputs["head"].dtype == "float32"
    assert outputs["head"].magnitude == Magnitude(90.0, pytest.approx(1 / 14))


def test_layers_are_let_go_after_an_error_too():
    layer = keras.layers.Dense(1, name="one")
    model = keras.Sequential([keras.Input((2,)), layer])
    with pytest.raises(ZeroDivisionError), recorded_outputs(model):
        assert "call" in vars(layer)
        raise ZeroDivisionError
    assert "call" not in vars(layer)


def test_nothing_is_recorded_into_the_gradient():
    layer = keras.layers.Dense(1, use_bias=False, name="one")
    model = keras.Sequential([keras.Input((2,)), layer])
    with recorded_outputs(model), tf.GradientTape() as tape:
        total = tf.reduce_sum(model(tf.constant([[2.0, 5.0]])))
    np.testing.assert_allclose(tape.gradient(total, layer.kernel), [[2.0], [5.0]])
