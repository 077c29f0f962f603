"""The box head, the paper's detection network: fully connected layers, and two branches."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_frcnn.layers.convolution import Conv3x3
from tf_frcnn.layers.normalization import batch_normalization
from tf_frcnn.ops.dropout import stateless_dropout
from tf_frcnn.ops.random_streams import FoldedStream

CLASS_LAYERS = ("box_classes", "box_deltas")
"""Layers whose last axis is one number a class, or four, the background first."""

_DROPOUT_STREAMS = (FoldedStream.FC1_DROPOUT, FoldedStream.FC2_DROPOUT)


class _Normal(keras.initializers.RandomNormal):
    """Draws what RandomNormal draws, in the memory of one array.

    Its operators, run one by one, take three: 1.2 GiB for VGG16's first FC layer, which TensorFlow
    keeps, and a training's peak is the higher for it.
    """

    def __call__(self, shape: Sequence[int], dtype: Any = None, **kwargs: Any) -> tf.Tensor:
        draw = super().__call__
        # The shape is an argument: with constants alone, TensorFlow draws once more to fold them.
        of_shape = tf.TensorSpec([len(shape)], tf.int32)
        function = tf.function(lambda shape: draw(shape, dtype, **kwargs))
        drawn = function.get_concrete_function(of_shape)(tf.constant(shape))
        drawn.set_shape(shape)
        return drawn


@keras.saving.register_keras_serializable(package="tf_frcnn")
class BoxHead(keras.layers.Layer):
    """Flatten, fully connected layers, two branches (slides: detection network).

    Inputs: roi_features [B, R, 7, 7, C]; in training with dropout also `seeds` [B, 2] int32, from
    which alone it is drawn. Returns class_logits [B, R, 1 + N] and box_deltas [B, R, 1 + N, 4] (dy,
    dx, log dh, log dw relative to the RoI, divided by the box coder's std); class 0 is the
    background. The classifier starts at N(0, 0.01), the box branch at N(0, 0.001).

    With `conv_channels`, 3 x 3 convolutions without bias come first, each with batch normalisation
    and ReLU.

    With a `rank`, each FC layer is a product of two: a projection to `rank` numbers, without bias
    or activation, and the layer itself on those (Fast R-CNN, section 3.1). Such a head is made from
    a trained one; how it starts means nothing.

    Args of `__init__`: `units` of the FC layers, `num_classes` N without the background, `dropout`
    after each FC layer, `fc_stddev` of the FC layers' normal initialisation (0 for He's), `fc_bias`
    their biases' start, `rank` of all of them (0 for whole ones), `num_fcs` how many there are, one
    or two, `conv_channels` of each convolution before them.
    """

    def __init__(
        self,
        units: int,
        num_classes: int,
        dropout: float = 0.0,
        fc_stddev: float = 0.005,
        fc_bias: float = 0.1,
        rank: int = 0,
        num_fcs: int = 2,
        conv_channels: Sequence[int] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.num_classes = num_classes
        self.dropout = dropout
        self.fc_stddev = fc_stddev
        self.fc_bias = fc_bias
        self.rank = rank
        self.num_fcs = num_fcs
        self.conv_channels = tuple(conv_channels)
        self.fc_names = tuple(f"fc{number}" for number in range(1, num_fcs + 1))
        for name in self.fc_names:
            fc = keras.layers.Dense(
                units,
                activation="relu",
                kernel_initializer=_Normal(stddev=fc_stddev) if fc_stddev > 0 else "he_normal",
                bias_initializer=keras.initializers.Constant(fc_bias),
                name=name,
                dtype=self.dtype_policy,
            )
            setattr(self, name, fc)
        for name in self.fc_names if rank else ():
            projection = keras.layers.Dense(
                rank, use_bias=False, name=f"{name}_projection", dtype=self.dtype_policy
            )
            setattr(self, projection.name, projection)
        self.convs = [
            Conv3x3(
                channels,
                use_bias=False,
                kernel_initializer="he_normal",
                name=f"box_conv{number}",
                dtype=self.dtype_policy,
            )
            for number, channels in enumerate(self.conv_channels, start=1)
        ]
        self.norms = [
            batch_normalization(f"bn_{conv.name}", self.dtype_policy) for conv in self.convs
        ]
        # Layers, as int8 ranges are found between layers.
        self.activations = [
            keras.layers.ReLU(name=f"{conv.name}_relu", dtype=self.dtype_policy)
            for conv in self.convs
        ]
        self.classes, self.deltas = (
            keras.layers.Dense(
                size * (1 + num_classes),
                kernel_initializer=_Normal(stddev=stddev),
                name=name,
                dtype="float32",
            )
            for name, size, stddev in zip(CLASS_LAYERS, (1, 4), (0.01, 0.001), strict=True)
        )

    def build(self, input_shape: Any) -> None:
        """Create the weights for RoI features of [height, width, channels] `input_shape[2:]`."""
        height, width, channels = input_shape[2:]
        for conv, norm in zip(self.convs, self.norms, strict=True):
            conv.build((None, height, width, channels))
            channels = conv.filters
            norm.build((None, height, width, channels))
        self.flat_size = size = height * width * channels
        for name in self.fc_names:
            if self.rank:
                getattr(self, f"{name}_projection").build((None, size))
            getattr(self, name).build((None, self.rank or size))
            size = self.units
        self.classes.build((None, self.units))
        self.deltas.build((None, self.units))
        super().build(input_shape)

    def call(
        self,
        roi_features: tf.Tensor,
        training: bool | None = None,
        seeds: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """See the class."""
        batch, num_rois = tf.shape(roi_features)[0], roi_features.shape[1]
        num_rois = tf.shape(roi_features)[1] if num_rois is None else num_rois
        hidden = roi_features
        if self.convs:
            hidden = tf.reshape(hidden, [-1, *hidden.shape[2:]])
        for conv, norm, activate in zip(self.convs, self.norms, self.activations, strict=True):
            hidden = activate(norm(conv(hidden, training=training), training=training))
        hidden = tf.reshape(hidden, [-1, self.flat_size])
        for name, stream in zip(self.fc_names, _DROPOUT_STREAMS, strict=False):
            if self.rank:
                hidden = getattr(self, f"{name}_projection")(hidden)
            hidden = getattr(self, name)(hidden)
            if training and self.dropout > 0:
                hidden = self._drop(hidden, seeds, stream)
        return (
            tf.reshape(self.classes(hidden), [batch, num_rois, 1 + self.num_classes]),
            tf.reshape(self.deltas(hidden), [batch, num_rois, 1 + self.num_classes, 4]),
        )

    def _drop(self, hidden: tf.Tensor, seeds: tf.Tensor | None, stream: FoldedStream) -> tf.Tensor:
        """Drop units of all RoIs, [B * R, units], with a draw of its own for each image."""
        if seeds is None:
            raise ValueError("dropout in training needs the images' seeds: box_head(..., seeds=)")
        per_image = tf.reshape(hidden, [tf.shape(seeds)[0], -1, self.units])
        dropped = stateless_dropout(per_image, self.dropout, seeds, stream)
        return tf.reshape(dropped, [-1, self.units])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        names = (
            *("units", "num_classes", "dropout", "fc_stddev", "fc_bias", "rank"),
            *("num_fcs", "conv_channels"),
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
