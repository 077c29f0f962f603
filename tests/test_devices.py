"""GPUs that are used, those that are left alone, and a card that TensorFlow cannot use."""

import subprocess

import pytest
import tensorflow as tf

from tf_frcnn import devices
from tf_frcnn.devices import describe_device, explain_unused_card, leave_other_gpus_alone

SAID = """\
2026-01-02 03:04:05.678901: I tensorflow/core/util/port.cc:153] oneDNN custom operations are on.
2026-01-02 03:04:05.678901: I external/xla/cuda_dsos.cc:31] Could not find cuda drivers here.
2026-01-02 03:04:05.678901: I external/xla/cuda_dsos.cc:31] Could not find cuda drivers here.
2026-01-02 03:04:05.678901: W tensorflow/gpu_device.cc:2343] Cannot dlopen some GPU libraries.
"""


@pytest.fixture
def card(tmp_path, monkeypatch):
    """Pretend that there is a card, that this TensorFlow has CUDA, and that it says `SAID`."""
    (tmp_path / "dev").mkdir()
    for name in ("nvidia0", "nvidiactl", "dxg"):
        (tmp_path / "dev" / name).touch()
    monkeypatch.setattr(devices, "_ROOT", tmp_path)
    monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: True)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    run = subprocess.run

    def answer(command, **options):
        return run(["sh", "-c", f"cat >&2 <<'END'\n{SAID}END"], **options)

    monkeypatch.setattr(subprocess, "run", answer)
    return tmp_path / "dev" / "nvidia0"


def test_the_reason_is_tensorflows_own_and_there_is_a_command(card):
    message = explain_unused_card()
    assert message.startswith(f"{card}: there is an NVIDIA card here that TensorFlow cannot use")
    reasons = "Could not find cuda drivers here; Cannot dlopen some GPU libraries. Install"
    assert f"TensorFlow says: {reasons}" in message
    assert "pip install 'tensorflow[and-cuda]'" in message and "oneDNN" not in message


def test_a_tensorflow_without_cuda_is_said_to_be_that(card, monkeypatch):
    monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: False)
    assert "this TensorFlow was built without CUDA" in explain_unused_card()


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_nothing_is_said_of_a_card_that_is_hidden_on_purpose(card, monkeypatch, hidden):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert explain_unused_card() == ""


def test_nothing_is_said_where_there_is_no_card_or_it_is_used(card, monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["a GPU"])
    assert explain_unused_card() == ""
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])
    card.unlink()  # what is left belongs to the driver, and to whatever card Windows has
    assert explain_unused_card() == ""


def test_a_process_that_does_not_answer_is_no_harm(card, monkeypatch):
    def hang(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(subprocess, "run", hang)
    assert "TensorFlow says: nothing that could be read (TimeoutExpired)" in explain_unused_card()


@pytest.fixture
def gpus(monkeypatch):
    """Pretend that there are three GPUs -> what is visible of them."""
    visible = ["GPU:0", "GPU:1", "GPU:2"]
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind: ["GPU:0", "GPU:1", "GPU:2"]
    )
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: visible)
    monkeypatch.setattr(
        tf.config.experimental, "get_device_details", lambda gpu: {"device_name": f"card {gpu}"}
    )

    def see(devices, kind):
        visible[:] = devices

    monkeypatch.setattr(tf.config, "set_visible_devices", see)
    return visible


def test_one_gpu_is_used_and_the_others_are_left_alone(gpus):
    assert describe_device() == "card GPU:0, card GPU:1, card GPU:2"
    leave_other_gpus_alone()
    assert gpus == ["GPU:0"]
    assert describe_device() == "card GPU:0; left alone: 2 more"


def test_what_a_program_chose_before_stays(gpus, monkeypatch):
    def refuse(devices, kind):
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_visible_devices", refuse)
    leave_other_gpus_alone()
    assert len(gpus) == 3
