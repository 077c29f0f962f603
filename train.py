"""Train, evaluate and export a detector: `python train.py [PRESET] [--section.field VALUE ...]`."""

import sys

from tf_frcnn.commands.train import main
from tf_frcnn.errors import run_command

if __name__ == "__main__":
    sys.exit(run_command(main))
