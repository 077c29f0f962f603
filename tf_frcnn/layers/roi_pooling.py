"""RoI pooling: features of fixed size for every RoI, by the operator of one's choice."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_frcnn.ops.maps import Maps
from tf_frcnn.ops.roi_pool import MULTISCALE_ROI_OPS, ROI_OPS


@keras.saving.register_keras_serializable(package="tf_frcnn")
class RoIPooling(keras.layers.Layer):
    """Pools the features inside each RoI to `output_size` x `output_size` cells.

    Inputs: maps, L x [B, h_l, w_l, C], of which the first `len(strides)` are read; rois [B, R, 4]
    float32 yxyx boxes in pixels of the network's input. Returns roi_features
    [B, R, output_size, output_size, C] in the maps' dtype. No gradient flows to the RoIs; padding
    (empty RoIs) gives finite values that nobody reads.

    Args of `__init__`: `op` is a key of `ROI_OPS`, of several maps one of `MULTISCALE_ROI_OPS`;
    `strides` are the pixels a cell of the maps, fine to coarse.
    """

    def __init__(
        self, op: str, strides: Sequence[float], output_size: int = 7, **kwargs: Any
    ) -> None:
        # autocast off: RoIs stay float32 under mixed precision, whatever the features are.
        super().__init__(**{"autocast": False, **kwargs})
        known = ROI_OPS if len(strides) == 1 else MULTISCALE_ROI_OPS
        if op not in known:
            raise ValueError(
                f"op = {op!r} on {len(strides)} map(s): expected one of {', '.join(known)}."
            )
        self.op = op
        self.strides = tuple(strides)
        self.output_size = output_size

    def call(self, inputs: tuple[Maps, tf.Tensor]) -> tf.Tensor:
        """See the class."""
        maps, rois = inputs
        if len(self.strides) == 1:
            return ROI_OPS[self.op](maps[0], rois, self.strides[0], self.output_size)
        maps = tuple(maps[: len(self.strides)])
        return MULTISCALE_ROI_OPS[self.op](maps, rois, self.strides, self.output_size)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Return [B, R, output_size, output_size, C]."""
        maps, rois = input_shape
        return (maps[0][0], rois[1], self.output_size, self.output_size, maps[0][-1])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        names = ("op", "strides", "output_size")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
