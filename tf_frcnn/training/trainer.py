"""One training step: forward, the losses of all tasks, gradients, coupled weight decay, update."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from tf_frcnn.checkpoints import named_weights
from tf_frcnn.config import TrainConfig
from tf_frcnn.errors import ConfigError, DataError
from tf_frcnn.layers.proposals import ProposalLayer
from tf_frcnn.model import FasterRCNN, as_maps, check_network
from tf_frcnn.ops.maps import Maps
from tf_frcnn.training.freezing import check_trainable, freeze_layers
from tf_frcnn.training.losses import Losses
from tf_frcnn.training.means import StepMeans
from tf_frcnn.training.optimizer import DECOUPLED_DECAY, build_optimizer
from tf_frcnn.training.tasks import TASKS
from tf_frcnn.training.tasks.task import Step, Task
from tf_frcnn.training.update import (
    LossScaleOptimizer,
    apply_where,
    inner_optimizer,
    scale_loss,
    sum_over_replicas,
    telling_gradients,
    unscale_gradients,
)

Batch = dict[str, tf.Tensor]

_BATCH_KEYS = ("images", "image_sizes", "gt_boxes", "gt_classes", "seeds")
_IGNORED_BOXES = "ignored_boxes"


class FasterRCNNTrainer(keras.Model):
    """Trains a network end to end, RPN and box head jointly (slides: training).

    The losses live here and never reach the export. A batch is a dict of images [B, H, W, 3]
    float32 or uint8 RGB 0-255, image_sizes [B, 2] float32, gt_boxes [B, G, 4] float32 and
    gt_classes [B, G] int32 (G >= 1, padded with zeros), and seeds [B, 2] int32, from which alone
    the sampling and the dropout of each image are drawn; with `ignore_crowd_overlap` also
    ignored_boxes [B, I, 4] float32 (I >= 1, padded likewise). `prepare_dataset` makes such batches.
    It is a Keras model whose `fit` and `evaluate` report means over their steps, and it is compiled
    already, with the optimiser of its configuration: `compile` is called to train with another one.
    Its dtype policy is float32, whatever is set for all of Keras; `precision` is the network's.

    Args of `__init__`: the network; `config` of the training, by default that of `TrainConfig` with
    no layer frozen; the `tasks` to learn.

    Raises of `__init__`: `ConfigError` where the network is no `FasterRCNN`, no layer has the name
    of one to be frozen, nothing is trainable, or the installed Keras lacks an option.
    """

    def __init__(
        self,
        network: FasterRCNN,
        config: TrainConfig | None = None,
        tasks: Sequence[Task] = TASKS,
        **kwargs: Any,
    ) -> None:
        check_network(network)
        if network.config.unused_columns:
            raise ConfigError(
                "network: has columns that stand for no class, as published weights have them. "
                "Expected one whose columns are its classes: FasterRCNN.from_preset(..., "
                "num_classes=N), or --train.start-from."
            )
        super().__init__(**{"dtype": "float32", **kwargs})
        self.network = network
        if config is None:
            config = TrainConfig(frozen_layers=())
            if network.precision == "mixed_float16":  # the loss is to be scaled
                config = dataclasses.replace(config, precision="mixed_float16")
        self.train_config = config
        self.training_proposals = ProposalLayer(
            config.rpn_pre_nms_top_k,
            config.rpn_post_nms_top_k,
            network.config.rpn_nms_iou,
            network.config.rpn_min_size,
            network.proposal_layer.min_score,
            network.proposal_layer.sifts_first,
            name="training_proposals",
        )
        freeze_layers(network, config)
        self.tasks = tuple(tasks)
        self._compiled: dict[Any, Any] = {}
        # Made when they are wanted: the command's loop, which may have replicas, wants none.
        self._fit_means: StepMeans | None = None
        self._test_means: StepMeans | None = None
        self._reported: StepMeans | None = None
        decay = 0.0 if config.optimizer in DECOUPLED_DECAY else config.weight_decay
        self._use_optimizer(build_optimizer(config), decay, config.clip_norm)
        self.built = True

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str,
        weight_decay: float | None = None,
        clip_norm: float | None = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
    ) -> None:
        """Train with an optimiser of one's own from here on.

        Losses and metrics are the tasks' own. Call it again after changing a layer's `trainable`.

        Args:
            optimizer: of Keras, or its name; with `mixed_float16` it is wrapped so that it scales
                the loss.
            weight_decay: coupled L2 on kernels, which goes through the momentum; when None, that of
                the training's configuration, but 0 where the optimiser has a decay of its own.
            clip_norm: the gradients are clipped to this global norm, before the decay; 0 for no
                clipping; when None, that of the training's configuration.
            run_eagerly: as in Keras.
            steps_per_execution: as in Keras.

        Raises:
            ConfigError: weights would decay twice, or one of the two is no number from 0.
        """
        optimizer = keras.optimizers.get(optimizer)
        own_decay = getattr(inner_optimizer(optimizer), "weight_decay", None) or 0.0
        if weight_decay is None:
            weight_decay = 0.0 if own_decay else self.train_config.weight_decay
        if weight_decay and own_decay:
            raise ConfigError(
                f"compile: weight_decay = {weight_decay:g}, and the optimiser "
                f"{type(inner_optimizer(optimizer)).__name__} has weight_decay = {own_decay:g} of "
                "its own: weights would decay twice. Expected one of them: leave weight_decay out "
                "here, or give the optimiser weight_decay=None."
            )
        if clip_norm is None:
            clip_norm = self.train_config.clip_norm
        for name, value in (("weight_decay", weight_decay), ("clip_norm", clip_norm)):
            is_number = isinstance(value, Real) and not isinstance(value, bool)
            if not is_number or not value >= 0.0:
                raise ConfigError(f"compile: {name} = {value!r}: expected a number, 0 or more.")
        is_scaling = isinstance(optimizer, LossScaleOptimizer)
        if self.network.precision == "mixed_float16" and not is_scaling:
            optimizer = LossScaleOptimizer(optimizer)
        self._use_optimizer(optimizer, weight_decay, clip_norm, run_eagerly, steps_per_execution)

    def _use_optimizer(
        self,
        optimizer: keras.optimizers.Optimizer,
        weight_decay: float,
        clip_norm: float,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
    ) -> None:
        super().compile(
            optimizer=optimizer,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=False,
        )
        self._weight_decay, self._clip_norm = weight_decay, clip_norm
        self.optimizer.build(self.network.trainable_variables)

    def fit(
        self, x: tf.data.Dataset, *args: Any, validation_data: Any = None, **kwargs: Any
    ) -> keras.callbacks.History:
        """Train as `keras.Model.fit` does: `fit(batches, validation_data=..., epochs=...)`.

        One device. Of an epoch, logs and history hold the mean losses of the steps that were
        finite, and `finite`, the share that they are; `val_` figures are means over the validation.
        A step that is not finite changes nothing; `keras.callbacks.TerminateOnNaN` stops at one.

        Args:
            x: batches as in the class, which `prepare_dataset` makes.
            *args: as in Keras.
            validation_data: likewise.
            **kwargs: as in Keras.

        Returns:
            What Keras returns.

        Raises:
            DataError: the batches are others. In use, `tf.data` raises `InvalidArgumentError` where
                there is a class that the network does not have.
            ConfigError: nothing of the network is trainable.
        """
        check_trainable(self.network)
        x = self._check_batches(x, "x")
        if validation_data is not None:
            validation_data = self._check_batches(validation_data, "validation_data")
        with self._reporting_fit():
            return super().fit(x, *args, validation_data=validation_data, **kwargs)

    def evaluate(self, x: tf.data.Dataset, *args: Any, **kwargs: Any) -> Any:
        """Compute mean losses as `keras.Model.evaluate` does, of the averaged weights if any.

        Args:
            x: batches as in `fit`, and with its errors.
            *args: as in Keras.
            **kwargs: as in Keras; with `return_dict=True` the answer has the losses' names.

        Returns:
            What Keras returns.
        """
        x = self._check_batches(x, "x")
        with self._reporting_test(), self.averaged_weights():
            return super().evaluate(x, *args, **kwargs)

    def train_on_batch(self, x: Batch, *, return_dict: bool = False) -> Any:
        """Take one step, as `keras.Model.train_on_batch` does.

        Args:
            x: a batch as in the class, such as those of `prepare_dataset`.
            return_dict: answer by name, else a list in the order of the names.

        Returns:
            What `train_step` does, as Python's numbers: `loss`, the losses, and `finite`.

        Raises:
            DataError: it is no such batch, or has a class that the network does not have.
            ConfigError: nothing of the network is trainable.
        """
        check_trainable(self.network)
        self._check_batch(x)
        with self._reporting_fit():
            return super().train_on_batch(x, return_dict=return_dict)

    def test_on_batch(self, x: Batch, *, return_dict: bool = False) -> Any:
        """Compute the losses of a batch, as `keras.Model.test_on_batch` does.

        They are those of the averaged weights if any.

        Args:
            x: a batch as in the class, such as those of `prepare_dataset`.
            return_dict: answer by name, else a list in the order of the names.

        Returns:
            What `test_step` does, as Python's numbers: `loss`, and the losses.

        Raises:
            DataError: it is no such batch, or has a class that the network does not have.
        """
        self._check_batch(x)
        with self._reporting_test(), self.averaged_weights():
            return super().test_on_batch(x, return_dict=return_dict)

    def save(self, filepath: str | Path, overwrite: bool = True, **kwargs: Any) -> None:
        """Save the network, with its averaged weights where there are some, as Keras does.

        So `keras.callbacks.ModelCheckpoint` writes what `keras.saving.load_model` gives back as a
        `FasterRCNN`.

        Args:
            filepath: as in Keras: NAME.keras.
            overwrite: as in Keras.
            **kwargs: as in Keras.
        """
        with self.averaged_weights():
            self.network.save(filepath, overwrite=overwrite, **kwargs)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Detect; the same as calling the network."""
        return self.network(inputs)

    def compute_losses(
        self, batch: Batch, training: bool, loss_mean: Literal["images", "batch"] | None = None
    ) -> Losses:
        """Run the training graph on a batch.

        Args:
            batch: see the class.
            training: whether dropout and batch normalisation are in training mode.
            loss_mean: in the place of the configuration's.

        Returns:
            The losses of all tasks, scalars float32, by `loss_names`.
        """
        network, image_sizes = self.network, batch["image_sizes"]
        images = tf.cast(batch["images"], tf.float32)  # which may have travelled as uint8
        pixels = network.preprocessing((images, image_sizes))
        maps, (objectness, anchor_deltas) = self._run(self._maps_and_rpn, pixels, training)
        anchors = network.anchor_generator((pixels, maps))
        proposals = self.training_proposals((objectness, anchor_deltas, anchors, image_sizes))
        config = self.train_config
        if loss_mean is not None:
            config = dataclasses.replace(config, loss_mean=loss_mean)
        step = Step(
            *(network, config, batch),
            *(maps, anchors, objectness, anchor_deltas, proposals),
            run=self._run,
            run_stage=partial(self._run, self._stage, training),
        )
        losses: Losses = {}
        for task in self.tasks:
            losses |= task.compute(step)
        return losses

    def train_step(self, batch: Batch, may_update: tf.Tensor | bool = True) -> Losses:
        """Update the weights on one batch, unless a loss or a gradient is not finite.

        Args:
            batch: see the class.
            may_update: scalar bool; where it is false, nothing is changed either. The loop takes
                a step before it knows how the one before it went.

        Returns:
            The losses before the update, their sum as `loss`, and `finite`: 1 when the losses and
            the gradients are, 0 when weights and optimiser are as they were. Scalars float32.
        """
        batch = _own_batch(batch)
        variables = self.network.trainable_variables
        # The forward pass moves the statistics of batch normalisation already.
        statistics = [v for v in self.network.non_trainable_variables if "moving_" in v.name]
        kept = [tf.identity(statistic) for statistic in statistics]
        losses, gradients = self._losses_and_gradients(batch, variables)
        total = tf.add_n(list(losses.values()))
        *gradients, total_of_all = sum_over_replicas([*gradients, total])
        gradients, signals = self._clip(gradients, variables)
        finite = tf.reduce_all(
            [tf.reduce_all(tf.math.is_finite(signal)) for signal in (total_of_all, *signals)]
        )
        # Not earlier: the copy that the decay makes of a kernel would stand beside all activations.
        with tf.control_dependencies([finite]):
            gradients = self._with_weight_decay(gradients, variables)
        updates = tf.logical_and(finite, may_update)
        apply_where(updates, self.optimizer, gradients, variables)
        for statistic, value in zip(statistics, kept, strict=True):
            statistic.assign(tf.where(updates, statistic, value))
        logs = {"loss": total, **losses, "finite": tf.cast(finite, tf.float32)}
        if self._fit_means is not None:
            self._fit_means.add(logs, finite)
        return logs

    def test_step(self, batch: Batch) -> Losses:
        """Compute the losses of one batch without an update; sampled as in training.

        Each image weighs the same, whatever `loss_mean` is: so it does not matter how the images
        of a validation are divided into batches.

        Args:
            batch: see the class.

        Returns:
            The losses, and their sum as `loss`.
        """
        losses = self.compute_losses(_own_batch(batch), training=False, loss_mean="images")
        logs = {"loss": tf.add_n(list(losses.values())), **losses}
        if self._test_means is not None:
            self._test_means.add(logs, tf.constant(True))
        return logs

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The means that `fit` or `evaluate` reports while it runs."""
        return [] if self._reported is None else self._reported.metrics

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of the losses of all tasks, in their order."""
        return tuple(name for task in self.tasks for name in task.loss_names)

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Put the moving averages into the network while the block runs; none, no change."""
        if not self._has_averages():
            yield
            return
        variables = self.network.trainable_variables
        weights = [np.asarray(variable) for variable in variables]
        inner_optimizer(self.optimizer).finalize_variable_values(variables)
        try:
            yield
        finally:
            for variable, weight in zip(variables, weights, strict=True):
                variable.assign(weight)

    def finished_network(self) -> FasterRCNN:
        """Give the network that is evaluated and exported, when no more steps are to be taken.

        Returns:
            A network that computes in float32 on one device, with the averaged weights where there
            are some.
        """
        if self._has_averages():
            variables = self.network.trainable_variables
            inner_optimizer(self.optimizer).finalize_variable_values(variables)
        # Mirrored variables cannot be exported by one worker alone.
        is_mirrored = self.distribute_strategy.num_replicas_in_sync > 1
        if self.network.precision == "float32" and not is_mirrored:
            return self.network
        finished = FasterRCNN.from_config({**self.network.get_config(), "precision": "float32"})
        weights = named_weights(self.network)
        for name, variable in named_weights(finished).items():
            variable.assign(weights[name])
        return finished

    def _has_averages(self) -> bool:
        """Tell whether there are moving averages: they start at the first update."""
        steps = np.asarray(self.optimizer.iterations)
        return bool(getattr(inner_optimizer(self.optimizer), "use_ema", False) and steps > 0)

    @property
    def _batch_keys(self) -> tuple[str, ...]:
        """What a step takes of a batch."""
        has_ignored = self.train_config.ignore_crowd_overlap > 0
        return (*_BATCH_KEYS, _IGNORED_BOXES) if has_ignored else _BATCH_KEYS

    def _check_batches(self, batches: Any, argument: str) -> tf.data.Dataset:
        """See that batches have what a step takes, and no class that the network does not have."""
        spec = getattr(batches, "element_spec", None)
        _check_keys(self._batch_keys, spec, argument, batches, "a tf.data.Dataset of batches")
        num_classes, message = self.network.num_classes, self._class_message

        def check(batch: Batch) -> Batch:
            number = tf.reduce_max(batch["gt_classes"])
            tf.debugging.Assert(number <= num_classes, [message, number])
            return batch

        return batches.map(check)

    def _check_batch(self, batch: Any) -> None:
        """See the same of one batch."""
        _check_keys(self._batch_keys, batch, "x", batch, "one batch, a dict")
        number = int(np.max(batch["gt_classes"]))
        if number > self.network.num_classes:
            raise DataError(f"{self._class_message} {number}.")

    @property
    def _class_message(self) -> str:
        return f"classes: the network has {self.network.num_classes}, and the data have number"

    def _reporting_fit(self) -> AbstractContextManager[None]:
        """Report what a training step adds to; made before the step's graph is."""
        if self._fit_means is None:
            self._fit_means = StepMeans(("loss", *self.loss_names, "finite"))
        return self._reporting(self._fit_means)

    def _reporting_test(self) -> AbstractContextManager[None]:
        if self._test_means is None:
            self._test_means = StepMeans(("loss", *self.loss_names))
        return self._reporting(self._test_means)

    @contextmanager
    def _reporting(self, means: StepMeans) -> Iterator[None]:
        """Let Keras look at these means while the block runs.

        `fit` calls `evaluate` for its validation.
        """
        outer, self._reported = self._reported, means
        try:
            yield
        finally:
            self._reported = outer

    def _run(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call a function, compiled with XLA where that was asked for.

        What lies between the functions that are run so does not compile, or draws other samples.
        """
        if not self.train_config.jit_compile:
            return function(*arguments, **options)
        if function not in self._compiled:
            self._compiled[function] = tf.function(function, jit_compile=True)
        return self._compiled[function](*arguments, **options)

    def _maps_and_rpn(self, pixels: tf.Tensor, training: bool) -> tuple[Maps, Any]:
        maps = as_maps(self.network.backbone(pixels, training=training))
        return maps, self.network.rpn_head(maps, training=training)

    def _stage(self, training: bool, name: str, inputs: Any, **options: Any) -> Any:
        return getattr(self.network, name)(inputs, training=training, **options)

    def _losses_and_gradients(
        self, batch: Batch, variables: Sequence[Any]
    ) -> tuple[Losses, list[tf.Tensor]]:
        """Compute this replica's losses, and its share of the gradients."""
        with tf.GradientTape() as tape:
            losses = self.compute_losses(batch, training=True)
            # Gradients are summed over replicas.
            share = 1.0 / tf.distribute.get_strategy().num_replicas_in_sync
            scaled = scale_loss(self.optimizer, share * tf.add_n(list(losses.values())))
        gradients = tape.gradient(scaled, list(variables))
        return losses, unscale_gradients(self.optimizer, gradients)

    def _clip(
        self, gradients: list[tf.Tensor], variables: Sequence[Any]
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Clip the gradients to their global norm, if that is asked for.

        Returns:
            The gradients, and tensors which are not finite if a gradient is not.
        """
        limit = self._clip_norm
        if limit > 0:
            gradients, norm = tf.clip_by_global_norm(gradients, limit)
        if isinstance(self.optimizer, LossScaleOptimizer):
            return gradients, []  # the loss scale is found by overflows, after which it is halved
        if limit > 0:
            return gradients, [norm]
        name_of = {id(variable): name for name, variable in named_weights(self.network).items()}
        return gradients, telling_gradients(
            gradients, [name_of[id(variable)] for variable in variables]
        )

    def _with_weight_decay(
        self, gradients: Sequence[tf.Tensor], variables: Sequence[Any]
    ) -> list[tf.Tensor]:
        """Add the gradient of 0.5 * weight_decay * |kernel|^2, before momentum: coupled L2.

        Keras' own `weight_decay` is decoupled and skips the momentum: about ten times weaker than
        Caffe's and torch's at momentum 0.9.
        """
        decay = self._weight_decay
        if decay == 0:
            return list(gradients)
        return [
            gradient + tf.constant(decay, gradient.dtype) * tf.convert_to_tensor(variable)
            if _is_kernel(variable)
            else gradient
            for gradient, variable in zip(gradients, variables, strict=True)
        ]


def _own_batch(batch: Any) -> Any:
    """Give the batch itself: Keras' `..._on_batch` put it into a tuple, with targets behind it."""
    return batch[0] if isinstance(batch, tuple) else batch


def _check_keys(keys: Sequence[str], found: Any, argument: str, given: Any, expected: str) -> None:
    """Refuse what was given where what was found in it is no dict with all that a step takes."""
    if isinstance(found, dict) and all(key in found for key in keys):
        return
    told = ", ".join(map(str, found)) if isinstance(found, dict) else type(given).__name__
    option = " (with_ignored_boxes=True)" if _IGNORED_BOXES in keys else ""
    raise DataError(
        f"{argument} ({told}): expected {expected} with {', '.join(keys)}, as "
        f"tf_frcnn.prepare_dataset{option} makes them of a data set."
    )


def _is_kernel(variable: Any) -> bool:
    """Tell whether the decay takes a variable, whose name Keras 2 writes with path and number.

    Depthwise and separable convolutions have `depthwise_kernel` and `pointwise_kernel`.
    """
    return variable.name.split("/")[-1].split(":")[0].endswith("kernel")
