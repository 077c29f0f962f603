"""Backend, log and seeds, before anything else happens."""

import json
import logging
import os
import platform
import random
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import tf_frcnn
from tf_frcnn.environment import (
    check_backend,
    set_up_logging,
    set_up_tensorflow,
    without_library_messages,
)
from tf_frcnn.errors import UserError

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"


@pytest.fixture
def keras_home(tmp_path, monkeypatch):
    """Give Keras an empty home and no variable."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    return tmp_path


@pytest.mark.parametrize("backend", ["jax", "torch", "numpy"])
def test_another_backend_in_the_environment_is_refused(keras_home, monkeypatch, backend):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    with pytest.raises(UserError, match=f"KERAS_BACKEND sets the Keras backend to '{backend}'"):
        check_backend()


def test_another_backend_in_the_file_is_refused_naming_the_file(keras_home):
    (keras_home / "keras.json").write_text(json.dumps({"backend": "jax"}))
    with pytest.raises(UserError, match=r"keras\.json sets the Keras backend to 'jax'.*KERAS_BAC"):
        check_backend()


def test_the_environment_wins_over_the_file(keras_home, monkeypatch):
    (keras_home / "keras.json").write_text(json.dumps({"backend": "jax"}))
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    check_backend()


@pytest.mark.parametrize("content", [None, "", "{", "{}", '{"backend": "tensorflow"}', "\udcff"])
def test_a_file_that_says_nothing_else_is_fine(keras_home, content):
    if content is not None:
        (keras_home / "keras.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    check_backend()


def test_the_first_lines_name_device_versions_and_seed(capsys):
    set_up_logging()
    set_up_tensorflow(seed=7)
    lines = capsys.readouterr().err.splitlines()
    device, versions, seed = lines
    assert "device: " in device
    assert f"TensorFlow {tf.__version__}" in versions and "Python 3." in versions
    assert seed.endswith("seed: 7")


def test_every_generator_starts_from_the_seed():
    drawn = []
    for seed in (3, 3, 4):
        set_up_tensorflow(seed)
        drawn.append((random.random(), np.random.rand(), float(tf.random.uniform([]))))
    assert drawn[0] == drawn[1]
    assert all(a != b for a, b in zip(drawn[0], drawn[2], strict=True))


def test_the_log_goes_to_the_terminal_once(capsys):
    for _ in range(2):  # a second command in one process does not double the lines
        set_up_logging()
    logging.getLogger("tf_frcnn.somewhere").info("a line")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("a line") == 1


def test_on_a_terminal_the_log_is_written_too(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    set_up_logging()
    logging.getLogger("tf_frcnn.somewhere").info("a line")
    assert "a line" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "are_on", "machine", "is_told"),
    [
        (None, False, "x86_64", True),
        (None, True, "x86_64", False),
        (None, None, "x86_64", False),  # a TensorFlow that cannot be asked
        ("0", False, "x86_64", False),  # as asked for
        (None, False, "aarch64", False),  # the variable has no such effect there
    ],
)
def test_kernels_that_tensorflow_has_left_off_are_told(
    monkeypatch, recwarn, given, are_on, machine, is_told
):
    monkeypatch.delenv(ONEDNN, raising=False)
    if given is not None:
        monkeypatch.setenv(ONEDNN, given)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    port = SimpleNamespace() if are_on is None else SimpleNamespace(IsMklEnabled=lambda: are_on)
    monkeypatch.setitem(sys.modules, "tensorflow.python.util._pywrap_util_port", port)
    tf_frcnn._turn_on_onednn()
    assert os.environ[ONEDNN] == (given or "1")
    assert [str(one.message).partition(",")[0] for one in recwarn] == (
        ["TensorFlow was imported before tf_frcnn"] if is_told else []
    )


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the variable is one of x86's")
def test_kernels_are_on_or_it_is_told_whichever_is_imported_first():
    answers = {}
    environment = {name: value for name, value in os.environ.items() if name != ONEDNN}
    for first, second in (("tf_frcnn", "tensorflow"), ("tensorflow", "tf_frcnn")):
        code = (
            f"import {first}, {second}; from tensorflow.python.util import _pywrap_util_port as p; "
            "print(p.IsMklEnabled())"
        )
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        told = "TensorFlow was imported before tf_frcnn" in done.stderr
        answers[first] = (done.stdout.strip(), told)
    assert answers["tf_frcnn"] == ("True", False)
    assert answers["tensorflow"] in {("True", False), ("False", True)}


@pytest.mark.gpu
def test_memory_growth_is_on():
    set_up_tensorflow(seed=0)
    for gpu in tf.config.list_physical_devices("GPU"):
        assert tf.config.experimental.get_memory_growth(gpu)


@pytest.mark.parametrize("level", ["0", None])
def test_messages_are_kept_back_unless_they_are_asked_for(capfd, monkeypatch, level):
    if level is None:
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    else:
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    with pytest.raises(UserError), without_library_messages():
        os.write(2, b"from a library\n")  # past Python, as C++ does
        raise UserError
    subprocess.run([sys.executable, "-c", "import os; os.write(2, b'afterwards')"], check=True)
    expected = "afterwards" if level is None else "from a library\nafterwards"
    assert capfd.readouterr().err == expected


def test_what_libraries_said_is_shown_before_an_error_that_says_little(capfd, monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    with pytest.raises(KeyError), without_library_messages():
        os.write(2, b"from a library\n")
        raise KeyError
    os.write(2, b"afterwards")
    assert capfd.readouterr().err == "from a library\nafterwards"
