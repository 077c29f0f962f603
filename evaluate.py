"""Evaluate a model (a run, a checkpoint, a SavedModel), or a file of detections.

python evaluate.py MODEL [--data.FIELD VALUE ...] [--output DIR]
python evaluate.py --detections FILE --data.root DIR [--data.FIELD VALUE ...] [--output DIR]
"""

import sys

from tf_frcnn.commands.evaluate import main
from tf_frcnn.errors import run_command

if __name__ == "__main__":
    sys.exit(run_command(main))
