"""Exit statuses, and messages without tracebacks."""

import errno
import io
import logging
import os
import signal
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from tf_frcnn import errors
from tf_frcnn.environment import set_up_logging
from tf_frcnn.errors import (
    ConfigError,
    DataError,
    NonFiniteLossError,
    UserError,
    WeightsError,
    advise,
    install_command,
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


@pytest.fixture
def tracebacks(tmp_path, monkeypatch):
    """Give the folder that tracebacks are written to."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_an_unforeseen_error_is_a_short_message_and_a_file(tracebacks, capsys):
    text = "a fault\n of the program " + 1000 * "x"
    assert run_command(failing(RuntimeError(text))) == 70
    said, (file,) = capsys.readouterr().err, tracebacks.iterdir()
    assert said.startswith("error: a fault of the program, not foreseen: RuntimeError: a fault of")
    assert said.count("\n") == 1 and len(said) < 500 + len(str(file))
    assert f"Its traceback is in {file}" in said and "Traceback" not in said
    written = file.read_text()
    assert "Traceback (most recent call last)" in written and text in written


def test_the_traceback_is_printed_where_it_cannot_be_written(monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere/at/all")
    assert run_command(failing(ZeroDivisionError("a fault"))) == 70
    assert "Traceback (most recent call last)" in capsys.readouterr().err


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


def test_other_errors_of_the_system_are_not_those_of_a_full_disk(tracebacks, capsys):
    assert run_command(failing(FileNotFoundError(errno.ENOENT, "No such file", "a"))) == 70
    said = capsys.readouterr().err
    assert "FileNotFoundError: [Errno 2] No such file: 'a'" in said and "space" not in said


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EACCES, "Mend the permissions"),
        # Somebody moved the folder, or made one of that name, in between.
        (errno.ENOENT, "See to it that no other process"),
        (errno.ENOTEMPTY, "See to it that no other process"),
        (errno.EIO, "Free some space or mend the permissions"),
    ],
)
def test_the_advice_goes_with_the_reason(number, advice):
    assert advise(OSError(number, "a reason")).startswith(advice)


def test_an_extra_is_installed_from_the_checkout_or_beside_the_wheel(monkeypatch, tmp_path):
    assert install_command("tfds") == "`python -m pip install -e '.[tfds]'`"
    monkeypatch.setattr(errors, "_CHECKOUT", tmp_path / "setup.cfg")  # as a wheel lies: without it
    assert install_command("addons,tfds") == "`python -m pip install 'tf_frcnn[addons,tfds]'`"
    new = install_command("addons", in_new=True)  # where the name alone would mean the index's
    assert new == "`python -m pip install 'THE_WHEEL.whl[addons]'`"


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
