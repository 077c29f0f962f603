"""`tf-frcnn tflite MODEL --output FILE`: write a trained model as a TFLite file, and look into it.

The file takes one picture of a fixed size and answers what a SavedModel does; docs/tflite.md says
what is in it.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tyro

from tf_frcnn.data.faults import counted
from tf_frcnn.environment import load_tensorflow, set_up_tensorflow
from tf_frcnn.errors import EXIT_OK, UserError
from tf_frcnn.files import write_together
from tf_frcnn.model_files import find_model
from tf_frcnn.picture_size import check_size, default_size, parse_size
from tf_frcnn.tflite.arguments import TFLiteArguments
from tf_frcnn.tflite.outputs import labels_text, prepare_files
from tf_frcnn.tflite.pictures import find_pictures, read_resized
from tf_frcnn.tflite.report import print_report

if TYPE_CHECKING:
    from tf_frcnn.inference import PictureDetector

logger = logging.getLogger(__name__)

_SEED = 0  # of the picture that stands in where there is none to compare on


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit status.

    Args:
        argv: arguments without the program's and the command's name.

    Raises:
        UserError: an option cannot be used, there is no model or none that can be converted, no
            pictures for int8, or no place for output.
    """
    arguments = tyro.cli(
        TFLiteArguments,
        prog="tf-frcnn tflite",
        description="Write a model as a TFLite file for pictures of one size: resizing, boxes and "
        "NMS inside, builtin operators only. docs/tflite.md says what it takes and answers.",
        args=list(argv),
    )
    arguments.check()
    model = find_model(arguments.model)
    config = model.load_config()
    size = parse_size(arguments.size) if arguments.size else default_size(config.data)
    check_size(size, config.data, config.model.rpn_min_size)
    try:
        pictures = find_pictures(arguments.calibration, model)
    except UserError:
        if arguments.quantize == "int8" or arguments.calibration is not None:
            raise
        pictures = []
    labels = labels_text(config.data.classes)
    prepare_files(arguments, labels)
    # Imported late: options, help and wrong inputs need not wait for TensorFlow.
    load_tensorflow()
    from tf_frcnn.inference import load_network

    set_up_tensorflow(_SEED)
    detector = load_network(model)
    content = _convert(detector, arguments.quantize, size, pictures)
    report = {
        "model": str(model.path),
        "quantize": arguments.quantize,
        "picture_size": list(size),
        **_inspect(detector, content, size, pictures),
    }
    write_together(
        {
            arguments.labels_file: labels.encode(),
            arguments.output: content,
            arguments.report_file: (json.dumps(report, indent=2) + "\n").encode(),
        }
    )
    print_report(report)
    logger.info(
        "written: %s (%.1f MB) for pictures of %d x %d, %s and %s",
        *(arguments.output, len(content) / 1e6, *size),
        *(arguments.labels_file, arguments.report_file),
    )
    return EXIT_OK


def _convert(
    detector: "PictureDetector", form: str, size: tuple[int, int], pictures: Sequence[Path]
) -> bytes:
    """Convert to a file's content, for int8 with the ranges that the pictures show."""
    from tf_frcnn.tflite.conversion import Converter

    converter = Converter(detector, size)
    if form != "int8":
        return converter.convert(form)
    logger.info("finding the ranges of int8 in %s", counted(len(pictures), "picture"))
    return converter.convert(form, converter.find_ranges(read_resized(p, size) for p in pictures))


def _inspect(
    detector: "PictureDetector", content: bytes, size: tuple[int, int], pictures: Sequence[Path]
) -> dict[str, Any]:
    """Collect the report on a file: what is in it, how long it takes, how far it is off."""
    from tf_frcnn.tflite.file import describe_file
    from tf_frcnn.tflite.interpreter import NUM_THREADS, FileRunner
    from tf_frcnn.tflite.report import compare_detections
    from tf_frcnn.tflite.timing import milliseconds_by_stage

    if pictures:
        name, picture = str(pictures[0]), read_resized(pictures[0], size)
    else:
        name = "noise (no picture of the run can be read: --calibration DIR)"
        noise = np.random.default_rng(_SEED).integers(0, 256, (*size, 3))
        picture = noise.astype(np.uint8)
    runner = FileRunner(content)
    report = describe_file(content)
    for stage, milliseconds in milliseconds_by_stage(content, picture).items():
        report["stages"][stage]["milliseconds"] = milliseconds
    deviation = compare_detections(detector(picture), runner.detect(picture))
    return {
        **report,
        "interpreter": runner.name,
        "threads": NUM_THREADS,
        "milliseconds": sum(stage["milliseconds"] for stage in report["stages"].values()),
        "milliseconds_by_operator": None,  # neither interpreter offers them to Python
        "deviation": {"picture": name, **deviation},
    }
