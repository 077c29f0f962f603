"""One untrained network and its two exports, for all tests of this folder."""

import keras
import numpy as np
import pytest

from tests.conftest import VOC_CLASS_COLOURS
from tf_frcnn.checkpoints import named_weights
from tf_frcnn.export.saved_model import export_saved_model
from tf_frcnn.inference import InferenceModel
from tf_frcnn.model import FasterRCNN
from tf_frcnn.ops import convolution


@pytest.fixture(scope="session")
def inference_model(tiny_config):
    """Build an untrained model whose answers tell images apart, as trained ones' do."""
    keras.utils.set_random_seed(0)
    network = FasterRCNN(tiny_config.model, 3)
    random = np.random.default_rng(0)
    for name, variable in named_weights(network).items():
        if name.endswith(("bias", "beta", "moving_mean")):  # adding zeros would be left out
            variable.assign_add(random.uniform(0.01, 0.1, variable.shape))
    # As they are drawn, features of a fresh backbone drive most scores to exactly 1.0, and rounding
    # errors grow with the logits.
    for name, scale in (("rpn_objectness", 1e-4), ("box_classes", 1e-3)):
        kernel = named_weights(network)[f"{name}/kernel"]
        kernel.assign(random.normal(0.0, scale, kernel.shape))
    return InferenceModel(network, tuple(sorted(VOC_CLASS_COLOURS)), 64, 96)


@pytest.fixture(scope="session")
def exported(inference_model, tiny_config, tmp_path_factory):
    """Export it, into a folder with foreign names in it -> the version's folder."""
    export_dir = tmp_path_factory.mktemp("exported")
    for name in ("notes", "7b", ".partial-3-left"):
        (export_dir / name).mkdir()
    (export_dir / "readme.txt").write_text("mine")
    return export_saved_model(
        inference_model, tiny_config, export_dir, {"dataset.json": {"root": "voc"}}
    )


@pytest.fixture(scope="session")
def exported_frozen(inference_model, tiny_config, tmp_path_factory):
    """Export it with its variables as constants -> the version's folder.

    As on a processor with AVX-512, whatever this one has: the tests look at TensorFlow's operators.
    """
    folder = tmp_path_factory.mktemp("exported_frozen")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(convolution, "_products_are_faster", lambda: False)
        return export_saved_model(inference_model, tiny_config, folder, frozen=True)


@pytest.fixture(scope="session")
def batches():
    """Give images of five sizes, each as a batch of one and of three: name -> array."""
    random = np.random.default_rng(3)
    sizes = ((50, 70), (121, 64), (64, 96), (33, 200), (9, 7))
    return {
        f"batch_{batch}_{height}x{width}": random.integers(
            0, 256, (batch, height, width, 3), dtype=np.uint8
        )
        for height, width in sizes
        for batch in (1, 3)
    }


@pytest.fixture(scope="session")
def expected(inference_model, batches):
    """Give what the Keras model answers: name of the batch -> key -> array."""
    answers = {}
    for name, images in batches.items():
        answers[name] = {
            key: value.numpy() for key, value in inference_model.detect(images).items()
        }
        assert np.all(answers[name]["num_detections"] > 0), "comparisons need detections"
    return answers
