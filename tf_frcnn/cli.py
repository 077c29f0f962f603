"""`tf-frcnn COMMAND [options]`: every command; `train.py` and `evaluate.py` call two of them."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version

from tf_frcnn.errors import EXIT_OK, EXIT_USAGE, run_command

# Command -> module with `main(argv, prog) -> exit status` (imported when it is used, so that none
# waits for what another one needs), and what it does.
COMMANDS = {
    "train": ("tf_frcnn.commands.train", "train, evaluate and export a detector"),
    "evaluate": ("tf_frcnn.commands.evaluate", "figures of a model, or of a file of detections"),
    "predict": ("tf_frcnn.commands.predict", "detect in images and videos; drawings and JSON"),
    "export": ("tf_frcnn.commands.export", "write a model as a SavedModel, to be served"),
    "tflite": ("tf_frcnn.commands.tflite", "write a model as a TFLite file, and look into it"),
    "benchmark": ("tf_frcnn.commands.benchmark", "measure how long a model takes, by stage"),
    "check-data": ("tf_frcnn.commands.check_data", "look at a data set as training would"),
    "convert-data": (
        "tf_frcnn.commands.convert_data",
        "write a data set of another tool as COCO or VOC",
    ),
    "models": ("tf_frcnn.commands.models", "detectors known by name; fetch one, check a file"),
    "verify": (
        "tf_frcnn.commands.verify",
        "compare a published detector's AP on COCO",
    ),
    "replay": ("tf_frcnn.commands.replay", "run a step that was not finite again"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Args:
        argv: arguments without the program's name; the process's own when None.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_command(lambda: _dispatch(arguments))


def _dispatch(arguments: Sequence[str]) -> int:
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        sys.stdout.write(_usage())
        return EXIT_OK
    if name == "--version":
        sys.stdout.write(f"tf-frcnn {version('tf_frcnn')}\n")
        return EXIT_OK
    if name not in COMMANDS:
        sys.stderr.write(f"error: no command is named {name!r}.\n{_usage()}")
        return EXIT_USAGE
    command: Callable[[Sequence[str], str], int] = import_module(COMMANDS[name][0]).main
    return command(arguments[1:], f"tf-frcnn {name}")


def _usage() -> str:
    lines = "".join(f"  {name:<12} {purpose}\n" for name, (_, purpose) in COMMANDS.items())
    return f"usage: tf-frcnn COMMAND [options]\n\n{lines}\n`tf-frcnn COMMAND --help` says more.\n"


if __name__ == "__main__":
    sys.exit(main())
