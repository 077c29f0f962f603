"""`tf-frcnn benchmark MODEL`: how long a model takes an image, in all and by stage."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from tf_frcnn.commands.model_options import ModelOptions
from tf_frcnn.environment import set_up_logging, set_up_tensorflow
from tf_frcnn.errors import EXIT_OK, UserError
from tf_frcnn.files import check_apart, prepare_file, write_json
from tf_frcnn.image_size import parse_size

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BenchmarkArguments(ModelOptions):
    """Everything `tf-frcnn benchmark` takes."""

    size: str = "600x800"
    """Height and width of the images, as HxW; the network resizes them as it always does."""
    batch: int = 1
    """Images a call."""
    runs: int = 20
    """Calls that count."""
    warm_up: int = 3
    """Calls before them, which do not count; the first one arranges the graph."""
    output: Path | None = None
    """File for the figures, as JSON."""
    overwrite: bool = False
    """Move a file of that name to NAME.bak-TIME first."""

    def check(self) -> None:
        """Check what types cannot say.

        Raises:
            UserError: a number is out of its range.
        """
        for option, value, least in (
            ("--batch", self.batch, 1),
            ("--runs", self.runs, 1),
            ("--warm-up", self.warm_up, 0),
        ):
            if value < least:
                raise UserError(f"{option} {value}: expected {least} or more.")


def main(argv: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status.

    Args:
        argv: arguments without the program's and the command's name.
        prog: what was typed to call the command.

    Raises:
        UserError: an option cannot be used, there is no model, or no place for the figures.
    """
    arguments = tyro.cli(
        BenchmarkArguments,
        prog=prog,
        description="Measure how long a model takes: calls from Python with images of noise, "
        "then each stage alone. The machine should have nothing else to do.",
        args=list(argv),
    )
    set_up_logging()
    arguments.check()
    image_size = parse_size(arguments.size)
    model = arguments.find_model(arguments.model)
    if arguments.output is not None:
        check_apart(arguments.output, [model.path, arguments.weights])
        prepare_file(arguments.output, arguments.overwrite)
    set_up_tensorflow()
    from tf_frcnn.benchmark.figures import measure_model
    from tf_frcnn.benchmark.table import print_report

    report = measure_model(model, arguments.batch, image_size, arguments.warm_up, arguments.runs)
    if arguments.output is not None:
        write_json(arguments.output, report)
        logger.info("written: %s", arguments.output)
    print_report(report)
    return EXIT_OK
