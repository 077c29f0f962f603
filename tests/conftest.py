"""Fixtures that several test files share; signals; what `slow`, `release` and `gpu` do.

Tests marked `slow` or `release` are skipped unless the expression of `-m` names the marker:
`-m slow` runs the slow ones alone, as `.ci/run` does after all others; `-m release` those that
`nox --session release` runs, a module's `slow` or not. Tests marked `gpu` are skipped where
TensorFlow sees no GPU, unless `TF_FRCNN_GPU_TESTS=CPU` has them run with the processor in its
place: a trial of the tests' own code, of which nothing else follows.
"""

import json
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import hypothesis
import matplotlib
import pytest
from PIL import Image, ImageDraw

import tf_frcnn  # noqa: F401  # before any test imports TensorFlow: it chooses the kernels

GPU_KIND = os.environ.get("TF_FRCNN_GPU_TESTS", "GPU")
"""Kind of the device that tests marked `gpu` use."""
# An example that takes long on a busy machine is no failure.
hypothesis.settings.register_profile("without deadline", deadline=None)
hypothesis.settings.load_profile("without deadline")
VOC_CLASS_COLOURS = {"cat": (220, 60, 40), "dog": (40, 160, 220), "duck": (240, 210, 50)}
VOC_SPLIT_COUNTS = {"train": 6, "val": 2, "test": 2}


def voc_xml(size, objects, filename="unused.png"):
    """Write a VOC annotation.

    Args:
        size: (height, width).
        objects: (name, xmin, ymin, xmax, ymax) or these and difficult; coordinates as they stand
            in the file, 1-based and inclusive.
        filename: content of the field.
    """
    lines = [f"<annotation><filename>{filename}</filename>"]
    height, width = size
    lines.append(f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>")
    for name, xmin, ymin, xmax, ymax, *difficult in objects:
        flag = "".join(f"<difficult>{value}</difficult>" for value in difficult)
        lines.append(
            f"<object><name>{name}</name>{flag}<bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin>"
            f"<xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox></object>"
        )
    return "\n".join([*lines, "</annotation>"])


def write_voc_folder(root: Path) -> Path:
    """Write ten images, 72 x 96, with one or two coloured rectangles each, in VOC layout."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    class_names = list(VOC_CLASS_COLOURS)
    for split, count in VOC_SPLIT_COUNTS.items():
        names = [f"{split}_{number}" for number in range(count)]
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names) + "\n")
        for number, name in enumerate(names):
            image = Image.new("RGB", (96, 72), (90, 100, 90))
            first, second = class_names[number % 3], class_names[(number + 1) % 3]
            objects = [(first, 4 + 3 * number, 6, 40 + 3 * number, 30 + 2 * number)]
            if number % 2:
                objects.append((second, 50, 45, 90, 68))
            for class_name, xmin, ymin, xmax, ymax in objects:
                ImageDraw.Draw(image).rectangle(
                    (xmin - 1, ymin - 1, xmax - 1, ymax - 1), fill=VOC_CLASS_COLOURS[class_name]
                )
            image.save(root / "JPEGImages" / f"{name}.jpg", quality=95)
            annotation = voc_xml((72, 96), objects, f"{name}.jpg")
            (root / "Annotations" / f"{name}.xml").write_text(annotation)
    return root


@pytest.fixture
def voc_folder(tmp_path) -> Path:
    """Write the data set of `write_voc_folder` for one test, which may change it."""
    return write_voc_folder(tmp_path / "voc")


# === Signals ===


def pytest_configure():
    """Heed Ctrl-C, here and in processes that tests start, though `nohup` or `&` had it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# === Markers ===


def pytest_collection_modifyitems(config, items):
    """Skip tests that take minutes and were not asked for, and GPU tests where there is none."""
    for item in items:
        marker = next((name for name in ("release", "slow") if item.get_closest_marker(name)), None)
        if marker and marker not in config.option.markexpr:
            item.add_marker(pytest.mark.skip(reason=f"{marker}: run with -m {marker}"))
    if GPU_KIND != "GPU":
        return
    for_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if for_gpu and not _gpus_with_memory_growth():
        for item in for_gpu:
            item.add_marker(pytest.mark.skip(reason="gpu: TensorFlow sees no GPU"))


def _gpus_with_memory_growth():
    """List the GPUs; memory growth must be on before the first test uses one."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    return gpus


# === Tiny runs ===

TINY_OPTIONS = (
    "finetune",
    *("--data.short-side", "64", "--data.long-side", "96"),
    *("--model.architecture", "vgg16_quarter", "--train.start-from", "none"),
    *("--model.anchor-sizes", "16", "32", "--model.max-detections", "10"),
    *("--model.soft-nms-sigma", "0"),  # as most networks have it
    *("--model.rpn-pre-nms-top-k", "100", "--model.rpn-post-nms-top-k", "20"),
    *("--train.steps", "4", "--train.batch-size", "2"),
    *("--train.warmup-steps", "2", "--train.decay-steps", "3"),
    *("--train.rpn-pre-nms-top-k", "100", "--train.rpn-post-nms-top-k", "20"),
    *("--train.rpn-batch-size", "32", "--train.roi-batch-size", "8"),
    *("--train.validate-every", "2", "--train.checkpoint-every", "2", "--train.log-every", "2"),
)


@pytest.fixture
def tiny_options() -> list[str]:
    """Give the arguments that let train.py run in seconds; data root and outputs are to be added.

    Four steps; validation, checkpoint and log line every second one. The score threshold is the
    default, 0.05, so that even an untrained network detects something.
    """
    return list(TINY_OPTIONS)


@pytest.fixture(scope="session")
def tiny_config():
    """Give the configuration of `tiny_options` with the classes of `voc_folder`."""
    from tf_frcnn.commands.train import parse_arguments

    arguments = [*TINY_OPTIONS, "--data.classes", *sorted(VOC_CLASS_COLOURS)]
    return parse_arguments(arguments).config


class FinishedRun(NamedTuple):
    """What `train.py` left behind; tests only look at it."""

    options: list[str]
    output: Path
    export_dir: Path
    data: Path


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> FinishedRun:
    """Train, evaluate and export once for the whole session, with `tiny_options`."""
    import train

    folder = tmp_path_factory.mktemp("finished")
    run = FinishedRun([], folder / "run", folder / "exported", write_voc_folder(folder / "voc"))
    run.options.extend([*TINY_OPTIONS, "--data.root", str(run.data)])
    run.options.extend(["--output", str(run.output), "--export-dir", str(run.export_dir)])
    with _package_log_restored():
        assert train.main(run.options) == 0
    return run


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_session(tmp_path_factory) -> Iterator[None]:
    """Keep what the commands cache out of the user's own cache; matplotlib keeps its fonts."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MPLCONFIGDIR", matplotlib.get_cachedir())
        patched.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patched.delenv("TF_FRCNN_HOME", raising=False)
        yield


@pytest.fixture(autouse=True)
def package_log_restored() -> Iterator[None]:
    """Undo what the commands do to the package's log, so that `caplog` works in every test."""
    with _package_log_restored():
        yield


@contextmanager
def _package_log_restored() -> Iterator[None]:
    log = logging.getLogger("tf_frcnn")
    handlers, level, propagate = list(log.handlers), log.level, log.propagate
    try:
        yield
    finally:
        log.handlers[:], log.propagate = handlers, propagate
        log.setLevel(level)


@pytest.fixture(scope="session")
def tiny_model_config():
    """Configure a network that is built and run in a second; every score makes a detection."""
    from tf_frcnn.config import ModelConfig

    return ModelConfig(
        architecture="vgg16_quarter",
        anchor_sizes=(16.0, 32.0, 64.0),
        rpn_pre_nms_top_k=200,
        rpn_post_nms_top_k=20,
        rpn_min_size=2.0,
        score_threshold=0.0,
        max_detections=30,
    )


@pytest.fixture(scope="session")
def tiny_train_config():
    """Configure a training step for `tiny_model_config`; the first block is frozen."""
    from tf_frcnn.config import TrainConfig

    return TrainConfig(
        learning_rate=0.01,
        frozen_layers=("block1",),
        rpn_batch_size=32,
        ignore_border_anchors=False,
        rpn_pre_nms_top_k=200,
        rpn_post_nms_top_k=40,
        roi_batch_size=16,
    )


@pytest.fixture
def coco_folder(tmp_path) -> Path:
    """Write the data set of `voc_folder` in COCO form; categories have the ids 2, 7 and 12."""
    from tests.data.coco_writer import voc_to_coco

    voc_root = write_voc_folder(tmp_path / "drawn")
    return voc_to_coco(voc_root, tmp_path / "coco", sorted(VOC_CLASS_COLOURS), VOC_SPLIT_COUNTS)


@pytest.fixture
def write_log(tmp_path):
    """Write lines as a run's metrics.jsonl -> its path."""

    def write(*lines, ending="\n"):
        path = tmp_path / "metrics.jsonl"
        path.write_text("\n".join(json.dumps(line) for line in lines) + ending, encoding="utf-8")
        return path

    return write
