"""The files that `tf-frcnn tflite` writes: all of them or none, and never over others."""

from collections.abc import Sequence
from pathlib import Path

from tf_frcnn.errors import UserError
from tf_frcnn.files import prepare_file

LABELS_FILE = "labels.txt"
REPORT_ENDING = ".report.json"


def labels_file(output: Path) -> Path:
    """Name the file of class names, a line each, that goes with FILE.tflite."""
    return output.with_name(LABELS_FILE)


def report_file(output: Path) -> Path:
    """Name the file that says what is in FILE.tflite."""
    return output.with_suffix(REPORT_ENDING)


def labels_text(class_names: Sequence[str]) -> str:
    """Write class names for labels.txt: class k of the file's answers is line k, from 1."""
    return "".join(f"{name}\n" for name in class_names)


def prepare_files(output: Path, labels: str, overwrite: bool) -> None:
    """Make the output's folder, and see that nothing that is in it would be overwritten.

    A labels.txt of the same classes may stay: files of one model can lie side by side.

    Args:
        output: FILE.tflite.
        labels: what labels.txt will hold.
        overwrite: move what is there to NAME.bak-TIME.

    Raises:
        UserError: one of the files is there and `overwrite` is off; or the folder cannot be
            made or written to.
    """
    for path in (output, report_file(output)):
        prepare_file(path, overwrite)
    path = labels_file(output)
    if _holds(path, labels):
        return
    if path.is_file() and not overwrite:
        raise UserError(
            f"{path}: there are other class names already. Give an --output in another folder, or "
            "--overwrite to move them to a .bak file: files that lie beside them then lack theirs."
        )
    prepare_file(path, overwrite)


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False
