"""Exit statuses, and messages without tracebacks."""

import errno
import io
import logging
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tf_frcnn.environment import set_up_logging
from tf_frcnn.errors import (
    ConfigError,
    DataError,
    NonFiniteLossError,
    UserError,
    WeightsError,
    run_command,
)


@pytest.fixture
def unread():
    """Open a pipe whose reader has left, to be standard output."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        yield stream


def failing(error):
    def command():
        raise error

    return command


@pytest.mark.parametrize("status", [0, 1, 2, 143])
def test_the_status_of_a_command_is_passed_on(status, capsys):
    assert run_command(lambda: status) == status
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UserError("a message"), 2),
        (ConfigError("a message"), 2),
        (DataError("a message"), 2),
        (WeightsError("a message"), 2),
        (NonFiniteLossError("a message"), 3),
    ],
)
def test_a_user_error_is_its_message_and_its_status(error, status, capsys):
    assert run_command(failing(error)) == status
    assert capsys.readouterr() == ("", "error: a message\n")


def test_an_error_keeps_its_message_and_status_though_nobody_reads_the_output(
    unread, monkeypatch, capfd
):
    def command():
        print("something")  # it waits to be flushed
        raise DataError("a message")

    monkeypatch.setattr(sys, "stdout", unread)
    assert run_command(command) == 2
    assert capfd.readouterr().err == "error: a message\n"


def test_output_that_nobody_reads_is_status_141(unread, monkeypatch):
    monkeypatch.setattr(sys, "stdout", unread)
    assert run_command(lambda: print("something") or 0) == 141
    unread.flush()  # goes nowhere


def test_ctrl_c_before_there_was_anything_to_save(capsys):
    assert run_command(failing(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_sigterm_is_status_143_and_lets_the_command_tidy_up(capsys):
    tidied = []

    def command():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            tidied.append(True)

    before = signal.getsignal(signal.SIGTERM)
    assert run_command(command) == 143
    assert capsys.readouterr().err == "terminated\n"
    assert tidied and signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_that_tensorflow_hides_in_an_error_of_its_own_is_found(number, status):
    def command():
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:  # as pybind11 does where it makes a Python error
            raise RuntimeError("MISMATCH of original and normalized active exception") from None

    assert run_command(command) == status


def test_an_error_without_a_signal_stays_what_it_is():
    with pytest.raises(RuntimeError, match="a fault of the program"):
        run_command(failing(RuntimeError("a fault of the program")))


def test_an_interrupt_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as nohup and & leave it
    try:
        assert run_command(lambda: signal.raise_signal(signal.SIGINT) or 0) == 0
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_command_can_run_beside_the_main_thread():
    with ThreadPoolExecutor() as threads:  # where Python takes no handlers of signals
        assert threads.submit(run_command, lambda: 0).result() == 0


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "error: No space left on device. Free"),
        (PermissionError(errno.EACCES, "Permission denied", "a.png"), "error: a.png: Permission"),
    ],
)
def test_a_full_disk_is_a_message(error, message, capsys):
    assert run_command(failing(error)) == 2
    assert capsys.readouterr().err.startswith(message)


def test_other_errors_of_the_system_are_faults():
    with pytest.raises(FileNotFoundError):
        run_command(failing(FileNotFoundError(errno.ENOENT, "No such file", "a")))


def test_faults_of_the_program_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run_command(failing(ZeroDivisionError()))


def test_the_errors_are_also_what_python_would_raise():
    # So that code which knows nothing of this package can catch them.
    assert issubclass(DataError, ValueError) and issubclass(NonFiniteLossError, ArithmeticError)


def test_what_the_terminal_has_no_letters_for_is_printed_all_the_same(monkeypatch):
    # PYTHONIOENCODING=latin-1
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="latin-1"))
    assert run_command(lambda: print("größe 猫 \udce9") or 0) == 0
    assert written.getvalue() == b"gr\xf6\xdfe \\u732b \\udce9\n"


def test_a_message_does_not_steer_the_terminal_and_is_short(capsys):
    assert run_command(failing(DataError("a\x1b[31m.xml: " + "9" * 3_000_000))) == 2
    said = capsys.readouterr().err
    assert said.startswith(r"error: a\x1b[31m.xml: 999") and len(said) < 1100


def test_a_log_that_nobody_reads_ends_quietly(unread, monkeypatch):
    # 2>&1 | head -1
    def command():
        set_up_logging()
        for number in range(3):
            logging.getLogger("tf_frcnn").info("line %d", number)
        return 0

    monkeypatch.setattr(sys, "stderr", unread)
    assert run_command(command) == 141
    unread.flush()  # goes nowhere
