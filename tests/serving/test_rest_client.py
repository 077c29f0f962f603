"""The REST client against a server that answers as TensorFlow Serving's documentation says."""

import json
import subprocess
import sys

import numpy as np
import pytest
import rest_client
from PIL import Image

from tests.predict.predicting import files_below, read_results, write_image
from tests.serving.conftest import SERVING
from tests.serving.stand_ins import ROW, RestStandIn, same_row
from tf_frcnn.errors import run_command


def detect(url, *arguments):
    """Run the client in this process -> exit status."""
    arguments = [*map(str, arguments), "--server", url]
    return run_command(lambda: rest_client.main(arguments))


# === What is sent ===


def test_the_request_byte_for_byte(tmp_path):
    image = write_image(tmp_path / "in" / "a.png")
    with RestStandIn(same_row) as server:
        assert detect(server.url, image, "--output", tmp_path / "out") == 0
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/v1/models/quickstart:predict")
    assert request.headers["Content-Type"] == "application/json"
    head, tail = (
        b'{"signature_name": "serve_encoded", "instances": [{"image_bytes": {"b64": "',
        (b'"}}]}'),
    )
    assert request.body.startswith(head) and request.body.endswith(tail)
    # coreutils' decoder is independent of Python's.
    decoded = subprocess.run(
        ["base64", "--decode"],
        input=request.body[len(head) : -len(tail)],
        capture_output=True,
        check=True,
    )
    assert decoded.stdout == image.read_bytes()


@pytest.mark.parametrize(
    ("prefix", "options", "path"),
    [
        ("", ("--model", "bccd"), "/v1/models/bccd:predict"),
        ("", ("--model", "bccd", "--version", "3"), "/v1/models/bccd/versions/3:predict"),
        ("", ("--model", "a/b c"), "/v1/models/a%2Fb%20c:predict"),
        ("/behind/proxy/", (), "/behind/proxy/v1/models/quickstart:predict"),
    ],
)
def test_the_path_names_model_and_version(prefix, options, path, tmp_path):
    image = write_image(tmp_path / "in" / "a.png")
    with RestStandIn(same_row) as server:
        assert detect(server.url + prefix, image, "--output", tmp_path / "out", *options) == 0
    assert server.requests[0].path == path


def test_images_of_a_request(images, tmp_path):
    with RestStandIn(same_row) as server:
        output = tmp_path / "out"
        assert detect(server.url, images, "--output", output, "--batch-size", "2") == 0
    counts = [len(json.loads(request.body)["instances"]) for request in server.requests]
    assert counts == [2, 1]


# === What is written ===


def test_results_and_drawings(images, tmp_path, capsys):
    with RestStandIn(same_row) as server:
        assert detect(server.url, images, "--output", tmp_path / "out", "--score", "0.6") == 0
    # yxyx [1, 2, 11, 32] begins at x 2, y 1, and is 30 wide, 10 high; the cat's 0.5 is too low.
    assert read_results(tmp_path / "out") == [
        {
            "file_name": name,
            "category_name": "dog",
            "category_id": 2,
            "bbox": [2, 1, 30, 10],
            "score": 0.75,
        }
        for name in ("a.png", "b.jpg", "c.png")
    ]
    assert files_below(tmp_path / "out") == ["a.jpg", "b.jpg", "c.jpg", "detections.json"]
    said = capsys.readouterr().err
    assert f"{images / 'a.png'}: 1 dog -> {tmp_path / 'out' / 'a.jpg'}" in said
    assert "3 detections in" in said


def test_a_drawing_shows_the_box(tmp_path):
    write_image(tmp_path / "in" / "a.png", red=204, size=(40, 60))
    with RestStandIn(same_row) as server:
        assert detect(server.url, tmp_path / "in", "--output", tmp_path / "out") == 0
    with Image.open(tmp_path / "out" / "a.jpg") as drawing:
        pixels = np.asarray(drawing).astype(int)  # 8 times as large
    changed = np.abs(pixels - [204, 20, 90]).max(axis=-1) >= 30
    # The dog's right side, rows 8 to 88, ends at column 256; below row 200 there is nothing.
    assert changed[40:60, 254].all() and not changed[200:].any()


def test_names_of_any_alphabet(tmp_path, capsys):
    row = {**ROW, "detection_names": ["häuser", "天", ""]}
    content = json.dumps({"predictions": [row]}, ensure_ascii=False).encode()
    write_image(tmp_path / "in" / "a.png")
    with RestStandIn(lambda _: (200, content)) as server:
        assert detect(server.url, tmp_path / "in", "--output", tmp_path / "out") == 0
    names = [found["category_name"] for found in read_results(tmp_path / "out")]
    assert names == ["häuser", "天"]


# === Images that are not sent ===


def test_an_image_that_cannot_be_sent_is_named_and_the_others_are_done(images, tmp_path, capsys):
    (images / "text.jpg").write_text("no image")
    write_image(images / "moving.gif")
    whole = (images / "a.png").read_bytes()
    (images / "cut.png").write_bytes(whole[:60])
    (images / "empty.png").touch()
    with RestStandIn(same_row) as server:
        gone = tmp_path / "gone.png"
        assert detect(server.url, images, gone, "--output", tmp_path / "out") == 1
    assert len(server.requests) == 3
    said = capsys.readouterr().err
    assert f"skipped: {images / 'text.jpg'}: begins with b'no image', neither as JPEG" in said
    assert f"skipped: {images / 'moving.gif'}: begins with b'GIF8" in said
    assert f"skipped: {images / 'empty.png'}: begins with b''" in said
    assert f"skipped: {images / 'cut.png'}: the image cannot be decoded" in said
    assert f"{gone}: there is no such file" in said
    assert "4 of 7 images were not sent." in said
    assert {found["file_name"] for found in read_results(tmp_path / "out")} == {
        *("a.png", "b.jpg", "c.png")
    }


def test_no_image_at_all(tmp_path, capsys):
    assert detect("http://127.0.0.1:1", tmp_path / "no.png", "--output", tmp_path / "out") == 2
    assert "no.png: there is no such file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# === Options that cannot be used ===


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--score", "1.5"), "--score 1.5: expected a number from 0 to 1"),
        (("--score", "nan"), "--score nan: expected"),
        (("--batch-size", "0"), "--batch-size 0: expected 1 or more"),
        (("--timeout", "0"), "--timeout 0.0: expected a number of seconds above 0"),
        (("--timeout", "inf"), "--timeout inf: expected"),
    ],
)
def test_options_out_of_range(options, message, image, tmp_path, capsys):
    assert detect("http://127.0.0.1:1", image, "--output", tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("url", ["localhost:8501", "8501", "ftp://host", "http://", "http://h:x"])
def test_what_is_no_address(url, image, tmp_path, capsys):
    assert detect(url, image, "--output", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert f"--server {url}: " in said and "http://localhost:8501" in said


def test_no_input(tmp_path, capsys):
    assert detect("http://127.0.0.1:1", "--output", tmp_path / "out") == 2
    assert "no IMAGE was given" in capsys.readouterr().err


def test_nothing_that_is_there_is_overwritten(image, tmp_path, capsys):
    with RestStandIn(same_row) as server:
        assert detect(server.url, image, "--output", image.parent) == 2
    assert f"--output {image.parent}: there is something already" in capsys.readouterr().err
    assert server.requests == [] and files_below(image.parent) == ["a.png"]


# === As a command ===


def test_no_tensorflow_is_needed(image, tmp_path):
    # In a process of its own: here others may have imported TensorFlow.
    code = (
        "import sys; import rest_client; status = rest_client.main(sys.argv[1:]); "
        "sys.exit(9 if 'tensorflow' in sys.modules else status)"
    )
    with RestStandIn(same_row) as server:
        arguments = [str(image), "--output", str(tmp_path / "out"), "--server", server.url]
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=SERVING, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr


def test_the_script_ends_in_a_message(image, tmp_path):
    arguments = [str(image), "--output", str(tmp_path / "out"), "--server", "nowhere"]
    script = str(SERVING / "rest_client.py")
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: --server nowhere: ")
