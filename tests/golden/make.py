"""Write the golden files: what the code of one commit answers, for later commits to be held to.

    python -m tests.golden.make

It writes beside itself:

    answers.npz   what `probes.collect` collects: detections of both networks with each RoI
                  operator, losses and what three updates do to the weights
    run.tar.xz    data/, run/ and exported/1/: a data set, a run on it with its checkpoints, and its
                  SavedModel, as `train.py` with the options below leaves them
    run.json      the commit and versions of the code that did it; what the run's model finds in a
                  picture; and the losses of the two steps by which the run was made longer

The files were written by the code that `run.json` names, and are not to be written again: what is
read there is what users of that code have. Weights that are not trained have three values only, so
that the archive is small.
"""

import io
import json
import os
import subprocess
import tarfile
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np

from tests.golden import probes

HERE = Path(__file__).parent
FROZEN = ("block3", "block4", "block5", "rpn_conv", "fc1", "fc2")
OPTIONS = (
    "finetune",
    *("--data.root", "data", "--output", "run", "--export-dir", "exported"),
    *("--data.short-side", "64", "--data.long-side", "96"),
    *("--model.backbone", "vgg16_quarter", "--model.backbone-weights", "none"),
    *("--model.anchor-sizes", "16", "32", "--model.max-detections", "10"),
    *("--model.rpn-pre-nms-top-k", "100", "--model.rpn-post-nms-top-k", "20"),
    *("--train.steps", "4", "--train.batch-size", "2"),
    *("--train.warmup-steps", "2", "--train.decay-steps", "3"),
    *("--train.rpn-pre-nms-top-k", "100", "--train.rpn-post-nms-top-k", "20"),
    *("--train.rpn-batch-size", "32", "--train.roi-batch-size", "8"),
    *("--train.validate-every", "2", "--train.checkpoint-every", "2", "--train.log-every", "2"),
    *("--train.keep-checkpoints", "1", "--train.frozen-layers", *FROZEN),
)
LONGER = 6  # steps
PICTURE = "data/JPEGImages/test_0.jpg"


def make_run(folder):
    """Train in a folder, archive what that leaves, and make the run longer."""
    import train
    from tests.conftest import write_voc_folder
    from tf_frcnn import Detector
    from tf_frcnn.data.image import read_image
    from tf_frcnn.training import run as training_run

    os.chdir(folder)
    write_voc_folder(Path("data"))
    training_run.load_backbone_weights = simplify_frozen
    assert train.main(OPTIONS) == 0
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz", preset=9) as archive:
        for name in ("data", "run", "exported"):
            archive.add(name)
    (HERE / "run.tar.xz").write_bytes(buffer.getvalue())
    found = Detector.load("run")(read_image(Path(PICTURE)))
    assert train.main([*OPTIONS, "--train.steps", str(LONGER)]) == 0
    log = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    return {
        "picture": PICTURE,
        "boxes": found.boxes.tolist(),
        "scores": found.scores.tolist(),
        "class_names": list(found.class_names),
        "longer": [line for line in log if line["step"] > 4],
    }


def simplify_frozen(detector, source):
    """Give kernels that stay as they are three values, so that they can be compressed."""
    from tf_frcnn.checkpoints import named_weights

    for name, variable in named_weights(detector).items():
        layer, kind = name.split("/")
        if kind == "kernel" and layer.startswith(FROZEN):
            value = np.asarray(variable)
            variable.assign(1.2 * value.std() * np.round(np.clip(value / value.std(), -1, 1)))
    return f"no weights ({source}); simplified"


def main():
    """Write all files."""
    np.savez_compressed(HERE / "answers.npz", **probes.collect())
    with tempfile.TemporaryDirectory() as folder:
        record = make_run(Path(folder))
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    versions = {name: metadata.version(name) for name in ("tensorflow", "keras", "numpy")}
    record = {"commit": commit, "versions": versions, **record}
    (HERE / "run.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
