"""From the Keras network to the bytes of a TFLite file, in one of four forms."""

import tempfile
from collections.abc import Iterable, Mapping
from contextlib import nullcontext

import numpy as np
import tensorflow as tf

from tf_frcnn.checkpoints import named_weights
from tf_frcnn.environment import without_library_messages
from tf_frcnn.errors import UserError
from tf_frcnn.inference import InferenceModel
from tf_frcnn.tflite.convertible import check_convertible
from tf_frcnn.tflite.file import foreign_operators, read_model
from tf_frcnn.tflite.network import NETWORK_INPUT, SIGNATURE, build_detect
from tf_frcnn.tflite.quantization import RangeObserver, Ranges, RoundingObserver, observing


class Converter:
    """Converts a model for images of one size.

    Args of `__init__`: `model` with its weights; `image_size`, the (height, width) of the
    images in pixels.

    Raises of `__init__`: `ConfigError` where the network does what TFLite cannot do.
    """

    def __init__(self, model: InferenceModel, image_size: tuple[int, int]) -> None:
        check_convertible(model.network.roi_pooling.op, model.network.config.flip_at_test)
        self.model = model
        self.image_size = image_size

    def convert(self, form: str, ranges: Ranges | None = None) -> bytes:
        """Convert to builtin operators.

        Args:
            form: `none` for float32 throughout; `float16` for weights of half the size, computed in
                float32; `dynamic` for 8-bit weights, with inputs rounded as they come; `int8` for
                convolutions and FC layers in 8 bits.
            ranges: for `int8`, as `find_ranges` returns them.

        Returns:
            The content of the file.

        Raises:
            UserError: the installed TensorFlow has no builtin operator for a part of the network.
        """
        observer = RoundingObserver(ranges) if ranges is not None else None
        with tempfile.TemporaryDirectory() as folder, without_library_messages():
            # From a SavedModel: the converter loses the variables of functions (TensorFlow 2.21).
            self._save(folder, observer)
            converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
            if form != "none":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if form == "float16":
                converter.target_spec.supported_types = [tf.float16]
            try:
                content = converter.convert()
            except Exception as error:  # its class is not public
                raise _not_builtin(str(error).strip().splitlines()[0]) from None
        foreign = foreign_operators(read_model(content))
        if foreign:
            raise _not_builtin(f"it left {', '.join(sorted(foreign))}")
        return content

    def find_ranges(self, images: Iterable[np.ndarray]) -> dict[str, tuple[float, float]]:
        """Find the range of every tensor that `int8` rounds, over some images.

        Args:
            images: [H, W, 3] uint8 RGB of the file's image size, at least one.

        Returns:
            Name of a tensor -> its smallest and largest value.
        """

        @tf.function(input_signature=[self._spec()])
        def extremes(images: tf.Tensor) -> Mapping[str, tf.Tensor]:
            observer = RangeObserver()
            with observing(self.model.network, observer):
                build_detect(self.model, self.image_size, observer)(images)
            return observer.extremes()

        ranges: dict[str, tuple[float, float]] = {}
        for image in images:
            for name, pair in extremes(tf.expand_dims(image, 0)).items():
                smallest, largest = (float(value) for value in pair)
                known = ranges.get(name, (smallest, largest))
                ranges[name] = (min(known[0], smallest), max(known[1], largest))
        # That of any image, for the next one may be brighter than all of these.
        ranges[NETWORK_INPUT] = self.model.network.preprocessing.value_range
        return ranges

    def _save(self, folder: str, observer: RoundingObserver | None) -> None:
        """Write the SavedModel that is converted, variables and all."""
        network = self.model.network
        if observer is None:
            detect = build_detect(self.model, self.image_size)
        else:
            detect = build_detect(self.model, self.image_size, observer)
        module = tf.Module()
        module.weights = {
            name: variable.value if isinstance(variable.value, tf.Variable) else variable
            for name, variable in named_weights(network).items()
        }
        module.detect = tf.function(detect, input_signature=[self._spec()])
        with nullcontext() if observer is None else observing(network, observer):
            tf.saved_model.save(module, folder, signatures={SIGNATURE: module.detect})

    def _spec(self) -> tf.TensorSpec:
        return tf.TensorSpec([1, *self.image_size, 3], tf.uint8, name="images")


def _not_builtin(problem: str) -> UserError:
    return UserError(
        f"the network cannot be converted to TFLite's builtin operators by TensorFlow "
        f"{tf.__version__}: {problem}. Expected a conversion without Flex and custom operators, as "
        "TensorFlow 2.21 makes it: install that, or use the SavedModel."
    )
