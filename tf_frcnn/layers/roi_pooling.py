"""RoI pooling: a map of fixed size for every RoI, by the operator of one's choice."""

from typing import Any

import keras
import tensorflow as tf

from tf_frcnn.ops.roi_pool import ROI_OPS


@keras.saving.register_keras_serializable(package="tf_frcnn")
class RoIPooling(keras.layers.Layer):
    """Pools the features inside each RoI to `output_size` x `output_size` cells.

    Inputs: features [B, h, w, C]; rois [B, R, 4] float32 yxyx boxes in pixels of the network's
    input. Returns roi_features [B, R, output_size, output_size, C] in the features' dtype. No
    gradient flows to the RoIs; padding (empty RoIs) gives finite values that nobody reads.

    Args of `__init__`: `op` is a key of `ROI_OPS`, `stride` the pixels a cell of the feature map.
    """

    def __init__(self, op: str, stride: int, output_size: int = 7, **kwargs: Any) -> None:
        # autocast off: RoIs stay float32 under mixed precision, whatever the features are.
        super().__init__(**{"autocast": False, **kwargs})
        if op not in ROI_OPS:
            raise ValueError(f"op = {op!r}: expected one of {', '.join(ROI_OPS)}.")
        self.op = op
        self.stride = stride
        self.output_size = output_size

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """See the class."""
        features, rois = inputs
        return ROI_OPS[self.op](features, rois, self.stride, self.output_size)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Return [B, R, output_size, output_size, C]."""
        features, rois = input_shape
        return (features[0], rois[1], self.output_size, self.output_size, features[-1])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        names = ("op", "stride", "output_size")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
