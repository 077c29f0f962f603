"""`tf-frcnn tflite MODEL --output FILE`: write a trained model as a TFLite file, and look into it.

The file takes one image of a fixed size and answers what a SavedModel does; docs/tflite.md says
what is in it.
"""

import dataclasses
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from tf_frcnn.commands.model_options import ModelOptions
from tf_frcnn.config import Config
from tf_frcnn.data.faults import counted
from tf_frcnn.data.orientation import ExifChoice, is_applied
from tf_frcnn.environment import set_up_logging, set_up_tensorflow
from tf_frcnn.errors import EXIT_OK, UserError
from tf_frcnn.files import check_apart, write_together
from tf_frcnn.image_size import check_antialias, check_size, default_size, parse_size
from tf_frcnn.tflite.calibration import find_images, read_resized
from tf_frcnn.tflite.convertible import check_convertible
from tf_frcnn.tflite.outputs import (
    labels_file,
    labels_text,
    prepare_files,
    report_file,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TFLiteArguments(ModelOptions):
    """Everything `tf-frcnn tflite` takes."""

    output: Path
    """The file, FILE.tflite; labels.txt and FILE.report.json are written beside it."""
    quantize: Literal["none", "float16", "dynamic", "int8"] = "none"
    """Form of the weights: float32 (`none`); float16; 8-bit integers, with inputs of convolutions
    and FC layers rounded as they come (`dynamic`) or to ranges found in images (`int8`)."""
    size: str | None = None
    """Height and width of the images that the file takes, as HxW; when not given, those at which
    an image of 3:4 enters the network."""
    num_rois: int | None = None
    """Proposals that are looked at, K at most: fewer than the model's own number are faster and
    find less; the report says how much less on its image."""
    calibration: Path | None = None
    """Folder of images in which `int8` finds its ranges and the report compares, at most 100 of
    them; training images of the run when not given."""
    overwrite: bool = False
    """Move files of these names that are there to NAME.bak-TIME first."""

    def check(self) -> None:
        """Check what types cannot say.

        Raises:
            UserError: the output cannot be a file of this kind.
        """
        if self.output.suffix != ".tflite":
            raise UserError(f"--output {self.output}: expected the name of a file, FILE.tflite.")

    def apply_to(self, config: Config) -> Config:
        """Replace the number of RoIs by the one that was asked for.

        Raises:
            UserError: it is none, or above the model's own.
        """
        if self.num_rois is None:
            return config
        own = config.model.rpn_post_nms_top_k
        if not 1 <= self.num_rois <= own:
            raise UserError(
                f"--num-rois {self.num_rois}: expected a number from 1 to {own}, the model's own."
            )
        model = dataclasses.replace(config.model, rpn_post_nms_top_k=self.num_rois)
        return dataclasses.replace(config, model=model)


def main(argv: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status.

    Args:
        argv: arguments without the program's and the command's name.
        prog: what was typed to call the command.

    Raises:
        UserError: an option cannot be used, there is no model or none that can be converted, no
            images for int8, or no place for output.
    """
    arguments = tyro.cli(
        TFLiteArguments,
        prog=prog,
        description="Write a model as a TFLite file for images of one size: resizing, boxes and "
        "NMS inside, builtin operators only. docs/tflite.md says what it takes and answers.",
        args=list(argv),
    )
    set_up_logging()
    arguments.check()
    model = arguments.find_model(arguments.model)
    config = model.load_config()
    exif = config.data.exif
    reduced = arguments.apply_to(config)
    size = parse_size(arguments.size) if arguments.size else default_size(config.data)
    check_size(size, config.data, config.model.rpn_min_size)
    check_antialias(size, config.data)
    check_convertible(config.model.roi_op, config.model.flip_at_test)
    try:
        images = find_images(arguments.calibration, model)
    except UserError:
        if arguments.quantize == "int8" or arguments.calibration is not None:
            raise
        images = []
    labels = labels_text(config.data.classes)
    for path in (arguments.output, labels_file(arguments.output), report_file(arguments.output)):
        check_apart(path, [model.path, arguments.weights, arguments.calibration])
    prepare_files(arguments.output, labels, arguments.overwrite)
    set_up_tensorflow()
    from tf_frcnn.inference import load_network
    from tf_frcnn.tflite.conversion import Converter
    from tf_frcnn.tflite.file import add_metadata
    from tf_frcnn.tflite.inspection import inspect_file
    from tf_frcnn.tflite.report import print_report

    whole = load_network(model)
    # What is written is compared with the model itself, not with one of fewer RoIs.
    converted = whole if reduced == config else load_network(model, reduced)
    converter, ranges = Converter(converted, size), None
    if arguments.quantize == "int8":
        logger.info("finding the ranges of int8 in %s", counted(len(images), "image"))
        ranges = converter.find_ranges(read_resized(path, size, exif) for path in images)
    choice: ExifChoice = "apply" if is_applied(exif) else "ignore"
    preparation = {"exif": choice, "antialias": config.data.antialias}
    content = add_metadata(converter.convert(arguments.quantize, ranges), preparation)
    report = {
        "model": str(model.path),
        "quantize": arguments.quantize,
        "picture_size": list(size),
        "num_rois": converted.network.config.rpn_post_nms_top_k,
        **preparation,
        **inspect_file(whole, content, size, images, exif),
    }
    write_together(
        {
            labels_file(arguments.output): labels.encode(),
            arguments.output: content,
            report_file(arguments.output): (json.dumps(report, indent=2) + "\n").encode(),
        }
    )
    print_report(report)
    logger.info(
        "written: %s (%.1f MB) for images of %d x %d, %s and %s",
        *(arguments.output, len(content) / 1e6, *size),
        *(labels_file(arguments.output), report_file(arguments.output)),
    )
    return EXIT_OK
