"""The options of `tf-frcnn tflite`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tf_frcnn.errors import UserError

LABELS_FILE = "labels.txt"
REPORT_ENDING = ".report.json"


@dataclass(frozen=True)
class TFLiteArguments:
    """Everything `tf-frcnn tflite` takes."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Run folder, checkpoint, SavedModel version folder, or its parent (newest version); no frozen
    export."""
    output: Path
    """The file, FILE.tflite; labels.txt and FILE.report.json are written beside it."""
    quantize: Literal["none", "float16", "dynamic", "int8"] = "none"
    """Form of the weights: float32 (`none`); float16; 8-bit integers, with inputs of convolutions
    and FC layers rounded as they come (`dynamic`) or to ranges found in pictures (`int8`)."""
    size: str | None = None
    """Height and width of the pictures that the file takes, as HxW; when not given, those at which
    a picture of 3:4 enters the network."""
    calibration: Path | None = None
    """Folder of pictures in which `int8` finds its ranges and the report compares, at most 100 of
    them; training pictures of the run when not given."""
    overwrite: bool = False
    """Move files of these names that are there to NAME.bak-TIME first."""

    def check(self) -> None:
        """Check what types cannot say.

        Raises:
            UserError: the output cannot be a file of this kind.
        """
        if self.output.suffix != ".tflite":
            raise UserError(f"--output {self.output}: expected the name of a file, FILE.tflite.")

    @property
    def labels_file(self) -> Path:
        """The class names, a line each."""
        return self.output.with_name(LABELS_FILE)

    @property
    def report_file(self) -> Path:
        """What is in the file."""
        return self.output.with_suffix(REPORT_ENDING)
