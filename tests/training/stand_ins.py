"""What callbacks are tested with: logs, a trainer and a pipeline that cost nothing."""

import json
from contextlib import nullcontext

import keras
import tensorflow as tf

LOSSES = ("rpn_objectness", "rpn_box", "roi_class", "roi_box")


def make_logs(loss=1.0, seconds=0.5, **terms):
    return {"loss": loss, "seconds": seconds, **dict.fromkeys(LOSSES, loss / 4), **terms}


class SmallTrainer(keras.Model):
    """Has what callbacks look at: a network, an optimiser with a rate, losses, a test step."""

    loss_names = LOSSES

    def __init__(self):
        super().__init__()
        self.network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, name="dense")])
        self.compile(optimizer=keras.optimizers.SGD(0.125, momentum=0.9))
        self.optimizer.build(self.network.trainable_variables)
        self.built = True
        self.stop_training = False

    def call(self, inputs):
        return self.network(inputs)

    def averaged_weights(self):
        return nullcontext()

    def test_step(self, batch):
        """Answer the batch's number and multiples of it."""
        number = batch["number"]
        terms = {name: number * factor for factor, name in enumerate(self.loss_names, start=2)}
        return {"loss": number, **terms}


class NumberPipeline:
    """Gives some numbers as batches, as often as it is gone through."""

    def __init__(self, *numbers):
        self.batches = tf.data.Dataset.from_tensor_slices(tf.constant(numbers, tf.float32))

    def __iter__(self):
        return iter(self.batches)


class ImagesPipeline:
    """Gives batches of so many images each, one unless told, with a number each."""

    def __init__(self, *numbers, counts=None):
        def give():
            for number, count in zip(numbers, counts or [1] * len(numbers), strict=True):
                yield {"number": number, "indices": range(count)}

        kinds = {"number": tf.TensorSpec([]), "indices": tf.TensorSpec([None], tf.int32)}
        self.batches = tf.data.Dataset.from_generator(give, output_signature=kinds)

    def __iter__(self):
        return iter(self.batches)


def run(callback, all_logs, start=0, end=True, beginning=None):
    """Tell a callback of steps with these logs, and of the `beginning` with those."""
    callback.set_model(SmallTrainer())
    callback.on_train_begin({} if beginning is None else beginning)
    for number, logs in enumerate(all_logs, start=start):
        callback.on_train_batch_begin(number)
        callback.on_train_batch_end(number, logs)
    if end:
        callback.on_train_end()


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]
