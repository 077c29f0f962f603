"""The loop: steps in order, signals, and (on a GPU) a real step."""

import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_frcnn.errors import Terminated
from tf_frcnn.model import FasterRCNN
from tf_frcnn.training.distribution import Distribution
from tf_frcnn.training.loop import StopRequest, stop_on_signals, train
from tf_frcnn.training.run import TrainingInterrupted
from tf_frcnn.training.trainer import FasterRCNNTrainer


class SummingTrainer(keras.Model):
    """Adds up the batches it is given."""

    def __init__(self):
        super().__init__()
        self.total = tf.Variable(0.0, trainable=False)
        self.num_traces = 0

    def train_step(self, batch):
        self.num_traces += 1
        return {"loss": self.total.assign_add(batch)}


class NumberPipeline:
    """Gives the numbers from `start` to `stop` - 1 as batches."""

    def __init__(self, start, stop):
        self.batches = tf.data.Dataset.range(start, stop, output_type=tf.float32)

    def __iter__(self):
        return iter(self.batches)


class Recorder(keras.callbacks.Callback):
    """Writes down what it is told; raises a signal after some steps."""

    def __init__(self, signals=None):
        super().__init__()
        self.calls = []
        self.logs = []
        self.signals = signals or {}

    def on_train_begin(self, logs=None):
        self.calls.append("begin")

    def on_train_batch_begin(self, batch, logs=None):
        self.calls.append(f"step {batch}")

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(f"done {batch}")
        self.logs.append(logs)
        for number in self.signals.get(batch, ()):
            signal.raise_signal(number)

    def on_train_end(self, logs=None):
        self.calls.append("end")


def run(start, stop, recorder, request=None):
    trainer = SummingTrainer()
    pipeline = NumberPipeline(start, stop)
    return trainer, train(trainer, pipeline, start, [recorder], request or StopRequest())


def test_steps_go_through_the_pipeline_in_order():
    recorder = Recorder()
    trainer, done = run(2, 5, recorder)
    assert done == 5
    steps = ["step 2", "done 2", "step 3", "done 3", "step 4", "done 4"]
    assert recorder.calls == ["begin", *steps, "end"]
    # Sums of 2, 2 + 3, 2 + 3 + 4, as plain numbers.
    assert [logs["loss"] for logs in recorder.logs] == [2.0, 5.0, 9.0]
    assert all(type(logs["loss"]) is float for logs in recorder.logs)
    assert all(logs["seconds"] > 0 for logs in recorder.logs)
    assert recorder.model is trainer
    assert trainer.num_traces == 1


def test_batches_of_other_shapes_do_not_trace_again():
    class Ragged(NumberPipeline):
        def __init__(self):
            self.batches = tf.data.Dataset.from_generator(
                lambda: (np.zeros(size, np.float32) for size in (1, 4, 2)),
                output_signature=tf.TensorSpec([None], tf.float32),
            )

    class Sizes(SummingTrainer):
        def train_step(self, batch):
            return super().train_step(tf.cast(tf.size(batch), tf.float32))

    trainer = Sizes()
    assert train(trainer, Ragged(), 0, [], StopRequest()) == 3
    assert trainer.num_traces == 1 and float(trainer.total) == 7.0


def test_nothing_to_do_is_begun_and_ended():
    recorder = Recorder()
    _, done = run(4, 4, recorder)
    assert done == 4 and recorder.calls == ["begin", "end"]


def test_a_step_that_is_not_finite_is_told_with_its_batch_before_the_callbacks():
    class Unlucky(SummingTrainer):
        def train_step(self, batch):
            return {"loss": batch, "finite": tf.cast(batch != 3.0, tf.float32)}

    recorder = Recorder()

    def on_not_finite(step, batch, logs):
        recorder.calls.append(f"number {step}, batch {float(batch):g}, loss {logs['loss']:g}")

    pipeline = NumberPipeline(2, 5)
    assert train(Unlucky(), pipeline, 2, [recorder], StopRequest(), on_not_finite) == 5
    # Batch 3 is that of step 3 from 0, the fourth.
    told = ["step 3", "number 4, batch 3, loss 3", "done 3"]
    assert recorder.calls == ["begin", "step 2", "done 2", *told, "step 4", "done 4", "end"]


# === A callback that stops ===


class Stopper(keras.callbacks.Callback):
    """Asks for a stop as Keras' own callbacks do, after a step or before the first."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def on_train_begin(self, logs=None):
        self.on_train_batch_end(None)

    def on_train_batch_end(self, batch, logs=None):
        if batch == self.after:
            self.model.stop_training = True


@pytest.mark.parametrize(("after", "done"), [(1, 2), (None, 0)])
def test_a_callback_can_stop_the_training(after, done):
    recorder = Recorder()
    callbacks = [Stopper(after), recorder]
    assert train(SummingTrainer(), NumberPipeline(0, 9), 0, callbacks, StopRequest()) == done
    assert recorder.calls[-1] == "end" and recorder.calls.count("done 1") == (done > 0)


def test_a_training_that_was_stopped_can_be_begun_again():
    trainer = SummingTrainer()
    assert train(trainer, NumberPipeline(0, 9), 0, [Stopper(1)], StopRequest()) == 2
    assert train(trainer, NumberPipeline(2, 5), 2, [], StopRequest()) == 5


def test_what_a_callback_adds_to_the_logs_the_next_ones_see_at_the_beginning_too():
    class Adder(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            logs["added"] = 1.0

        def on_train_batch_end(self, batch, logs=None):
            logs["added"] = 2.0

    class Reader(Recorder):
        def on_train_begin(self, logs=None):
            self.logs.append(logs)

    reader = Reader()
    train(SummingTrainer(), NumberPipeline(0, 1), 0, [Adder(), reader], StopRequest())
    assert [logs["added"] for logs in reader.logs] == [1.0, 2.0]


# === Several workers ===


class TwoWorkers(Distribution):
    """This worker, and another one that was sent a signal during a certain step."""

    def __init__(self, step, number):
        super().__init__()
        self.step = step
        self.number = number

    def of_each_worker(self, value):  # before the first step, and after each
        self.step -= 1
        return [value, self.number if self.step < -1 else 0]


def test_a_signal_to_another_worker_stops_this_one_after_the_same_step():
    recorder, request = Recorder(), StopRequest()
    pipeline = NumberPipeline(0, 9)
    others = TwoWorkers(2, signal.SIGTERM)
    assert train(SummingTrainer(), pipeline, 0, [recorder], request, distribution=others) == 3
    assert recorder.calls[-2:] == ["done 2", "end"]
    assert request.signal_number == signal.SIGTERM


def test_a_signal_that_comes_while_the_workers_agree_counts_the_next_time():
    request = StopRequest()

    class Busy(Distribution):
        """Two workers; this one gets a signal while it waits for what the other says."""

        calls = 0

        def of_each_worker(self, value):
            self.calls += 1
            if self.calls == 2:
                request(signal.SIGTERM, None)
            return [0, value]

    recorder, distribution = Recorder(), Busy()
    pipeline = NumberPipeline(0, 9)
    done = train(SummingTrainer(), pipeline, 0, [recorder], request, distribution=distribution)
    # Asked before the first step, after it (the signal comes), and after the second.
    assert (done, distribution.calls, request.signal_number) == (2, 3, signal.SIGTERM)


# === Signals ===


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step_and_still_ends(number):
    recorder = Recorder({1: [number]})
    with stop_on_signals() as request:
        _, done = run(0, 9, recorder, request)
    assert done == 2
    assert recorder.calls[-2:] == ["done 1", "end"]
    assert request.signal_number == number


def test_a_signal_before_the_first_step_stops_without_one():
    recorder, request = Recorder(), StopRequest()
    request(signal.SIGTERM, None)
    assert run(3, 9, recorder, request)[1] == 3
    assert recorder.calls == ["begin", "end"]


def test_a_second_sigterm_is_told_from_ctrl_c():
    request = StopRequest()
    request(signal.SIGTERM, None)
    with pytest.raises(Terminated):
        request(signal.SIGTERM, None)


def test_the_second_signal_interrupts_at_once():
    recorder = Recorder({1: [signal.SIGINT, signal.SIGINT]})
    with pytest.raises(KeyboardInterrupt), stop_on_signals() as request:
        run(0, 9, recorder, request)
    assert recorder.calls[-1] == "done 1"


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_signal_after_the_last_agreement_is_not_lost(number, error):
    with pytest.raises(error) as raised, stop_on_signals():
        signal.raise_signal(number)
    assert type(raised.value) is error


def test_handlers_are_put_back_also_after_an_error():
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    with pytest.raises(ZeroDivisionError), stop_on_signals() as request:
        assert [signal.getsignal(number) for number in numbers] == [request, request]
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in numbers] == before


def test_exit_statuses_of_interrupts():
    assert TrainingInterrupted(signal.SIGINT, "stopped").exit_status == 130
    assert TrainingInterrupted(signal.SIGTERM, "stopped").exit_status == 143


# === On a GPU ===


@pytest.mark.gpu
def test_a_training_step_runs_on_the_gpu(tiny_config):
    trainer = FasterRCNNTrainer(FasterRCNN(tiny_config.model, 3), tiny_config.train)
    batch = {
        "images": tf.random.stateless_uniform([2, 64, 96, 3], [0, 0], 0.0, 255.0),
        "image_sizes": tf.constant([[64.0, 96.0], [64.0, 80.0]]),
        "gt_boxes": tf.constant([[[8.0, 10.0, 40.0, 70.0]], [[0.0, 0.0, 0.0, 0.0]]]),
        "gt_classes": tf.constant([[2], [0]]),
        "seeds": tf.constant([[0, 0], [0, 1]]),
    }
    kernel = trainer.network.get_layer("rpn_head").conv.kernel
    before = np.asarray(kernel)
    losses = tf.function(trainer.train_step)(batch)
    assert all(np.isfinite(float(value)) for value in losses.values())
    assert not np.array_equal(np.asarray(kernel), before)
    assert "GPU" in tf.convert_to_tensor(kernel).device
