"""Errors that the user can mend, and the exit statuses of every command.

Everything that a user can cause ends in a `UserError`: one message that names the file, the field,
what was there, what was expected and what to do. `run_command` prints it without a traceback.
"""

import sys
from collections.abc import Callable

EXIT_OK = 0
EXIT_FINDINGS = 1  # done, but items failed or findings exist
EXIT_USAGE = 2  # usage, input or environment
EXIT_NOT_FINITE = 3  # training stopped by a loss that is not finite
EXIT_WORKER_LOST = 4  # another worker of the job is gone
EXIT_INTERRUPTED = 130  # Ctrl-C, after saving
EXIT_TERMINATED = 143  # SIGTERM, after saving


class UserError(Exception):
    """A fault in the usage, the input or the environment, with the way out in its message."""

    exit_status = EXIT_USAGE
    label = "error"


class ConfigError(UserError, ValueError):
    """A configuration value that cannot be used."""


class DataError(UserError, ValueError):
    """A data set, annotation file or picture that cannot be used."""


class WeightsError(UserError, ValueError):
    """A weights file or checkpoint that cannot be found, read or used."""


class NonFiniteLossError(UserError, ArithmeticError):
    """Training was stopped by a loss that is not finite."""

    exit_status = EXIT_NOT_FINITE


class WorkerLostError(UserError, ConnectionError):
    """Another worker of a job on several machines is gone."""

    exit_status = EXIT_WORKER_LOST


def run_command(command: Callable[[], int]) -> int:
    """Run a command and turn a `UserError` into its message and its exit status.

    Args:
        command: does the work and returns an exit status.

    Returns:
        The exit status of the command, or that of the error.
    """
    try:
        return command()
    except UserError as error:
        print(f"{error.label}: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:  # before there was anything to save
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
