"""The compose file, as far as it can be looked at without a container."""

import json
import re
import shutil
import socket
import subprocess

import client
import pytest
import rest_client
import yaml

from tests.serving.conftest import SERVING
from tests.serving.stand_ins import RestStandIn, rest_error

COMPOSE = SERVING / "compose.yaml"
BATCHING = SERVING / "batching_parameters.txt"


@pytest.fixture(scope="module")
def service():
    (found,) = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"].values()
    return found


def default_of(text):
    """Put the default in the place of each variable."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def test_the_clients_find_the_server_and_the_model_by_default(service):
    name = client.ClientArguments.model
    assert default_of(service["environment"]["MODEL_NAME"]) == name
    ports = [default_of(port) for port in service["ports"]]
    assert ports == ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]
    assert rest_client.DEFAULT_SERVER == "http://localhost:8501"


def test_the_model_is_where_exports_are_and_where_the_image_looks(service):
    model, batching = service["volumes"]
    # Relative to the folder of the compose file.
    source = (SERVING / default_of(model["source"])).resolve()
    assert source == SERVING.parent / "saved_models" / "quickstart"
    assert default_of(model["target"]) == "/models/quickstart"
    assert model["read_only"] and batching["read_only"]
    assert (SERVING / batching["source"]).resolve() == BATCHING
    assert f"--batching_parameters_file={batching['target']}" in service["command"]


# === The health check, run by bash as the container would ===


def healthy(service, port, model="quickstart"):
    """Run the health check against a port of this machine -> whether it passes."""
    kind, shell, option, script = service["healthcheck"]["test"]
    assert (kind, shell, option) == ("CMD", "bash", "-c")
    script = script.replace("$$", "$").replace("127.0.0.1/8501", f"127.0.0.1/{port}")
    done = subprocess.run(
        [shutil.which("bash"), option, script],
        env={"MODEL_NAME": model, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        timeout=20,
    )
    return done.returncode == 0


def status(state):
    """Answer the status of a model as the documentation of the REST API prints it."""
    version = {
        "version": "123",
        "state": state,
        "status": {"error_code": "OK", "error_message": ""},
    }
    content = json.dumps({"model_version_status": [version]}, indent=1).encode()
    return lambda request: (200, content)


def test_a_loaded_model_is_healthy(service):
    with RestStandIn(status("AVAILABLE")) as server:
        assert healthy(service, server.port, "bccd")
    (request,) = server.requests
    assert (request.method, request.path) == ("GET", "/v1/models/bccd")


@pytest.mark.parametrize("state", ["START", "LOADING", "UNLOADING", "END"])
def test_a_model_that_is_not_available_is_not(state, service):
    with RestStandIn(status(state)) as server:
        assert not healthy(service, server.port)


def test_no_such_model_or_no_server_is_not_healthy(service):
    message = "Could not find any versions of model quickstart"
    with RestStandIn(lambda _: rest_error(404, message)) as server:
        assert not healthy(service, server.port)
    with socket.socket() as taken:  # bound and not listening: a port that refuses
        taken.bind(("127.0.0.1", 0))
        assert not healthy(service, taken.getsockname()[1])


# === Batching ===


def test_each_number_of_the_batching_parameters_has_a_comment():
    blocks = BATCHING.read_text(encoding="utf-8").strip().split("\n\n")[1:]
    numbers = {}
    for block in blocks:
        *comments, setting = block.splitlines()
        assert comments and all(line.startswith("# ") for line in comments)
        name, number = re.fullmatch(r"(\w+) \{ value: (\d+) \}", setting).groups()
        numbers[name] = int(number)
    # Fields of BatchingParameters in session_bundle_config.proto.
    assert set(numbers) == {
        "max_batch_size",
        "batch_timeout_micros",
        "num_batch_threads",
        "max_enqueued_batches",
    }
    assert client.ClientArguments.batch_size <= numbers["max_batch_size"]
