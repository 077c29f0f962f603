"""`tf-frcnn predict MODEL INPUT... --output DIR`: draw what a model finds, and write it as JSON."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from tf_frcnn.commands.model_options import ModelOptions
from tf_frcnn.data.faults import enumerate_names
from tf_frcnn.data.orientation import is_applied
from tf_frcnn.environment import set_up_logging, set_up_tensorflow
from tf_frcnn.errors import EXIT_FINDINGS, EXIT_OK, UserError
from tf_frcnn.files import check_apart, prepare_output
from tf_frcnn.names import normalise_name
from tf_frcnn.predict.containers import is_video
from tf_frcnn.predict.inputs import Reading, find_inputs
from tf_frcnn.predict.video import load_pyav
from tf_frcnn.prediction import Prediction

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictArguments(ModelOptions):
    """Everything `tf-frcnn predict` takes."""

    output: Path
    """Folder for detections.json and the drawings, in which small images are enlarged."""
    # Not required, so that `check` tells what is missing, in the same words for every tyro.
    inputs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="INPUT...")] = ()
    """Images and videos; folders, of which those directly inside are taken; globs in quotes
    ('photos/**/*.jpg' for all depths). Give them before --classes."""
    score: float = 0.5
    """Detections below this score are left out. The model itself leaves out those below the
    threshold that it was trained or exported with, 0.05 by default."""
    classes: tuple[str, ...] = ()
    """Names of the classes to look for; all of the model's when not given."""
    batch_size: int = 1
    """Images or frames read at a time; those of one size go through the network together."""
    frame_step: int = 1
    """Of a video, take every Nth frame only; the drawing plays as fast as the video."""
    exif: Literal["apply", "ignore"] | None = None
    """What to do with an EXIF orientation, or that of a video: turn the image upright first (boxes
    are then in pixels of the turned image), or ignore it; as the model was trained when not given,
    and upright for a published one."""
    overwrite: bool = False
    """Move what is in the output folder to NAME.bak-TIME first."""

    def check(self) -> None:
        """Check what types cannot say.

        Raises:
            UserError: a number is out of its range, or no input was given.
        """
        if not 0.0 <= self.score <= 1.0:
            raise UserError(f"--score {self.score}: expected a number from 0 to 1.")
        for option, value in (
            ("--batch-size", self.batch_size),
            ("--frame-step", self.frame_step),
        ):
            if value < 1:
                raise UserError(f"{option} {value}: expected 1 or more.")
        if not self.inputs:
            raise UserError(
                "no INPUT was given: expected images, videos, folders or globs after MODEL and "
                "before --classes, which takes every word that follows it."
            )

    @property
    def wanted_classes(self) -> tuple[str, ...]:
        """The names of --classes in the form that those of models have."""
        return tuple(map(normalise_name, self.classes))

    def check_classes(self, known: Sequence[str]) -> None:
        """Check that a model knows the classes of --classes.

        Raises:
            UserError: it does not.
        """
        unknown = [name for name in self.wanted_classes if name not in known]
        if unknown:
            raise UserError(
                f"--classes: the model knows no {', '.join(map(repr, unknown))}. Expected some of "
                f"{enumerate_names(known)}."
            )

    def select(self, prediction: Prediction) -> Prediction:
        """Keep the detections that were asked for, by --score and --classes.

        Args:
            prediction: of one image.
        """
        classes = self.wanted_classes
        wanted = [
            index
            for index, name in enumerate(prediction.class_names)
            if prediction.scores[index] >= self.score and (not classes or name in classes)
        ]
        return prediction.select(wanted)


def main(argv: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status.

    Args:
        argv: arguments without the program's and the command's name.
        prog: what was typed to call the command.

    Raises:
        UserError: an option cannot be used, there is nothing to detect in, no model, no place for
            output, or no PyAV for a video.
    """
    arguments = tyro.cli(
        PredictArguments,
        prog=prog,
        description="Detect objects in images and videos: a drawing of each, and detections.json "
        "(COCO results format). Exit status 1 when one of them could not be read.",
        args=list(argv),
    )
    set_up_logging()
    arguments.check()
    paths, problems = find_inputs(arguments.inputs)
    for problem in problems if paths else ():
        logger.warning("%s", problem)
    if not paths:
        raise UserError("\n".join(problems))
    check_apart(arguments.output, [arguments.model, arguments.weights, *paths])
    videos = [path for path in paths if is_video(path)]
    if videos:
        load_pyav()
    model = arguments.find_model(arguments.model)
    data = model.load_config().data
    arguments.check_classes(data.classes)
    prepare_output(arguments.output, arguments.overwrite)
    set_up_tensorflow()
    from tf_frcnn.detector import Detector
    from tf_frcnn.predict.detection import predict_files

    detector = Detector.from_files(model)

    def detect(images: Sequence[np.ndarray]) -> list[Prediction]:
        found = detector(images, batch_size=arguments.batch_size)
        return [arguments.select(prediction) for prediction in found]

    num_unreadable = predict_files(
        detect,
        [path for path in paths if path not in videos],
        videos,
        arguments.output,
        Reading(
            arguments.batch_size, arguments.frame_step, is_applied(arguments.exif or data.exif)
        ),
        detector.category_ids,
    )
    return EXIT_FINDINGS if num_unreadable or problems else EXIT_OK
