"""`python -m tf_frcnn COMMAND`, the same as `tf-frcnn COMMAND`."""

import sys

from tf_frcnn.cli import main

sys.exit(main())
