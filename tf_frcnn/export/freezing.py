"""Variables turned into constants, around which TensorFlow's CPU kernels can be arranged."""

from collections.abc import Callable, Mapping

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2


def freeze(
    detect: tf.types.experimental.ConcreteFunction,
) -> Callable[..., Mapping[str, tf.Tensor]]:
    """Make a function of one that reads variables, with their values inside.

    TensorFlow may then fold normalisation into kernels, fuse convolution, bias and ReLU, and keep
    kernels in the layout that its CPU library wants.

    Args:
        detect: answers a dict of tensors.

    Returns:
        A function that takes and answers the same and holds no variables. Called in several graphs
        of one SavedModel, its constants are in the file once.
    """
    # Loops stay whole: in the form of TensorFlow 1 they cannot be called from other functions.
    frozen = convert_variables_to_constants_v2(detect, lower_control_flow=False)
    names = sorted(detect.structured_outputs)  # a dict is flattened so; freezing forgets the names

    def detect_frozen(images: tf.Tensor) -> Mapping[str, tf.Tensor]:
        return dict(zip(names, frozen(images), strict=True))

    return detect_frozen
