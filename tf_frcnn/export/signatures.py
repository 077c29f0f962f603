"""The signatures of an export: one network, and three ways to send it images.

All answer what `InferenceModel.detect` does.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack

import tensorflow as tf

from tf_frcnn.checkpoints import named_weights
from tf_frcnn.export.decoding import check_formats, decode_image
from tf_frcnn.export.folding import folded_normalization
from tf_frcnn.export.freezing import freeze
from tf_frcnn.inference import InferenceModel
from tf_frcnn.ops.convolution import convolutions_for_this_machine

Signature = Callable[[tf.Tensor], Mapping[str, tf.Tensor]]


def matrices(model: InferenceModel) -> dict[str, tf.Variable]:
    """List the variables that stay variables in a frozen export, by name: kernels of FC layers.

    In VGG16 they are nine tenths of the weights.
    """
    weights = plain_weights(model)
    return {name: variable for name, variable in weights.items() if len(variable.shape) == 2}


def plain_weights(model: InferenceModel) -> dict[str, tf.Variable]:
    """List the variables themselves, not the Keras model around them: a file needs no Keras."""
    return {
        name: variable.value if isinstance(variable.value, tf.Variable) else variable
        for name, variable in named_weights(model.network).items()
    }


def make_signatures(
    model: InferenceModel, frozen: bool = False, apply_exif: bool = False
) -> dict[str, Signature]:
    """Make the functions that become an export's signatures.

    `serving_default` takes `images` uint8 [B, H, W, 3] RGB of any B, H, W; `serve_float` the same
    in float32, 0-255; `serve_encoded` takes `image_bytes` string [B], a JPEG or a PNG each, whose
    sizes may differ.

    Args:
        model: what they run.
        frozen: keep its variables as constants instead, all but its `matrices`.
        apply_exif: have `serve_encoded` turn images upright by their EXIF orientation; boxes are in
            pixels of the turned image.

    Returns:
        Name -> function.
    """
    network = tf.function(
        model.detect, input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)]
    )
    with ExitStack() as stack:
        if frozen:  # for CPUs like this one; what is not, for any machine and further training
            stack.enter_context(convolutions_for_this_machine())
            stack.enter_context(folded_normalization(model.network))
        traced = network.get_concrete_function()
    detect = freeze(traced, list(matrices(model).values())) if frozen else network
    one = {
        name: tf.TensorSpec(value.shape[1:], value.dtype)
        for name, value in traced.structured_outputs.items()
    }

    def serving_default(images: tf.Tensor) -> Mapping[str, tf.Tensor]:
        return detect(tf.cast(images, tf.float32))

    def serve_float(images: tf.Tensor) -> Mapping[str, tf.Tensor]:
        return detect(images)

    def detect_one(content: tf.Tensor) -> Mapping[str, tf.Tensor]:
        image = tf.cast(decode_image(content, apply_exif), tf.float32)
        return {
            name: tf.squeeze(value, 0) for name, value in detect(tf.expand_dims(image, 0)).items()
        }

    def serve_encoded(image_bytes: tf.Tensor) -> Mapping[str, tf.Tensor]:
        with tf.control_dependencies([check_formats(image_bytes)]):
            image_bytes = tf.identity(image_bytes)
        # One by one: sizes differ, and padding to a common one would change what the network sees
        # at the borders. Each image has all cores.
        return tf.map_fn(detect_one, image_bytes, parallel_iterations=1, fn_output_signature=one)

    def spec_of(dtype: tf.DType) -> tf.TensorSpec:
        return tf.TensorSpec([None, None, None, 3], dtype, name="images")

    inputs = {
        serving_default: spec_of(tf.uint8),
        serve_float: spec_of(tf.float32),
        serve_encoded: tf.TensorSpec([None], tf.string, name="image_bytes"),
    }
    return {
        serve.__name__: tf.function(serve, input_signature=[spec]) for serve, spec in inputs.items()
    }
