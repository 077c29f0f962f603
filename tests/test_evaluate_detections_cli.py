"""`evaluate.py --detections FILE`: judging detections without a model."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import evaluate
from tf_frcnn.errors import run_command

# The boxes of the split test of `write_voc_folder`, as x, y, width, height.
FOUND = [
    {"file_name": "test_0.jpg", "category_name": "cat", "bbox": [3, 5, 37, 25], "score": 0.9},
    {"image_id": "test_1", "category_id": 2, "bbox": [6, 5, 37, 27], "score": 0.8},
    {"image_id": "test_1", "category_id": 3, "bbox": [49, 44, 41, 24], "score": 0.95},
]


def run_evaluate(*arguments):
    return run_command(lambda: evaluate.main([str(argument) for argument in arguments]))


@pytest.fixture
def found_file(tmp_path):
    path = tmp_path / "found.json"
    path.write_text(json.dumps(FOUND))
    return path


def test_perfect_detections_without_tensorflow(voc_folder, found_file):
    # In a process of its own: here others may have imported TensorFlow.
    code = (
        "import sys, evaluate; status = evaluate.main(sys.argv[1:]); "
        "sys.exit(9 if 'tensorflow' in sys.modules else status)"
    )
    arguments = ["--detections", found_file, "--data.root", voc_folder]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=Path(evaluate.__file__).parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    output = found_file.with_name("found-evaluation")
    assert {path.name for path in output.iterdir()} == {
        *("metrics.json", "detections.png", "report.html")
    }
    metrics = json.loads((output / "metrics.json").read_text())
    for key in ("voc_ap50_area", "voc_ap50_11pt", "coco_ap", "f1"):
        assert metrics[key] == pytest.approx(1.0), key
    assert metrics["split"] == "test" and metrics["outcomes"]["correct"] == 3
    assert "steps" not in metrics
    # Broken anywhere, as long as the folder's name is.
    assert "found.jsononsplittestof" in "".join(done.stdout.split())


def test_classes_fix_the_category_ids(voc_folder, found_file, tmp_path, capsys):
    options = ["--data.root", voc_folder, "--data.classes", "duck", "dog", "cat"]
    assert run_evaluate("--detections", found_file, "--output", tmp_path / "out", *options) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    # Class 3 is now cat: the duck of test_1 was taken for a cat.
    assert metrics["confusion"]["labels"] == ["duck", "dog", "cat", "background"]
    assert metrics["confusion"]["counts"][0] == [0, 0, 1, 0]


def test_another_split(voc_folder, found_file, capsys):
    options = ["--data.root", voc_folder, "--data.test-split", "val"]
    assert run_evaluate("--detections", found_file, *options) == 2
    err = capsys.readouterr().err
    assert "found.json: entry 1 of 3, file_name = 'test_0.jpg': the split 'val' has no such" in err
    assert "Traceback" not in err


def test_no_data(found_file, capsys):
    assert run_evaluate("--detections", found_file) == 2
    assert "--data.root is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "MODEL and --detections: neither is given. Expected"),
        ([], "a SavedModel, or the name of a published detector (`tf-frcnn models`); or --det"),
        (["run", "--detections", "found.json"], "MODEL and --detections: both are given (run)"),
        (["run", "--max-detections", "300", "0"], "--max-detections 300 0: expected numbers from"),
        (
            ["--detections", "a.json", "--weights", "a.pth", "--offline"],
            "--detections and --weights, --offline: no model is run",
        ),
        (["--detections", "a.json", "--weights-classes", "cat"], "and --weights-classes: no model"),
        (["--detections", "a.json", "--weights-epsilon", "0"], "and --weights-epsilon: no model"),
    ],
)
def test_arguments_that_do_not_fit(arguments, message, capsys):
    assert run_evaluate(*arguments) == 2
    assert message in capsys.readouterr().err
