"""`tf-frcnn replay`: the same diagnosis from the file alone, and what is refused."""

import subprocess
import sys

import pytest

from tests.step_checkpoints import save_checkpoint
from tests.training.non_finite.steps import make_record
from tf_frcnn import cli
from tf_frcnn.checkpoints import named_weights
from tf_frcnn.training.non_finite.diagnosis import diagnose
from tf_frcnn.training.non_finite.message import describe_diagnosis
from tf_frcnn.training.non_finite.record import save_step


def test_a_step_is_not_finite_again(trainer, step_config, tmp_path, capsys):
    kernel = trainer.network.box_head.fc1.kernel
    kernel.assign(kernel * 1e38)  # no network starts so: it must be in the file
    record = make_record(step_config)
    save_step(tmp_path / "moved.h5", record, named_weights(trainer.network))
    expected = describe_diagnosis(diagnose(trainer, record))
    assert cli.main(["replay", str(tmp_path / "moved.h5")]) == 3
    first, _, rest = capsys.readouterr().out.partition("\n")
    assert first.startswith("step 50 is not finite (") and "roi_class = nan" in first
    assert rest == expected + "\n"
    assert "the numbers grow from layer to layer" in rest and "fc1" in rest


def test_a_step_that_is_finite_is_status_0(trainer, step_config, tmp_path, capsys):
    save_step(tmp_path / "fine.h5", make_record(step_config), named_weights(trainer.network))
    assert cli.main(["replay", str(tmp_path / "fine.h5")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("step 50 is finite (rpn_objectness = 0.")
    assert "Likely cause: none that a second run shows" in out


def test_a_checkpoint_is_no_step(trainer, tmp_path, capsys):
    path = save_checkpoint(tmp_path, 2, trainer.network, trainer.optimizer)
    assert cli.main(["replay", str(path)]) == 2
    err = capsys.readouterr().err
    assert f"error: {path}: is an HDF5 file of another kind, such as a checkpoint" in err


def test_a_wrong_file_is_told_without_waiting_for_tensorflow(tmp_path):
    program = (
        "import sys; from tf_frcnn import cli; status = cli.main(['replay', 'missing.h5']); "
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules; sys.exit(status)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: missing.h5: there is no such file.")


def test_help_says_what_the_status_means(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["replay", "--help"])
    assert caught.value.code == 0
    assert "Exit status 3" in " ".join(capsys.readouterr().out.split())
