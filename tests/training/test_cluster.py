"""TF_CONFIG: who is who, and what is said of one that cannot be."""

import json

import pytest

from tf_frcnn.errors import UserError
from tf_frcnn.training.cluster import read_cluster

TWO = {"worker": ["10.0.0.1:2000", "10.0.0.2:3000"]}


def set_config(monkeypatch, value):
    text = value if isinstance(value, str) else json.dumps(value)
    monkeypatch.setenv("TF_CONFIG", text)


@pytest.mark.parametrize("index", [1, "1"])
def test_two_workers(monkeypatch, index):
    set_config(monkeypatch, {"cluster": TWO, "task": {"type": "worker", "index": index}})
    cluster = read_cluster()
    assert cluster.tasks == (("worker", 0, "10.0.0.1:2000"), ("worker", 1, "10.0.0.2:3000"))
    assert cluster.worker == 1


def test_the_chief_comes_first_wherever_it_stands(monkeypatch):
    cluster = {**TWO, "chief": ["10.0.0.9:4000"]}
    set_config(monkeypatch, {"cluster": cluster, "task": {"type": "worker", "index": 0}})
    read = read_cluster()
    assert read.tasks[0] == ("chief", 0, "10.0.0.9:4000")
    assert read.worker == 1


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "is not set"),
        ("{cluster", "is no JSON"),
        ("[]", "is no JSON object"),
        ({"task": {"type": "worker", "index": 0}}, "has the cluster None"),
        ({"cluster": {}, "task": {"type": "worker", "index": 0}}, "has the cluster {}"),
        ({"cluster": {"worker": []}}, "without workers"),
        ({"cluster": {**TWO, "ps": ["10.0.0.3:1"]}}, "tasks of the type ps"),
        ({"cluster": {"worker": "10.0.0.1:2000"}}, "not a list of HOST:PORT"),
        ({"cluster": {"worker": ["10.0.0.1"]}}, "the address '10.0.0.1' as worker 0"),
        ({"cluster": TWO}, "has the task None"),
        ({"cluster": TWO, "task": {"type": "worker", "index": 2}}, "the task worker 2"),
        ({"cluster": TWO, "task": {"type": "chief", "index": 0}}, "the task chief 0"),
        ({"cluster": TWO, "task": {"type": "worker", "index": True}}, "the task worker True"),
    ],
)
def test_what_cannot_be_is_named_with_what_was_expected(monkeypatch, value, said):
    set_config(monkeypatch, value)
    with pytest.raises(UserError) as error:
        read_cluster()
    assert said in str(error.value)
    assert "TF_CONFIG" in str(error.value) and '"index": 0' in str(error.value)
