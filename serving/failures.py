"""Errors between a client and the server, in the same words for REST and gRPC."""

from tf_frcnn.errors import UserError

_MAX_QUOTED = 500  # the server may quote a whole request, which holds images


def no_server(address: str, reason: object) -> UserError:
    """Make the error of a server that cannot be reached, or takes no more requests."""
    return UserError(
        f"{address}: no server takes requests there ({reason}). Start one as docs/serving.md says, "
        "or give its address: --server."
    )


def no_answer_in_time(address: str, seconds: float) -> UserError:
    """Make the error of a server that takes too long."""
    return UserError(
        f"{address}: no answer within {seconds:g} s. Wait longer: --timeout. A large model on a "
        "busy machine takes seconds per image, and longer for the first one without a warm-up."
    )


def not_loaded(address: str, message: str) -> UserError:
    """Make the error of a server that does not have the model."""
    return UserError(
        f"{address}: the server has no such model loaded ({shorten(message)}). It may still "
        "be loading it, or have failed to load it: see its log. Otherwise give the name by which "
        "it serves the model: --model."
    )


def refused(address: str, status: str, message: str) -> UserError:
    """Make the error of a request that the server answered with a status and an error message."""
    return UserError(f"{address}: the server answered {status}: {shorten(message)}")


def shorten(message: str) -> str:
    """Shorten a message from outside to a length that is readable on a terminal."""
    message = message.strip()
    return message if len(message) <= _MAX_QUOTED else message[:_MAX_QUOTED] + " ..."
