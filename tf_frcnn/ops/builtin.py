"""Which of two kernels an operator takes: TensorFlow's own, or one of operators that others have.

TFLite has no `crop_and_resize`, and no NMS of a batch or of several classes. Each of these has a
twin beside it that computes the same of operators that TFLite has, for one image and static shapes;
graphs that are traced under `builtin_operators_only` take the twins. XLA has no `crop_and_resize`
either.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import tensorflow as tf
from tensorflow.python.ops import control_flow_util

_builtin_only = ContextVar("builtin_only", default=False)


@contextmanager
def builtin_operators_only() -> Iterator[None]:
    """Let operators take the twins that TFLite can run; graphs traced meanwhile keep them."""
    token = _builtin_only.set(True)
    try:
        yield
    finally:
        _builtin_only.reset(token)


def takes_builtin_only() -> bool:
    """Whether the graph that is being traced is for TFLite."""
    return _builtin_only.get()


def is_compiled() -> bool:
    """Whether the graph that is being traced is for XLA, as `tf.function` says it to its own."""
    graph = tf.compat.v1.get_default_graph()
    return bool(control_flow_util.GraphOrParentsInXlaContext(graph))
