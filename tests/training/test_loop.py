"""The loop: steps in order, signals, and (on a GPU) a real step."""

import signal
from types import SimpleNamespace

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

    def train_step(self, batch, may_update=True):
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
        def train_step(self, batch, may_update=True):
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
        def train_step(self, batch, may_update=True):
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


# === Steps whose figures are read when the next one was taken ===


class CarefulTrainer(keras.Model):
    """Adds up the batches that are finite, where it may; counts the steps that it takes."""

    def __init__(self):
        super().__init__()
        self.total = tf.Variable(0.0, trainable=False)
        self.taken = tf.Variable(0, trainable=False)

    def train_step(self, batch, may_update=True):
        self.taken.assign_add(1)
        finite = tf.math.is_finite(batch)
        self.total.assign_add(tf.where(finite & may_update, batch, 0.0))
        return {"loss": batch, "finite": tf.cast(finite, tf.float32)}


class ListPipeline(NumberPipeline):
    """Gives the numbers of a list as batches."""

    def __init__(self, *numbers):
        self.batches = tf.data.Dataset.from_tensor_slices(tf.constant(numbers, tf.float32))


class Looker(Recorder):
    """Writes down the trainer's sum as well, at the end of every step."""

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        self.calls.append(f"total {float(self.model.total):g}")


def every_third(done):
    return done % 3 == 0


def never(done):
    return False


def test_the_state_is_that_of_the_step_where_it_is_looked_at_and_else_one_step_ahead():
    looker = Looker()
    pipeline = ListPipeline(1.0, 2.0, 3.0, 4.0, 5.0)
    done = train(CarefulTrainer(), pipeline, 0, [looker], StopRequest(), reads_state=every_third)
    assert done == 5
    # Sums 1, 3, 6, 10, 15. Step 2 of 0 is looked at when it is done: 6. The pipeline's end is
    # known only when all is taken.
    assert looker.calls == [
        *("begin", "step 0", "step 1", "done 0", "total 3", "step 2", "done 1", "total 6"),
        *("done 2", "total 6", "step 3", "step 4", "done 3", "total 15", "done 4", "total 15"),
        "end",
    ]
    assert [logs["loss"] for logs in looker.logs] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert all(set(logs) == {"loss", "finite", "seconds"} for logs in looker.logs)
    assert all(logs["seconds"] > 0 for logs in looker.logs)


def train_past_nan(numbers, reads_state):
    """Train with numbers that may be NaN -> steps done, sum, steps taken, what was told of NaN."""
    trainer, told = CarefulTrainer(), []

    def on_not_finite(step, batch, logs):
        assert np.isnan(float(batch)) and np.isnan(logs["loss"]) and logs["finite"] == 0.0
        told.append((step, float(trainer.total)))

    pipeline = ListPipeline(*numbers)
    recorder = Recorder()
    done = train(
        trainer, pipeline, 0, [recorder], StopRequest(), on_not_finite, reads_state=reads_state
    )
    assert [logs["finite"] for logs in recorder.logs] == [float(np.isfinite(n)) for n in numbers]
    return done, float(trainer.total), int(trainer.taken), told


@pytest.mark.parametrize(
    ("reads_state", "taken"),
    # The step that follows one that is not finite is taken twice, unless none was taken yet.
    [(never, 9), (lambda done: True, 7), (every_third, 8)],
)
def test_after_a_step_that_is_not_finite_nothing_is_changed_until_that_was_told(reads_state, taken):
    numbers = [1.0, 2.0, np.nan, np.nan, 4.0, 8.0, np.nan]
    # Steps 3 and 4 of 7, and the last. every_third reads steps 3 and 6 at once, 7 at the end.
    expected = (7, 15.0, taken, [(3, 3.0), (4, 3.0), (7, 15.0)])
    assert train_past_nan(numbers, reads_state) == expected


def test_the_weights_stay_as_before_the_step_that_ends_the_training():
    trainer = CarefulTrainer()

    def stop(step, batch, logs):
        raise ArithmeticError(step)

    pipeline = ListPipeline(1.0, np.nan, 4.0, 8.0)
    with pytest.raises(ArithmeticError, match="2"):
        train(trainer, pipeline, 0, [], StopRequest(), stop, reads_state=never)
    assert float(trainer.total) == 1.0 and int(trainer.taken) == 3


def test_a_signal_while_the_next_step_is_under_way_stops_after_that():
    recorder = Recorder({1: [signal.SIGTERM]})  # step 2 of 0 was taken then
    with stop_on_signals() as request:
        done = train(
            CarefulTrainer(), ListPipeline(*range(9)), 0, [recorder], request, reads_state=never
        )
    assert done == 3 and recorder.calls[-3:] == ["done 1", "done 2", "end"]


# === Several workers ===


class TwoWorkers(Distribution):
    """This worker, and another one that does the same but is sent a signal before a step."""

    replicas_per_worker = 1

    def __init__(self, signals=None):
        super().__init__()
        self.num_workers = 2
        self.signals = signals or {}
        self.asked = 0
        self.step = tf.Variable(-1, trainable=False)

    def of_each_worker(self, value):
        self.asked += 1
        return [value, 0]

    def run(self, function, batches, finite, signals):
        step = self.step.assign_add(1)
        of_other = tf.zeros_like(signals)
        for number, place in self.signals.items():
            sent = tf.cast(step >= number, tf.float32)
            of_other += sent * tf.one_hot(place, len(signals))
        figures = [function(batches[0], finite, one) for one in (signals, of_other)]
        return (figures[0] + figures[1]) / 2.0


def train_two(distribution, reads_state, recorder, request):
    pipeline = ListPipeline(*range(9))
    trainer = CarefulTrainer()
    return train(
        trainer, pipeline, 0, [recorder], request, None, distribution, reads_state=reads_state
    )


@pytest.mark.parametrize(("reads_state", "done"), [(lambda done: True, 3), (never, 4)])
def test_a_signal_to_another_worker_comes_with_the_figures_of_a_step(reads_state, done):
    # Sent before step 2 of 0; where that is read late, step 3 is under way.
    recorder, request = Recorder(), StopRequest()
    distribution = TwoWorkers({2: 1})
    assert train_two(distribution, reads_state, recorder, request) == done
    assert recorder.calls[-2:] == [f"done {done - 1}", "end"]
    assert request.signal_number == signal.SIGTERM and type(request.signal_number) is int
    assert distribution.asked == 1  # before the first step; then never beside the steps
    assert all(set(logs) == {"loss", "finite", "seconds"} for logs in recorder.logs)


def test_a_signal_to_this_worker_is_told_with_the_next_step_and_stops_after_it():
    request = StopRequest()
    recorder = Recorder()

    class Sender(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                request(signal.SIGINT, None)

    distribution = TwoWorkers()
    done = train(
        CarefulTrainer(),
        ListPipeline(*range(9)),
        0,
        [Sender(), recorder],
        request,
        None,
        distribution,
    )
    assert (done, request.signal_number, distribution.asked) == (3, signal.SIGINT, 1)


def test_a_signal_before_the_first_step_is_agreed_on():
    class Told(TwoWorkers):
        def of_each_worker(self, value):
            return [value, signal.SIGTERM]

    recorder, request = Recorder(), StopRequest()
    assert train_two(Told(), never, recorder, request) == 0
    assert request.signal_number == signal.SIGTERM and recorder.calls == ["begin", "end"]


def test_all_figures_of_a_step_are_one_sum_over_the_replicas():
    class TwoReplicas:
        """Runs both replicas in turn; a sum for each call of `reduce`."""

        num_replicas_in_sync = 2
        extended = SimpleNamespace(worker_devices=("/device:CPU:0", "/device:CPU:1"))
        sums = 0

        def experimental_distribute_values_from_function(self, function):
            return [function(SimpleNamespace(replica_id_in_sync_group=n)) for n in range(2)]

        def run(self, function, args):
            return [function(one, *args[1:]) for one in args[0]]

        def reduce(self, operation, values, axis):
            self.sums += 1
            assert operation == "MEAN" and axis is None
            return sum(values) / 2.0

    distribution, recorder = Distribution(), Recorder()
    distribution.strategy = TwoReplicas()
    pipeline = ListPipeline(1.0, 3.0, 5.0, 9.0)
    done = train(CarefulTrainer(), pipeline, 0, [recorder], StopRequest(), None, distribution)
    assert done == 2 and [logs["loss"] for logs in recorder.logs] == [2.0, 7.0]
    assert distribution.strategy.sums == 1  # in the graph of the step, which is traced once


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


@pytest.mark.gpu
def test_batches_are_on_the_gpu_when_the_step_begins_and_int32_on_the_host():
    floats, whole = tf.constant([1.5]), tf.constant([2])
    ((batch,),) = Distribution().on_devices(iter([({"images": floats, "seeds": whole},)]))
    assert "GPU" in batch["images"].device and "CPU" in batch["seeds"].device
    assert batch["images"].numpy().tolist() == [1.5]
