"""Write the API page from the docstrings: `make docs`, or `python docs/make_api.py [FOLDER]`."""

import sys
import warnings
from pathlib import Path

import pdoc

import tf_frcnn

# What a user of the API meets: the package's own names, and the modules of what these take, return
# and raise. The other modules document themselves to those who read them.
MODULES = (
    "tf_frcnn",
    r"!tf_frcnn\.",
    "tf_frcnn.prediction",
    "tf_frcnn.data.example",
    "tf_frcnn.config",
    "tf_frcnn.errors",
)


def main() -> None:
    """Write the pages; a warning is an error."""
    warnings.filterwarnings("error", module="pdoc")
    # Types that pydantic has for checkers only, and those of an extra that may not be installed.
    warnings.filterwarnings("ignore", ".*(PydanticDataclass|supervision)", module="pdoc")
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("api"))
    for name in tf_frcnn.__all__:  # imported at their first use, which pdoc does not wait for
        vars(tf_frcnn)[name] = getattr(tf_frcnn, name)
    template = Path(__file__).with_name("api_template")
    pdoc.render.configure(docformat="google", show_source=False, template_directory=template)
    pdoc.pdoc(*MODULES, output_directory=folder)


if __name__ == "__main__":
    main()
