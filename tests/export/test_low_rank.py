"""The truncated SVD of the FC layers: nearest of its rank, and exact where the rank is enough."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_frcnn.checkpoints import named_weights
from tf_frcnn.config import load_config
from tf_frcnn.errors import UserError
from tf_frcnn.export.low_rank import reduce_head, truncated_svd
from tf_frcnn.export.saved_model import export_saved_model
from tf_frcnn.inference import InferenceModel, load_network
from tf_frcnn.model import FasterRCNN
from tf_frcnn.model_files import find_model


def test_a_worked_matrix():
    # K = [[3, 0], [0, 4], [0, 0]] has the singular values 4 and 3. Of rank 1 remains what 4 goes
    # with, the second row and column: [[0, 0], [0, 4], [0, 0]].
    kernel = np.array([[3, 0], [0, 4], [0, 0]], np.float32)
    projection, reduced = truncated_svd(kernel, 1)
    assert projection.shape == (3, 1) and reduced.shape == (1, 2)
    assert projection.dtype == reduced.dtype == np.float32
    np.testing.assert_allclose(projection @ reduced, [[0, 0], [0, 4], [0, 0]], atol=1e-6)


@settings(max_examples=40)
@given(
    num_in=st.integers(1, 30), num_out=st.integers(1, 20), data=st.data(), seed=st.integers(0, 999)
)
def test_the_error_is_what_the_singular_values_say(num_in, num_out, data, seed):
    # Eckart and Young: the squared error of the nearest matrix of rank R is the sum of the squares
    # of the singular values left out.
    rank = data.draw(st.integers(1, min(num_in, num_out)))
    kernel = np.random.default_rng(seed).normal(size=(num_in, num_out)).astype(np.float32)
    projection, reduced = truncated_svd(kernel, rank)
    left_out = np.linalg.svd(kernel.astype(np.float64), compute_uv=False)[rank:]
    error = np.linalg.norm(kernel - projection.astype(np.float64) @ reduced)
    # Float32 factors: a few times 1e-7 of a norm that is below 35.
    np.testing.assert_allclose(error, np.sqrt(np.sum(left_out**2)), rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def simple_model(inference_model):
    """Copy the model, with FC layers that have the rank 5."""
    network = FasterRCNN(inference_model.network.config, 3)
    network.set_weights(inference_model.network.get_weights())
    random = np.random.default_rng(0)
    for name, value in named_weights(network).items():
        if name in ("fc1/kernel", "fc2/kernel"):
            num_in, num_out = value.shape
            thin = random.normal(0, 0.1, (num_in, 5)) @ random.normal(0, 0.1, (5, num_out))
            value.assign(thin)
    return InferenceModel(network, inference_model.class_names, 64, 96)


@pytest.fixture(scope="module")
def reduced(simple_model):
    return reduce_head(simple_model, 5)


def test_a_head_of_that_rank_answers_the_same(simple_model, reduced, batches):
    # What is left out is zero; float32 products in another order differ by rounding.
    images = batches["batch_3_50x70"]
    answer, wanted = reduced.detect(images), simple_model.detect(images)
    assert np.all(wanted["num_detections"] > 0)
    np.testing.assert_allclose(answer["detection_boxes"], wanted["detection_boxes"], atol=1e-2)
    np.testing.assert_allclose(answer["detection_scores"], wanted["detection_scores"], atol=1e-4)
    np.testing.assert_array_equal(answer["detection_classes"], wanted["detection_classes"])


def test_a_lower_rank_answers_something_else(simple_model, batches):
    images = batches["batch_3_50x70"]
    scores = [
        one.detect(images)["detection_scores"]
        for one in (simple_model, reduce_head(simple_model, 1))
    ]
    assert np.abs(scores[0] - scores[1]).max() > 1e-3


def test_the_weights_are_fewer(simple_model, reduced):
    # fc1 reads 7 * 7 * 128 = 6272 numbers; both layers have 512 units.
    shapes = {name: tuple(value.shape) for name, value in named_weights(reduced.network).items()}
    whole = {name: tuple(v.shape) for name, v in named_weights(simple_model.network).items()}
    changed = {
        "fc1_projection/kernel": (6272, 5),
        "fc1/kernel": (5, 512),
        "fc2_projection/kernel": (512, 5),
        "fc2/kernel": (5, 512),
    }
    assert shapes == {**whole, **changed}


def test_the_network_can_be_built_again_from_its_export(reduced, tiny_config, batches, tmp_path):
    version = export_saved_model(reduced, tiny_config, tmp_path)
    config = load_config(version / "assets" / "config.json")
    assert config.model == dataclasses.replace(tiny_config.model, head_rank=5)
    restored = load_network(find_model(version))
    for value, wanted in zip(
        restored.network.get_weights(), reduced.network.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(value, wanted)
    images = batches["batch_1_50x70"]
    loaded = tf.saved_model.load(str(version))
    answer = loaded.signatures["serving_default"](images=tf.constant(images))
    wanted = reduced.detect(images)["detection_boxes"]
    np.testing.assert_allclose(answer["detection_boxes"], wanted, atol=1e-3)


@pytest.mark.parametrize("rank", [-1, 0, 512, 4096])
def test_a_rank_out_of_range_is_told(rank, inference_model):
    with pytest.raises(UserError, match=rf"^--head-rank {rank}: expected a number from 1 to 511;"):
        reduce_head(inference_model, rank)


def test_a_head_is_reduced_once_only(reduced):
    with pytest.raises(
        UserError, match="--head-rank 3: the FC layers of this model have the rank 5"
    ):
        reduce_head(reduced, 3)
