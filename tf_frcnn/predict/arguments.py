"""The options of `tf-frcnn predict`, and which detections they ask for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tf_frcnn.errors import UserError
from tf_frcnn.prediction import Prediction


@dataclass(frozen=True)
class PredictArguments:
    """Everything `tf-frcnn predict` takes."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Run folder, checkpoint, SavedModel version folder, or its parent (newest version)."""
    output: Path
    """Folder for detections.json and the drawings, in which small pictures are enlarged."""
    # Not required, so that `check` tells what is missing, in the same words for every tyro.
    inputs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="INPUT...")] = ()
    """Pictures and videos; folders, of which those directly inside are taken; globs in quotes
    ('photos/**/*.jpg' for all depths). Give them before --classes."""
    score: float = 0.5
    """Detections below this score are left out. The model itself leaves out those below the
    threshold that it was trained or exported with, 0.05 by default."""
    classes: tuple[str, ...] = ()
    """Names of the classes to look for; all of the model's when not given."""
    batch_size: int = 1
    """Pictures or frames read at a time; those of one size go through the network together."""
    frame_step: int = 1
    """Of a video, take every Nth frame only; the drawing plays as fast as the video."""
    exif: Literal["ignore", "apply"] = "ignore"
    """What to do with an EXIF orientation, or that of a video: ignore it, as training does, or turn
    the picture upright first; boxes are then in pixels of the turned picture."""
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
                "no INPUT was given: expected pictures, videos, folders or globs after MODEL and "
                "before --classes, which takes every word that follows it."
            )

    def select(self, prediction: Prediction) -> Prediction:
        """Keep the detections that were asked for, by --score and --classes.

        Args:
            prediction: of one picture.
        """
        wanted = [
            index
            for index, name in enumerate(prediction.class_names)
            if prediction.scores[index] >= self.score and (not self.classes or name in self.classes)
        ]
        return prediction.select(wanted)
