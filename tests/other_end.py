"""What the Python of the other environment does in `tests/test_both_ends.py`.

`python -m tests.other_end FOLDER MODEL...` trains a run of its own in FOLDER. There it writes what
the network of each MODEL answers (NUMBER.npz) and that of its run (run.npz), the state of its run's
optimiser (momenta.npz), and its version of Keras (keras.txt).
"""

import sys
from importlib import metadata
from pathlib import Path

import numpy as np

from tests.conftest import TINY_OPTIONS, write_voc_folder
from tf_frcnn.environment import load_tensorflow

ROIS = [[0, 0, 63, 95], [8, 4, 40, 20], [10, 50, 22, 90]]  # of 64 x 96 pixels


def network_outputs(network):
    """Run the stages of a network on one image that is always the same.

    What comes after these, proposals and detections, is a choice among nearly equal scores, in
    which the last bit counts.

    Args:
        network: of an `InferenceModel`.

    Returns:
        Name -> array of the features, of both outputs of the RPN, and of the head for `ROIS`.
    """
    from tf_frcnn.model import as_maps

    images = np.random.default_rng(0).uniform(0, 255, (1, 64, 96, 3)).astype(np.float32)
    sizes = np.array([[64, 96]], np.float32)
    pixels = network.preprocessing((images, sizes))
    maps = as_maps(network.backbone(pixels, training=False))
    (objectness,), (anchor_deltas,) = network.rpn_head(maps)
    rois = np.array([ROIS], np.float32)
    class_logits, box_deltas = network.box_head(network.roi_pooling((maps, rois)))
    outputs = {
        "features": maps[0],
        "objectness": objectness,
        "anchor_deltas": anchor_deltas,
        "class_logits": class_logits,
        "box_deltas": box_deltas,
    }
    return {name: np.asarray(value) for name, value in outputs.items()}


def outputs_of_model(path):
    """Load a model, whatever it is, and give its `network_outputs`."""
    from tf_frcnn.inference import load_network
    from tf_frcnn.model_files import find_model

    return network_outputs(load_network(find_model(path)).network)


def momenta_of_run(path):
    """Resume a run, short of a step, and give the optimiser's momentum for every weight by name."""
    from tf_frcnn.checkpoint_folder import restore_latest
    from tf_frcnn.checkpoints import named_weights
    from tf_frcnn.config import load_config
    from tf_frcnn.model import FasterRCNN
    from tf_frcnn.training.trainer import FasterRCNNTrainer

    config = load_config(path / "config.json")
    trainer = FasterRCNNTrainer(FasterRCNN(config.model, 3), config.train)
    restore_latest(path / "checkpoints", trainer.network, trainer.optimizer)
    names = {id(variable): name for name, variable in named_weights(trainer.network).items()}
    pairs = zip(trainer.network.trainable_variables, trainer.optimizer.momentums, strict=True)
    return {names[id(variable)]: np.asarray(momentum) for variable, momentum in pairs}


def main():
    import train

    folder, *models = (Path(word) for word in sys.argv[1:])
    load_tensorflow()
    (folder / "keras.txt").write_text(metadata.version("keras"))
    for number, model in enumerate(models):
        np.savez(folder / f"{number}.npz", **outputs_of_model(model))
    data = write_voc_folder(folder / "voc")
    options = [*TINY_OPTIONS, "--data.root", str(data), "--output", str(folder / "run")]
    status = train.main([*options, "--export-dir", str(folder / "exported")])
    np.savez(folder / "run.npz", **outputs_of_model(folder / "run"))
    np.savez(folder / "momenta.npz", **momenta_of_run(folder / "run"))
    return status


if __name__ == "__main__":
    sys.exit(main())
