"""Errors that the user can mend, and the exit statuses of every command.

Everything that a user can cause ends in a `UserError`: one message that names the file, the field,
what was there, what was expected and what to do. `run_command` prints it without a traceback. What
nobody has foreseen is a fault of the program: a short message too, its traceback goes to a file.
"""

import errno
import io
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from tf_frcnn.names import printable, shown

EXIT_OK = 0
EXIT_FINDINGS = 1  # done, but items failed or findings exist
EXIT_USAGE = 2  # usage, input or environment
EXIT_NOT_FINITE = 3  # training stopped by a loss that is not finite
EXIT_WORKER_LOST = 4  # another worker of the job is gone
EXIT_UNFORESEEN = 70  # a fault of the program; its traceback is in a file
EXIT_INTERRUPTED = 130  # Ctrl-C, after saving
EXIT_READER_LEFT = 141  # nobody reads the output any more, as after `| head`: 128 + SIGPIPE
EXIT_TERMINATED = 143  # SIGTERM, after saving


class UserError(Exception):
    """A fault in the usage, the input or the environment, with the way out in its message."""

    exit_status = EXIT_USAGE
    label = "error"


class ConfigError(UserError, ValueError):
    """A configuration value that cannot be used."""


class DataError(UserError, ValueError):
    """A data set, annotation file or image that cannot be used."""


class WeightsError(UserError, ValueError):
    """A weights file or checkpoint that cannot be found, read or used."""


class NonFiniteLossError(UserError, ArithmeticError):
    """Training was stopped by a loss that is not finite."""

    exit_status = EXIT_NOT_FINITE


class WorkerLostError(UserError, ConnectionError):
    """Another worker of a job on several machines is gone."""

    exit_status = EXIT_WORKER_LOST


class Terminated(KeyboardInterrupt):
    """SIGTERM: what handles Ctrl-C handles it too."""


# Of the disk and its permissions: the program is not to blame.
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
_DISK_ERRORS = (*_FULL, *_FORBIDDEN, errno.EIO)
# Of a path that was there, or was free, a moment before.
_CHANGED = (errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.ESTALE)
_MAX_SHOWN = 300  # letters of an error that nobody has foreseen
_CHECKOUT = Path(__file__).parents[1] / "setup.cfg"  # no wheel brings it


def advise(error: Exception) -> str:
    """Say what to do where something cannot be written: the beginning of a sentence.

    Args:
        error: whose `errno` tells why, if it has one.
    """
    number = getattr(error, "errno", None)
    if number in _FULL:
        return "Free some space"
    if number in _FORBIDDEN:
        return "Mend the permissions"
    if number in _CHANGED:
        return "See to it that no other process moves, makes or removes files there"
    return "Free some space or mend the permissions"


def install_command(extra: str, in_new: bool = False) -> str:
    """Write the command that brings an extra of this project: to a checkout, or beside a wheel.

    Args:
        extra: its name in setup.cfg; of several, with commas between them.
        in_new: it is for a new environment, where the wheel is not installed yet.
    """
    wheel = "THE_WHEEL.whl" if in_new else "tf_frcnn"
    target = f"-e '.[{extra}]'" if _CHECKOUT.is_file() else f"'{wheel}[{extra}]'"
    return f"`python -m pip install {target}`"


def run_command(command: Callable[[], int]) -> int:
    """Run a command and turn what is not its fault into a message and an exit status.

    SIGTERM ends it as Ctrl-C does, so that nothing is left half-written; a command may handle both
    in its own way meanwhile.

    Args:
        command: does the work and returns an exit status.

    Returns:
        The exit status of the command, or that of the error; `EXIT_UNFORESEEN` of one that is no
        user's to mend; `EXIT_READER_LEFT` where there is no error but that nobody reads what is
        printed.
    """
    status = EXIT_OK
    try:
        try:
            for stream in (sys.stdout, sys.stderr):
                if isinstance(stream, io.TextIOWrapper):  # a name may hold what it has no code for
                    stream.reconfigure(errors="backslashreplace")
            status = _run_with_messages(command)
            return status
        finally:  # now, not when the interpreter exits, which would complain of a broken pipe
            for stream in filter(None, (sys.stdout, sys.stderr)):  # None if closed from the start
                stream.flush()
    except BrokenPipeError:
        pass
    except SystemExit as stopped:  # of help; or of rich, where it finds the pipe broken
        if not isinstance(stopped.__context__, BrokenPipeError):
            raise
    _give_up_output()
    return status or EXIT_READER_LEFT


def _give_up_output() -> None:
    """Let what is still to be written go nowhere: the interpreter writes it when it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _run_with_messages(command: Callable[[], int]) -> int:
    """Run a command -> its exit status, or that of the error whose message is printed."""
    try:
        with _interrupt_on_signals():
            return command()
    except UserError as error:
        print(printable(f"{error.label}: {error}"), file=sys.stderr)
        return error.exit_status
    except Terminated:
        print("terminated", file=sys.stderr)
        return EXIT_TERMINATED
    except KeyboardInterrupt:  # before there was anything to save, or after all was saved
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            place = f"{error.filename}: " if error.filename else ""
            message = f"{place}{error.strerror}. {advise(error)}, then run the same command again."
            print(printable(f"error: {message}"), file=sys.stderr)
            return EXIT_USAGE
        print(printable(f"error: {_describe_unforeseen(error)}"), file=sys.stderr)
        return EXIT_UNFORESEEN


def _describe_unforeseen(error: Exception) -> str:
    """Write the traceback to a file -> what happened and where the file is."""
    said = shown(" ".join(f"{type(error).__name__}: {error}".split()), _MAX_SHOWN)
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w",
            prefix="tf_frcnn-error-",
            suffix=".txt",
            delete=False,
            encoding="utf-8",
            errors="backslashreplace",
        ) as file:
            file.write(f"{sys.argv!r}\nPython {sys.version}\n{text}")
        where = f"Its traceback is in {file.name}: report it with that file."
    except OSError:  # no folder for it
        where = f"Report it with this traceback:\n{text}"
    return f"a fault of the program, not foreseen: {said}. {where}"


@contextmanager
def _interrupt_on_signals() -> Iterator[None]:
    """Raise `KeyboardInterrupt` on Ctrl-C and `Terminated` on SIGTERM while the block runs.

    Signals reach the main thread alone. One that comes while TensorFlow makes an error of its own
    is hidden in a RuntimeError of its binding to Python; it comes out of the block as what it was.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupts: dict[int, type[KeyboardInterrupt]] = {signal.SIGTERM: Terminated}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored, as by nohup
        interrupts[signal.SIGINT] = KeyboardInterrupt
    raised: list[type[KeyboardInterrupt]] = []

    def interrupt(signal_number: int, frame: FrameType | None) -> None:
        raised.append(interrupts[signal_number])
        raise raised[-1]

    previous = {number: signal.signal(number, interrupt) for number in interrupts}
    try:
        yield
    except RuntimeError:
        if raised:
            raise raised[-1] from None
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
