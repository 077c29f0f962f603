"""Requests that TensorFlow Serving sends to a model before it serves it.

The first request of a signature makes TensorFlow arrange its graph, which takes seconds. The server
takes such requests from a file beside the model: records of its PredictionLog
(tensorflow_serving/apis/prediction_log.proto).
"""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
_LONG_SIDE = 64

_STRING = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
_BYTES = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
_ONE = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
_MANY = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED

# The part of the server's messages that is needed: message -> (field, its number, type). On the
# wire a message inside of another one looks as bytes do, and tensors are kept as such.
_MESSAGES: dict[str, list[tuple[str, int, Any]]] = {
    "ModelSpec": [("name", 1, _STRING), ("signature_name", 3, _STRING)],
    "Input": [("key", 1, _STRING), ("value", 2, _BYTES)],  # an entry of the request's map
    "PredictRequest": [("model_spec", 1, "ModelSpec"), ("inputs", 2, "Input")],
    "PredictLog": [("request", 1, "PredictRequest")],
    "PredictionLog": [("predict_log", 6, "PredictLog")],
}
_REPEATED = {"inputs"}


def write_warmup_requests(
    version: Path, model_name: str, signatures: dict[str, Any], short_side: int, long_side: int
) -> None:
    """Write one request for every signature of an export.

    The image is small and of the shape short_side x long_side: the network resizes it to that,
    so that it does the work of any image.

    Args:
        version: folder of the export.
        model_name: that the server will know it by.
        signatures: those of `make_signatures`.
        short_side: to which the network resizes, in pixels.
        long_side: as short_side.

    Raises:
        OSError: it cannot be written; so does tf.errors.OpError.
    """
    path = version / WARMUP_FILE
    path.parent.mkdir()
    image = _image(short_side / long_side)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, function in signatures.items():
            (spec,) = function.input_signature
            value = _as_input(image, spec.dtype)
            writer.write(_prediction_log(model_name, name, spec.name, value))


def _image(shape: float) -> np.ndarray:
    """Draw an image whose colours change from pixel to pixel: [H, W, 3] uint8, H / W = shape."""
    rows, columns = np.mgrid[0 : max(1, round(shape * _LONG_SIDE)), 0:_LONG_SIDE]
    return np.stack([4 * rows, 4 * columns, 37 * (rows + columns)], axis=-1).astype(np.uint8)


def _as_input(image: np.ndarray, dtype: tf.DType) -> np.ndarray:
    if dtype == tf.string:
        return np.array([tf.io.encode_jpeg(image).numpy(), tf.io.encode_png(image).numpy()])
    return image[None].astype(dtype.as_numpy_dtype)


def _prediction_log(model_name: str, signature: str, key: str, value: np.ndarray) -> bytes:
    message = _message_class("PredictionLog")()
    request = message.predict_log.request
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    request.inputs.add(key=key, value=tf.make_tensor_proto(value).SerializeToString())
    return message.SerializeToString()


def _message_class(name: str) -> Any:
    """Make the class of a message.

    The package tensorflow-serving-api has them all, but a server's messages are more than an
    export should have to install.
    """
    package = "tf_frcnn.warmup"
    file = descriptor_pb2.FileDescriptorProto(
        name="tf_frcnn/warmup.proto", package=package, syntax="proto3"
    )
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for field_name, number, kind in fields:
            label = _MANY if field_name in _REPEATED else _ONE
            field = message.field.add(name=field_name, number=number, label=label)
            if isinstance(kind, str):
                field.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
                field.type_name = f".{package}.{kind}"
            else:
                field.type = kind
    pool = descriptor_pool.DescriptorPool()  # of its own: the package's messages may be loaded too
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
