"""The tests in the two environments that the package is made for: `nox`.

`nox --session tests` is what the README has; `tests-2.15` has TensorFlow 2.15, Keras 2.15 and
TensorFlow Addons; `release` is what takes longer than `.ci/run` has. What follows `--` goes to
pytest, in `parity` to the script.
"""

import os
from pathlib import Path

import nox

OTHER_PYTHON = "TF_FRCNN_OTHER_PYTHON"  # for tests/test_both_ends.py
# Two tests at a time, for machines of two cores; what takes longest is listed at the end.
TWO_AT_A_TIME = ("--numprocesses", "2", "--durations", "15")
# What calls TensorFlow and Keras in most ways: what a version of them can break.
OF_TENSORFLOW = (
    *("layers", "ops", "training", "export", "data/test_pipeline.py", "test_model.py"),
    *("test_golden.py", "test_checkpoints.py", "test_inference.py", "test_slides.py"),
    *("test_train_cli.py", "test_evaluate_cli.py", "test_environment.py", "test_addons.py"),
    "test_both_ends.py",
)

nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, then the slow ones, with the current TensorFlow and Keras 3."""
    session.install("--editable", ".[test]", "pytest-xdist")
    session.run("python", "-m", "pytest", *(session.posargs or TWO_AT_A_TIME))
    if not session.posargs:
        # OpenVINO reads the frozen export. Datumaro is no part of [test]: its numpy and Pillow are
        # not those of TensorFlow 2.15, and not the newest ones.
        session.install("--editable", ".[test,interop,convert]")
        session.run("python", "-m", "pytest", "-m", "slow", *TWO_AT_A_TIME)
        session.run("python", "-m", "pytest", "tests/conversion")


@nox.session(name="tests-2.15")
def tests_2_15(session: nox.Session) -> None:
    """Run what is most of TensorFlow with TensorFlow 2.15, Keras 2.15 and Addons."""
    version = "import sys; print(sys.version_info[:2] in ((3, 10), (3, 11)))"
    if "True" not in str(session.run("python", "-c", version, silent=True)):
        session.skip("TensorFlow 2.15 and Addons need Python 3.10 or 3.11: --force-python 3.11")
    session.install("--editable", ".[addons,test]", "pytest-xdist")
    current = Path(session.virtualenv.location).parent / "tests" / "bin" / "python"
    if current.exists():  # else the tests that need both ends are skipped, and say so
        session.env.setdefault(OTHER_PYTHON, os.environ.get(OTHER_PYTHON, str(current)))
    of_tensorflow = [f"tests/{name}" for name in OF_TENSORFLOW]
    session.run("python", "-m", "pytest", *(session.posargs or (*TWO_AT_A_TIME, *of_tensorflow)))


@nox.session(default=False)
def release(session: nox.Session) -> None:
    """Run the tests marked `release`, all of them with TensorFlow 2.15, then `parity`."""
    session.install("--editable", ".[test,interop]", "pytest-xdist")
    session.run("python", "-m", "pytest", "-m", "release", *TWO_AT_A_TIME)
    session.notify("tests-2.15", TWO_AT_A_TIME)
    session.notify("parity")


@nox.session(default=False)
def parity(session: nox.Session) -> None:
    """Compare every stage with torchvision's detectors; torch brings 5 GB. Before a release."""
    session.install("--editable", ".[test]")
    session.install("torch", "torchvision")
    python = str(Path(session.virtualenv.location) / "bin" / "python")
    script = ("benchmarks/torchvision_parity.py", "--torch-python", python)
    session.run("python", *script, *session.posargs)
