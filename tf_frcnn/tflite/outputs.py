"""The files that `tf-frcnn tflite` writes: all of them or none, and never over others."""

from collections.abc import Sequence
from pathlib import Path

from tf_frcnn.files import prepare_file
from tf_frcnn.tflite.arguments import TFLiteArguments


def labels_text(class_names: Sequence[str]) -> str:
    """Write class names for labels.txt: class k of the file's answers is line k, from 1."""
    return "".join(f"{name}\n" for name in class_names)


def prepare_files(arguments: TFLiteArguments, labels: str) -> None:
    """Make the output's folder, and see that nothing that is in it would be overwritten.

    A labels.txt of the same classes may stay: files of one model can lie side by side.

    Args:
        arguments: of the command.
        labels: what labels.txt will hold.

    Raises:
        UserError: one of the files is there and --overwrite is not given; or the folder cannot be
            made or written to.
    """
    for path in (arguments.output, arguments.report_file, arguments.labels_file):
        if path == arguments.labels_file and _holds(path, labels):
            continue
        prepare_file(path, arguments.overwrite)


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False
