"""What the golden files hold: answers of both networks, with weights that their names decide.

`make.py` wrote the files with the code of the commit that they name; `tests/test_golden.py`
compares with them, and `benchmarks/compare_commits.py` runs this file with the code of two commits.
So what is imported here, and how it is called, may differ from commit to commit: `make_network` and
`make_trainer` know all ways.
"""

import dataclasses
import sys
import zlib

import numpy as np

NETWORKS = ("vgg16", "vgg16_quarter")
ROI_OPS = ("crop_and_resize", "roi_pool", "roi_align", "roi_align_aligned")
NUM_CLASSES = 3
PICTURE_SIZES = ((80, 112), (61, 90))  # of the two pictures of a batch, padded to the first
NUM_UPDATES = 3
NUM_SAMPLES = 1 << 16

# What He's standard deviation is multiplied by, in the layers that decide what is an object and
# where: so that scores are neither all alike nor all 0 or 1, and boxes stay near their anchors.
_GAINS = {
    "vgg16": {
        "rpn_objectness": 0.03,
        "rpn_deltas": 0.003,
        "box_classes": 0.01,
        "box_deltas": 0.01,
    },
    "vgg16_quarter": {
        "rpn_objectness": 0.03,
        "rpn_deltas": 0.003,
        "box_classes": 0.006,
        "box_deltas": 0.01,
    },
}


# So that updates are well above the rounding of the weights, and losses stay in reach.
_RATES = {"vgg16": 1e-4, "vgg16_quarter": 1e-2}


def make_network(name):
    """Build a network with the weights of `fill`."""
    from tf_frcnn.config import ModelConfig
    from tf_frcnn.model import FasterRCNN

    fields = {field.name for field in dataclasses.fields(ModelConfig)}
    naming = {"architecture": name}
    if "architecture" not in fields:  # before 0.2
        naming = {"backbone": name, "backbone_weights": "none"}
    config = ModelConfig(
        **naming,
        anchor_sizes=(16.0, 32.0, 64.0),
        rpn_pre_nms_top_k=200,
        rpn_post_nms_top_k=30,
        rpn_min_size=4.0,
        score_threshold=0.2,
        nms_iou=0.5,
        max_detections=12,
    )
    network = FasterRCNN(config, NUM_CLASSES)
    fill(network, name)
    return network


def make_trainer(network, name):
    """Build what takes training steps, as far as possible the same at every commit."""
    from tf_frcnn.config import TrainConfig
    from tf_frcnn.training.trainer import FasterRCNNTrainer

    config = TrainConfig(
        learning_rate=_RATES[name],
        clip_norm=10.0,
        rpn_batch_size=64,
        ignore_border_anchors=False,
        rpn_pre_nms_top_k=200,
        rpn_post_nms_top_k=40,
        roi_batch_size=16,
        frozen_layers=("block1",),
    )
    return FasterRCNNTrainer(network, config)


def fill(network, name):
    """Give every variable values that depend on its name and shape alone."""
    from tf_frcnn.checkpoints import named_weights

    for variable_name, variable in named_weights(network).items():
        variable.assign(_values(variable_name, tuple(variable.shape), _GAINS[name]))


def _values(name, shape, gains):
    layer, kind = name.split("/")
    random = np.random.RandomState(zlib.crc32(name.encode()))  # its numbers never change
    if kind in ("gamma", "moving_variance"):
        return random.uniform(0.5, 1.5, shape).astype(np.float32)
    normal = random.standard_normal(shape).astype(np.float32)
    if kind == "kernel":
        deviation = np.sqrt(2.0 / np.prod(shape[:-1]))
        if layer in gains:  # what all cells and RoIs have in common would decide alone
            normal -= normal.mean(axis=-2, keepdims=True)
        return normal * np.float32(deviation * gains.get(layer, 1.0))
    return normal * np.float32(0.1)  # bias, beta, moving_mean


def make_batch():
    """Make two pictures of smooth noise with boxes, as the trainer takes them."""
    random = np.random.RandomState(7)
    (height, width), (height_2, width_2) = PICTURE_SIZES
    coarse = random.uniform(0, 255, (2, height // 8, width // 8, 3))
    images = np.kron(coarse, np.ones((1, 8, 8, 1))) + random.uniform(-20, 20, (2, height, width, 3))
    images = np.clip(np.round(images), 0, 255).astype(np.float32)
    images[1, height_2:], images[1, :, width_2:] = 0, 0
    boxes = [
        [[10, 8, 41, 60], [30, 50, 75, 101], [0, 0, 0, 0]],
        [[5, 20, 50, 45], [0, 0, 0, 0], [0, 0, 0, 0]],
    ]
    return {
        "images": images,
        "image_sizes": np.array(PICTURE_SIZES, np.float32),
        "gt_boxes": np.array(boxes, np.float32),
        "gt_classes": np.array([[1, 3, 0], [2, 0, 0]], np.int32),
        "seeds": np.array([[0, 11], [0, 12]], np.int32),
    }


def probe_detections(name):
    """Detect in both pictures with each RoI operator -> (operator, output) -> array."""
    import tensorflow as tf

    batch = make_batch()
    inputs = (tf.constant(batch["images"]), tf.constant(batch["image_sizes"]))
    network = make_network(name)
    answers = {}
    for roi_op in ROI_OPS:
        network.roi_pooling.op = roi_op  # one network: VGG16's weights take seconds to draw
        # Operation by operation: a graph's optimiser may add up terms in another order each time.
        found = network(inputs)
        answers |= {(roi_op, key): np.asarray(value) for key, value in found.items()}
    return answers


def probe_training(name):
    """Compute the losses of a batch, and those of three updates with what they do to the weights.

    Returns:
        `losses` [1 + updates, 4], in the order of `loss_names`; `changes` [variables, 3] float64 in
        the order of `weight_names`: of the change of each trained variable, at `NUM_SAMPLES` places
        at most, its length, its sum and its product with numbers that are always the same;
        `rounding` [variables, 1], by how much they may differ when all is rounded otherwise.
    """
    import tensorflow as tf

    from tf_frcnn.checkpoints import named_weights

    network = make_network(name)
    trainer = make_trainer(network, name)
    batch = {key: tf.constant(value) for key, value in make_batch().items()}
    trained = {id(variable) for variable in network.trainable_variables}
    variables = {
        key: variable for key, variable in named_weights(network).items() if id(variable) in trained
    }
    before = {key: np.asarray(variable).copy() for key, variable in variables.items()}
    moving = {
        key: np.asarray(variable).copy()
        for key, variable in named_weights(network).items()
        if key not in variables
    }
    first = trainer.compute_losses(batch, training=True)
    for key, variable in named_weights(network).items():
        if key in moving:  # the pass has moved the statistics of normalisation
            variable.assign(moving[key])
    loss_names = list(first)
    losses = [[float(first[key]) for key in loss_names]]
    step = tf.function(trainer.train_step)
    for _ in range(NUM_UPDATES):
        answer = step(batch)
        losses.append([float(answer[key]) for key in loss_names])
    changes = [_describe(_sample(v) - _sample(before[k])) for k, v in variables.items()]
    return {
        "loss_names": np.array(loss_names),
        "losses": np.array(losses),
        "weight_names": np.array(list(variables)),
        "changes": np.array(changes),
        "rounding": np.array([[_rounding(before[key])] for key in variables]),
    }


def _sample(variable):
    flat = np.asarray(variable).reshape(-1)
    return flat[:: -(-len(flat) // NUM_SAMPLES)].astype(np.float64)


def _rounding(variable):
    """Bound what rounding a variable at each update adds up to: as chance has it, times four."""
    return 4 * NUM_UPDATES * 2.0**-24 * np.linalg.norm(_sample(variable)) + 1e-12


def _describe(change):
    return [np.linalg.norm(change), change.sum(), change @ np.cos(np.arange(len(change)))]


def collect():
    """Collect what all probes answer: NETWORK/ROI_OP/OUTPUT and NETWORK/training/NAME -> array."""
    answers = {}
    for name in NETWORKS:
        for (roi_op, key), value in probe_detections(name).items():
            answers[f"{name}/{roi_op}/{key}"] = value
        for key, value in probe_training(name).items():
            answers[f"{name}/training/{key}"] = value
    return answers


if __name__ == "__main__":
    import tf_frcnn  # noqa: F401  before TensorFlow, which then takes its fast kernels

    np.savez_compressed(sys.argv[1], **collect())
