"""Detect with a served model over REST: a drawing of each image, and detections.json.

Exit status 1 when an image could not be read, 2 when the server cannot be used.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlsplit

import tyro
from client import ClientArguments, run_client
from failures import no_answer_in_time, no_server, not_loaded, refused, shorten
from messages import from_response, to_request

from tf_frcnn.environment import set_up_logging
from tf_frcnn.errors import UserError, run_command
from tf_frcnn.prediction import Prediction

DEFAULT_SERVER = "http://localhost:8501"


@dataclass(frozen=True)
class RestArguments(ClientArguments):
    """Everything that the REST client takes."""

    server: str = DEFAULT_SERVER
    """Address of the server, http or https."""


class RestServer:
    """A served model over REST, with the standard library alone.

    Each request opens its own connection, which takes no time beside a detection and is never found
    closed. Proxies that the environment names are not used.

    Args of `__init__`: `url` of the server; `model` and `version` as it serves them; `timeout` in
    seconds. It raises `UserError` if the address is invalid.

    Attributes:
        address: of the model.
    """

    def __init__(self, url: str, model: str, version: int | None, timeout: float) -> None:
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError as error:
            raise _no_address(url, f"is no address ({error})") from None
        if parts.scheme not in ("http", "https"):
            raise _no_address(url, "does not begin with http:// or https://")
        if not self._host:
            raise _no_address(url, "names no host after http:// or https://")
        self._connection = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._path = f"{parts.path.rstrip('/')}/v1/models/{quote(model, safe='')}"
        if version is not None:
            self._path += f"/versions/{version}"
        self._timeout = timeout
        self.address = f"{parts.scheme}://{parts.netloc}{self._path}"

    def prepare(self, images: Sequence[bytes]) -> bytes:
        """Write the body of a request; see `to_request`."""
        return json.dumps(to_request(images)).encode()

    def detect(self, request: bytes, num_images: int) -> list[Prediction]:
        """Send a request and read the answer.

        Args:
            request: what `prepare` wrote.
            num_images: in it.

        Raises:
            UserError: there is no server, no answer in time, no such model, the request is
                refused, or the answer is of another kind.
        """
        status, text = self._exchange(request)
        try:
            answer = json.loads(text)
        except ValueError:  # also raised for text that is not UTF-8
            answer = None
        if status != 200:
            message = _error_message(answer, text)
            if status == 404:
                raise not_loaded(self.address, message)
            raise refused(self.address, str(status), message)
        if not isinstance(answer, dict):
            raise UserError(
                f"{self.address}: the answer is no JSON object ({shorten(_to_text(text))!r}). "
                "Expected the REST API of TensorFlow Serving."
            )
        return from_response(answer.get("predictions"), num_images, self.address)

    def _exchange(self, body: bytes) -> tuple[int, bytes]:
        """Post a request -> status and content of the answer."""
        connection = self._connection(self._host, self._port, timeout=self._timeout)
        headers = {"Content-Type": "application/json"}
        try:
            connection.request("POST", f"{self._path}:predict", body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except TimeoutError:
            raise no_answer_in_time(self.address, self._timeout) from None
        except OSError as error:
            raise no_server(self.address, error) from None
        except HTTPException as error:
            raise UserError(
                f"{self.address}: the answer is no complete HTTP ({error!r}). The server was "
                "stopped meanwhile, or this is not its port for REST, 8501 by default; that of "
                "gRPC is 8500."
            ) from None
        finally:
            connection.close()


def _no_address(url: str, reason: str) -> UserError:
    return UserError(f"--server {url}: {reason}. Expected one as {DEFAULT_SERVER}.")


def _error_message(answer: Any, text: bytes) -> str:
    """Find the server's message; some releases escape it wrongly and answer with invalid JSON."""
    error = answer.get("error") if isinstance(answer, dict) else None
    return error if isinstance(error, str) else _to_text(text)


def _to_text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the client and return its exit status.

    Args:
        argv: arguments without the program's name; the process's own when None.

    Raises:
        UserError: an option cannot be used, there are no images, or the server fails.
    """
    arguments = tyro.cli(RestArguments, prog="rest_client.py", description=__doc__, args=argv)
    set_up_logging()
    arguments.check()
    server = RestServer(arguments.server, arguments.model, arguments.version, arguments.timeout)
    return run_client(arguments, server)


if __name__ == "__main__":
    sys.exit(run_command(main))
