"""`tf-frcnn convert-data --from FORMAT SOURCE OUTPUT`: another tool's data set as COCO or VOC."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tf_frcnn.conversion.formats import FORMATS
from tf_frcnn.data.formats import DATASETS
from tf_frcnn.environment import set_up_logging
from tf_frcnn.errors import EXIT_OK, ConfigError, UserError
from tf_frcnn.files import check_writable_folder

_LIST = "; ".join(f"{name}: {known.what}" for name, known in FORMATS.items())


@dataclass(frozen=True)
class ConvertArguments:
    """Everything `tf-frcnn convert-data` takes."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """Folder of the data set, as its tool writes it."""
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUTPUT")]
    """Folder for what is written; not there yet, or empty."""
    from_format: Annotated[str, tyro.conf.arg(name="from", metavar=f"{{{','.join(FORMATS)}}}")]
    """Format of the source."""
    to: Literal["coco", "voc"] = "coco"
    """Format to write. VOC holds no box that is narrower than a pixel."""
    on_error: Literal["stop", "skip"] = "stop"
    """What to do about faults in the source: stop and list them, or leave the boxes and images out
    that have them."""

    def check(self) -> None:
        """Check the name of the format, and that there is room for what is written.

        Raises:
            ConfigError: the format is none that can be converted.
            UserError: there is something in the output folder, or it cannot be written to.
        """
        self._check_format()
        if self.output.is_dir() and any(self.output.iterdir()):
            raise UserError(
                f"{self.output}: there is something already. Give the name of a new folder, or of "
                "an empty one."
            )
        check_writable_folder(self.output, "OUTPUT")

    def _check_format(self) -> None:
        if self.from_format in FORMATS:
            return
        if self.from_format in DATASETS:
            raise ConfigError(
                f"--from {self.from_format}: is read as it is, `--data.format {self.from_format} "
                f"--data.root {self.source}`. Expected another one: {', '.join(FORMATS)}."
            )
        raise ConfigError(
            f"--from {self.from_format}: expected one of {', '.join(FORMATS)}.\n"
            + "".join(f"  {name:<12} {known.what}\n" for name, known in FORMATS.items())
            + f"Read without conversion are {', '.join(DATASETS)}."
        )


def main(argv: Sequence[str], prog: str) -> int:
    """Convert a data set and return the exit status.

    Args:
        argv: arguments without the program's and the command's name.
        prog: what was typed to call the command.

    Raises:
        UserError: the format is unknown, what reads it is not installed, the source is none of it,
            or the output is there already or cannot be written.
    """
    arguments = tyro.cli(
        ConvertArguments,
        prog=prog,
        description="Write a data set of another tool as COCO JSON or Pascal VOC, which training "
        f"reads. Images are copied; nothing is overwritten. The formats are {_LIST}. All but "
        "LabelMe's JSON need Datumaro, the extra convert.",
        args=list(argv),
    )
    set_up_logging()
    arguments.check()
    from tf_frcnn.conversion.convert import convert

    done = convert(
        *(arguments.source, arguments.output, arguments.from_format, arguments.to),
        skip_faults=arguments.on_error == "skip",
    )
    sys.stdout.write(
        f"{arguments.output}: written as {arguments.to}, and read again\n{done.describe()}"
        f"Next: tf-frcnn check-data --data.root {arguments.output}\n"
    )
    return EXIT_OK
