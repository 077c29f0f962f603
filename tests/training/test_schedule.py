"""The learning rate, step by step."""

import json

import keras
import pytest
import tensorflow as tf

from tf_frcnn.config import TrainConfig
from tf_frcnn.training.optimizer import build_optimizer
from tf_frcnn.training.schedule import CosineSchedule, StepSchedule, build_learning_rate


def rates(schedule, steps):
    return [float(schedule(tf.constant(step, tf.int64))) for step in steps]


def test_warm_up_then_decay():
    # Warm-up over 4 steps to 0.8: 0.2, 0.4, 0.6, 0.8; halved from step 6 and again from step 8.
    schedule = StepSchedule(0.8, 4, (6, 8), 0.5)
    expected = [0.2, 0.4, 0.6, 0.8, 0.8, 0.8, 0.4, 0.4, 0.2, 0.2]
    assert rates(schedule, range(10)) == pytest.approx(expected)


def test_constant_without_warm_up_or_decay():
    assert rates(StepSchedule(0.3), (0, 1, 10**6)) == pytest.approx([0.3] * 3)


def test_decay_within_the_warm_up_multiplies_both():
    # Step 2 of a warm-up over 4: 3 / 4 of the rate, decayed by 0.1 from step 2.
    assert rates(StepSchedule(1.0, 4, (2,)), (1, 2, 3)) == pytest.approx([0.5, 0.075, 0.1])


def test_the_papers_schedule():
    config = TrainConfig()
    optimizer = build_optimizer(config)
    schedule = StepSchedule(
        config.learning_rate, config.warmup_steps, config.decay_steps, config.decay_factor
    )
    assert rates(schedule, (0, 49_999, 50_000, 69_999)) == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])
    assert float(optimizer.learning_rate) == pytest.approx(1e-3)
    assert optimizer.momentum == 0.9


def test_warm_up_then_half_a_cosine():
    # Warm-up over 2 steps to 0.8, then (1 + cos(pi k / 4)) / 2 of it for k = 0 .. 4: cos(pi / 4) is
    # 0.707107. After the last step it stays 0.
    schedule = CosineSchedule(0.8, 6, 2)
    expected = [0.4, 0.8, 0.8, 0.8 * 0.853553, 0.4, 0.8 * 0.146447, 0.0, 0.0]
    assert rates(schedule, range(8)) == pytest.approx(expected, abs=1e-6)


def test_cosine_without_warm_up():
    # (1 + cos(pi k / 3)) / 2: 1, 0.75, 0.25.
    assert rates(CosineSchedule(0.4, 3), range(3)) == pytest.approx([0.4, 0.3, 0.1])


def test_the_schedule_is_chosen_by_name():
    options = {"learning_rate": 0.8, "warmup_steps": 2, "steps": 6, "decay_steps": (3,)}
    cosine = build_learning_rate(TrainConfig(schedule="cosine", **options))
    assert rates(cosine, range(6)) == rates(CosineSchedule(0.8, 6, 2), range(6))
    step = build_learning_rate(TrainConfig(**options))
    assert rates(step, range(6)) == rates(StepSchedule(0.8, 2, (3,)), range(6))


@pytest.mark.parametrize(
    "schedule", [StepSchedule(0.8, 4, (6, 8), 0.5), CosineSchedule(0.8, 9, 3)], ids=type
)
def test_configuration_survives_json(schedule):
    text = json.dumps(keras.saving.serialize_keras_object(schedule))
    restored = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(restored) is type(schedule)
    assert rates(restored, range(10)) == rates(schedule, range(10))
