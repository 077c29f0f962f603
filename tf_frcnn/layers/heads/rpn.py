"""The head of the region proposal network: convolutions that every map goes through."""

from typing import Any

import keras
import tensorflow as tf

from tf_frcnn.layers.convolution import Conv3x3
from tf_frcnn.ops.maps import Maps


@keras.saving.register_keras_serializable(package="tf_frcnn")
class RPNHead(keras.layers.Layer):
    """3 x 3 convolutions, normally one, then two 1 x 1 ones (section 3.1; slides: RPN).

    Inputs: maps, L x [B, h, w, C]. Returns objectness, L x [B, h * w * num_anchors], one logit an
    anchor, and anchor_deltas, L x [B, h * w * num_anchors, 4] (dy, dx, log dh, log dw). Anchors are
    innermost, in the order of `AnchorGenerator`. All convolutions start at N(0, 0.01).

    With `paired`, the classification layer answers the slides' pair for each anchor: channel 2a is
    the logit of the object and 2a + 1 that of the background. Their difference is the objectness:
    softmax cross entropy over the pair is the binary cross entropy of that, gradients included.
    """

    def __init__(
        self,
        channels: int,
        num_anchors: int,
        paired: bool = False,
        num_convs: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.channels = channels
        self.num_anchors = num_anchors
        self.paired = paired
        self.num_convs = num_convs
        self.conv_names = ("conv", *(f"conv{number}" for number in range(2, num_convs + 1)))
        for name in self.conv_names:
            conv = Conv3x3(
                channels,
                activation="relu",
                kernel_initializer=_start(),
                name=f"rpn_{name}",
                dtype=self.dtype_policy,
            )
            setattr(self, name, conv)
        self.objectness, self.deltas = (
            keras.layers.Conv2D(
                size * num_anchors, 1, kernel_initializer=_start(), name=name, dtype="float32"
            )
            for size, name in ((2 if paired else 1, "rpn_objectness"), (4, "rpn_deltas"))
        )

    def build(self, input_shape: Any) -> None:
        """Create the weights for the channels of the maps, which all have as many."""
        map_shape = input_shape[0]
        hidden_shape = (*map_shape[:-1], self.channels)
        for name in self.conv_names:
            getattr(self, name).build(map_shape if name == "conv" else hidden_shape)
        self.objectness.build(hidden_shape)
        self.deltas.build(hidden_shape)
        super().build(input_shape)

    def call(
        self, maps: Maps, training: bool | None = None
    ) -> tuple[tuple[tf.Tensor, ...], tuple[tf.Tensor, ...]]:
        """See the class."""
        objectness, anchor_deltas = [], []
        for one_map in maps:
            hidden = one_map
            for name in self.conv_names:
                hidden = getattr(self, name)(hidden, training=training)
            batch = tf.shape(one_map)[0]
            logits = self.objectness(hidden)  # [B, h, w, 2a] or [B, h, w, a] float32
            if self.paired:
                pairs = tf.reshape(logits, [batch, -1, 2])
                objectness.append(pairs[..., 0] - pairs[..., 1])
            else:
                objectness.append(tf.reshape(logits, [batch, -1]))
            anchor_deltas.append(tf.reshape(self.deltas(hidden), [batch, -1, 4]))
        return tuple(objectness), tuple(anchor_deltas)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        names = ("channels", "num_anchors", "paired", "num_convs")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _start() -> keras.initializers.Initializer:
    return keras.initializers.RandomNormal(stddev=0.01)
