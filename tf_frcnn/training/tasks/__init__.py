"""What is learned, task by task. A new one is a file here, and a line in `TASKS`.

They are computed in this order; logs, curves and the guard against NaN take their names from here.
"""

from tf_frcnn.training.tasks import box, rpn
from tf_frcnn.training.tasks.task import Task

TASKS: tuple[Task, ...] = (
    rpn.TASK,
    box.TASK,
)
