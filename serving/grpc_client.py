"""Detect with a served model over gRPC: a drawing of each image, and detections.json.

Exit status 1 when an image could not be read, 2 when the server cannot be used.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tyro
from client import ClientArguments, run_client
from failures import no_answer_in_time, no_server, not_loaded, refused
from messages import INPUT, SIGNATURE, from_response

from tf_frcnn.environment import load_tensorflow, set_up_logging
from tf_frcnn.errors import UserError, run_command
from tf_frcnn.prediction import Prediction

DEFAULT_SERVER = "localhost:8500"
_ANY_SIZE = -1
_OPTIONS = (
    ("grpc.max_receive_message_length", _ANY_SIZE),  # 4 MiB otherwise
    ("grpc.max_send_message_length", _ANY_SIZE),
)


@dataclass(frozen=True)
class GrpcArguments(ClientArguments):
    """Everything that the gRPC client takes."""

    server: str = DEFAULT_SERVER
    """Address of the server, HOST:PORT."""


class GrpcServer:
    """A served model over gRPC; needs the package tensorflow-serving-api, which needs TensorFlow.

    Args of `__init__`: `target` of the server; `model` and `version` as it serves them; `timeout`
    in seconds. It raises `UserError` if the address is invalid or a package is missing.

    Attributes:
        address: of the server and the model.
    """

    def __init__(self, target: str, model: str, version: int | None, timeout: float) -> None:
        if "://" in target or not target.rpartition(":")[2].isdecimal():
            raise UserError(f"--server {target}: expected one as {DEFAULT_SERVER}.")
        load_tensorflow()
        try:
            import grpc
            from tensorflow_serving.apis import predict_pb2
            from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub
        except ImportError as error:
            raise UserError(
                f"gRPC needs the package tensorflow-serving-api, which cannot be imported "
                f"({error}). Install it: python -m pip install -e '.[serving]'; or use REST."
            ) from None
        self._grpc = grpc
        self._request_type = predict_pb2.PredictRequest
        channel = grpc.insecure_channel(target, options=_OPTIONS)
        self._predict = PredictionServiceStub(channel).Predict
        self._model, self._version, self._timeout = model, version, timeout
        suffix = "" if version is None else f" version {version}"
        self.address = f"{target}, model {model}{suffix}"

    def prepare(self, images: Sequence[bytes]) -> Any:
        """Write the `PredictRequest` for the contents of JPEG or PNG files."""
        import tensorflow as tf

        request = self._request_type()
        request.model_spec.name = self._model
        request.model_spec.signature_name = SIGNATURE
        if self._version is not None:
            request.model_spec.version.value = self._version
        request.inputs[INPUT].CopyFrom(tf.make_tensor_proto(list(images), tf.string))
        return request

    def detect(self, request: Any, num_images: int) -> list[Prediction]:
        """Send a request and read the answer.

        Args:
            request: what `prepare` wrote.
            num_images: in it.

        Raises:
            UserError: there is no server, no answer in time, no such model, the request is
                refused, or the answer is of another kind.
        """
        try:
            answer = self._predict(request, timeout=self._timeout)
        except self._grpc.RpcError as error:
            raise self._failure(error.code(), error.details()) from None
        try:
            rows = to_rows(answer.outputs)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{self.address}: the answer holds a tensor that cannot be read ({error}). "
                "Expected the Predict API of TensorFlow Serving."
            ) from None
        return from_response(rows, num_images, self.address)

    def _failure(self, code: Any, details: str | None) -> UserError:
        codes = self._grpc.StatusCode
        if code == codes.UNAVAILABLE:
            return no_server(self.address, details)
        if code == codes.DEADLINE_EXCEEDED:
            return no_answer_in_time(self.address, self._timeout)
        if code == codes.NOT_FOUND:
            return not_loaded(self.address, details or "")
        return refused(self.address, code.name, details or "")


def to_rows(outputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Take tensors apart by their batch dimension, into rows like those of REST.

    Args:
        outputs: name -> `TensorProto`.

    Returns:
        As many rows as the shortest tensor has; a tensor without dimensions has none.
    """
    import tensorflow as tf

    arrays = {name: tf.make_ndarray(tensor) for name, tensor in outputs.items()}
    num_rows = min((len(array) if array.ndim else 0 for array in arrays.values()), default=0)
    return [{name: array[row] for name, array in arrays.items()} for row in range(num_rows)]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the client and return its exit status.

    Args:
        argv: arguments without the program's name; the process's own when None.

    Raises:
        UserError: an option cannot be used, there are no images, or the server fails.
    """
    arguments = tyro.cli(GrpcArguments, prog="grpc_client.py", description=__doc__, args=argv)
    set_up_logging()
    arguments.check()
    server = GrpcServer(arguments.server, arguments.model, arguments.version, arguments.timeout)
    return run_client(arguments, server)


if __name__ == "__main__":
    sys.exit(run_command(main))
