"""What libraries write to the terminal while a file is converted and run."""

import os
import subprocess
import sys

import pytest

from tf_frcnn.tflite.silence import without_library_messages


@pytest.mark.parametrize("level", ["0", None])
def test_messages_are_kept_back_unless_they_are_asked_for(capfd, monkeypatch, level):
    if level is None:
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    else:
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    with pytest.raises(KeyError), without_library_messages():
        os.write(2, b"from a library\n")  # past Python, as C++ does
        raise KeyError
    subprocess.run([sys.executable, "-c", "import os; os.write(2, b'afterwards')"], check=True)
    expected = "afterwards" if level is None else "from a library\nafterwards"
    assert capfd.readouterr().err == expected
