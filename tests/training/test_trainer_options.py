"""The options of training: what each of them changes in a step, and what it leaves alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training.states import assert_close, assert_same
from tests.training.test_trainer import LOSSES, TWO_IMAGES, make_batch, values_of
from tf_frcnn.checkpoints import named_weights
from tf_frcnn.config import TrainConfig
from tf_frcnn.training.loop import StopRequest, train
from tf_frcnn.training.trainer import FasterRCNNTrainer

ONLY_KERAS_3 = pytest.mark.skipif(
    keras.__version__.startswith("2."), reason="only Keras 3 has this, or has it for this trainer"
)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_and_is_evaluated_in_float32(make_trainer, precision):
    batch = make_batch(TWO_IMAGES)
    exact = make_trainer().compute_losses(batch, training=True)
    trainer = make_trainer(precision=precision)
    losses = trainer.compute_losses(batch, training=True)
    for name in LOSSES:
        assert losses[name].dtype == tf.float32
        # Eight bits of bfloat16 through fifteen layers with normalisation: some per cent.
        assert float(losses[name]) == pytest.approx(float(exact[name]), rel=0.1)
    totals = [float(trainer.train_step(batch)["loss"]) for _ in range(3)]
    assert totals[2] < totals[0]
    finished = trainer.finished_network()
    assert finished.precision == "float32"
    weights = named_weights(trainer.network)
    for name, value in named_weights(finished).items():
        np.testing.assert_array_equal(value, weights[name])


@ONLY_KERAS_3
def test_accumulated_gradients_update_every_third_step_with_their_mean(make_known):
    # Gradients 1, 2, 6: mean 3, at a rate of 0.01 and without momentum 0.03 less.
    trainer = make_known(gradient_accumulation_steps=3, momentum=0.0)
    variables = trainer.network.trainable_variables
    before = values_of(variables)
    for scale in (1.0, np.nan, 2.0):  # what is not finite is not counted
        trainer.train_step(tf.constant(scale, tf.float32))
        assert_same(values_of(variables), before)
    trainer.train_step(tf.constant(6.0))
    assert_close(values_of(variables), [value - 0.03 for value in before])


def test_the_giou_loss_replaces_the_detectors_box_loss_alone(make_trainer):
    batch = make_batch(TWO_IMAGES)
    smooth, giou = (
        make_trainer(box_loss=name).compute_losses(batch, training=False)
        for name in ("smooth_l1", "giou")
    )
    for name in ("rpn_objectness", "rpn_box", "roi_class"):
        np.testing.assert_array_equal(smooth[name], giou[name])
    # A quarter of the sampled RoIs are objects at most; each costs less than 5 * (1 + 1).
    assert 0.0 < float(giou["roi_box"]) < 2.5 and giou["roi_box"] != smooth["roi_box"]


@pytest.mark.slow
def test_compiled_parts_give_the_same_step(make_trainer):
    batch = make_batch(TWO_IMAGES)
    plain = make_trainer()
    expected = plain.train_step(batch)
    weights = values_of(plain.network.trainable_variables)
    compiled = make_trainer(jit_compile=True)
    report = compiled.train_step(batch)
    for name in LOSSES:
        assert float(report[name]) == pytest.approx(float(expected[name]), rel=1e-4)
    assert_close(values_of(compiled.network.trainable_variables), weights, atol=1e-5)
    graph = tf.function(compiled.train_step).get_concrete_function(batch).graph
    compiled_calls = [op for op in graph.get_operations() if "_XlaMustCompile" in op.node_def.attr]
    assert len(compiled_calls) >= 6  # three parts, forward and backward


class SizesPipeline:
    """Gives batches of images of these sizes, as the input pipeline does."""

    def __init__(self, sizes):
        example = make_batch(TWO_IMAGES)
        signature = {
            name: tf.TensorSpec([None] * len(value.shape), value.dtype)
            for name, value in example.items()
        }
        signature["images"] = tf.TensorSpec([None, None, None, 3], tf.float32)
        signature["image_sizes"] = tf.TensorSpec([None, 2], tf.float32)
        signature["gt_boxes"] = tf.TensorSpec([None, None, 4], tf.float32)
        signature["seeds"] = tf.TensorSpec([None, 2], tf.int32)
        self.batches = tf.data.Dataset.from_generator(
            lambda: (make_batch(TWO_IMAGES, size) for size in sizes), output_signature=signature
        ).apply(tf.data.experimental.assert_cardinality(len(sizes)))

    def __iter__(self):
        return iter(self.batches)


@pytest.fixture
def traces(monkeypatch):
    """Write down the tracings of the training graph, as training or as validation."""
    traced = []
    compute_losses = FasterRCNNTrainer.compute_losses

    def counted(self, batch, training, **options):
        traced.append("training" if training else "validation")
        return compute_losses(self, batch, training, **options)

    monkeypatch.setattr(FasterRCNNTrainer, "compute_losses", counted)
    return traced


@pytest.mark.parametrize("drive", ["loop", pytest.param("fit", marks=ONLY_KERAS_3)])
def test_a_step_is_traced_once_whatever_the_sizes(make_trainer, traces, drive):
    trainer = make_trainer()
    pipeline = SizesPipeline([(64, 96), (48, 64), (64, 96), (33, 50), (16, 112)])
    if drive == "loop":
        assert train(trainer, pipeline, 0, [], StopRequest()) == 5
        assert traces == ["training"]
        return
    batches = pipeline.batches
    history = trainer.fit(batches, epochs=2, validation_data=batches, verbose=0).history
    assert traces == ["training", "validation"]
    assert set(history) == {"loss", *LOSSES, "finite"} | {f"val_{n}" for n in ("loss", *LOSSES)}
    assert all(np.isfinite(values).all() and len(values) == 2 for values in history.values())
    assert history["finite"] == [1.0, 1.0]
    assert int(trainer.optimizer.iterations) == 10


def test_the_defaults_are_the_papers():
    config = TrainConfig()
    assert (config.precision, config.jit_compile, config.box_loss) == (
        "float32",
        False,
        "smooth_l1",
    )
    assert (config.optimizer, config.schedule, config.ema_momentum) == ("sgd", "step", 0.0)
    assert config.gradient_accumulation_steps == 1
