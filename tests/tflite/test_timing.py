"""The first stages of a file, which are run to find how long each stage takes."""

import numpy as np
import pytest

from tf_frcnn.data.transforms import resize_images
from tf_frcnn.model import STAGES
from tf_frcnn.tflite.interpreter import FileRunner
from tf_frcnn.tflite.timing import cut_after


def test_the_first_stages_are_a_model_of_their_own(float_content, inference_model, image):
    cut = cut_after(float_content, "backbone")
    assert len(cut) < len(float_content) / 3  # the head's weights are gone
    runner = FileRunner(cut)
    runner.set_input(image)
    runner.run_once()
    (features,) = runner.outputs()
    images = np.float32(image[None])
    resized = resize_images(images, (64, 90))
    network = inference_model.network
    expected = network.backbone(network.preprocessing((resized, np.float32([[64, 90]]))))
    np.testing.assert_allclose(features, expected, atol=1e-3 * np.abs(expected).max())


@pytest.fixture(scope="module", params=["none", "float16", "dynamic"])
def content(request, converter):
    return converter.convert(request.param)


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_can_be_cut_after(content, image, stage):
    # In float16 every weight has an operator that turns it into float32; XNNPACK fails on those of
    # weights that nothing uses any more.
    runner = FileRunner(cut_after(content, stage))
    runner.set_input(image)
    runner.run_once()
    assert all(np.isfinite(output).all() for output in runner.outputs())
