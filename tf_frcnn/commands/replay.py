"""`tf-frcnn replay FILE`: run one training step again, and say what is wrong with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from tf_frcnn.environment import set_up_logging, set_up_tensorflow
from tf_frcnn.errors import EXIT_NOT_FINITE, EXIT_OK


@dataclass(frozen=True)
class ReplayArguments:
    """Everything `tf-frcnn replay` takes."""

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """RUN/non_finite/step-XXXXXXXX.h5, as training writes it; neither its run nor the data set is
    needed."""


def main(argv: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status: 3 where the step is not finite again.

    Args:
        argv: arguments without the program's and the command's name.
        prog: what was typed to call the command.

    Raises:
        UserError: the file cannot be used.
    """
    arguments = tyro.cli(
        ReplayArguments,
        prog=prog,
        description="Run the training step again that is in a file, operation by operation, and "
        "say where it is not finite. Exit status 3 if it is not, 0 if it is.",
        args=list(argv),
    )
    set_up_logging()
    from tf_frcnn.training.non_finite.record import load_step, load_weights

    record = load_step(arguments.file)
    set_up_tensorflow(record.config.train.seed)
    from tf_frcnn.checkpoints import named_weights
    from tf_frcnn.model import FasterRCNN
    from tf_frcnn.training.non_finite.diagnosis import diagnose
    from tf_frcnn.training.non_finite.message import describe_diagnosis, describe_terms
    from tf_frcnn.training.trainer import FasterRCNNTrainer

    train_config = record.config.train
    network = FasterRCNN(record.config.model, len(record.class_names), train_config.precision)
    load_weights(arguments.file, named_weights(network))
    diagnosis = diagnose(FasterRCNNTrainer(network, train_config), record)
    outcome = "is finite" if diagnosis.is_finite else "is not finite"
    console = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
    console.print(f"step {record.step} {outcome} ({describe_terms(diagnosis.losses)}).")
    console.print(describe_diagnosis(diagnosis))
    return EXIT_OK if diagnosis.is_finite else EXIT_NOT_FINITE
