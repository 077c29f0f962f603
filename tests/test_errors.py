"""Exit statuses, and messages without tracebacks."""

import pytest

from tf_frcnn.errors import (
    ConfigError,
    DataError,
    NonFiniteLossError,
    UserError,
    WeightsError,
    run_command,
)


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


def test_ctrl_c_before_there_was_anything_to_save(capsys):
    assert run_command(failing(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_faults_of_the_program_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run_command(failing(ZeroDivisionError()))


def test_the_errors_are_also_what_python_would_raise():
    # So that code which knows nothing of this package can catch them.
    assert issubclass(DataError, ValueError) and issubclass(NonFiniteLossError, ArithmeticError)
