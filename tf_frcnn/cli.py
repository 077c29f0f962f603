"""`tf-frcnn COMMAND [options]`: the commands beside `train.py` and `evaluate.py`."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from tf_frcnn.environment import set_up_logging
from tf_frcnn.errors import EXIT_OK, EXIT_USAGE, run_command

# Command -> module with `main(argv) -> exit status` (imported when it is used: TensorFlow takes
# seconds), and what it does.
COMMANDS = {
    "benchmark": ("tf_frcnn.benchmark.command", "measure how long a model takes, by stage"),
    "check-data": ("tf_frcnn.doctor.command", "look at a data set as training would, and report"),
    "export": ("tf_frcnn.export.command", "write a model as a SavedModel, to be served"),
    "predict": ("tf_frcnn.predict.command", "detect in pictures and videos; drawings and JSON"),
    "replay": ("tf_frcnn.training.non_finite.command", "run a step that was not finite again"),
    "tflite": ("tf_frcnn.tflite.command", "write a model as a TFLite file, and look into it"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Args:
        argv: arguments without the program's name; the process's own when None.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        sys.stdout.write(_usage())
        return EXIT_OK
    if name not in COMMANDS:
        sys.stderr.write(f"error: no command is named {name!r}.\n{_usage()}")
        return EXIT_USAGE
    set_up_logging()
    command: Callable[[Sequence[str]], int] = import_module(COMMANDS[name][0]).main
    return run_command(lambda: command(arguments[1:]))


def _usage() -> str:
    lines = "".join(f"  {name:<12} {purpose}\n" for name, (_, purpose) in COMMANDS.items())
    return f"usage: tf-frcnn COMMAND [options]\n\n{lines}\n`tf-frcnn COMMAND --help` says more.\n"
