"""The FC layers as products of smaller ones: Fast R-CNN, section 3.1.

A layer's kernel K [in, out] is replaced by its truncated singular value decomposition of rank R:
K ~ U S V^T, as a projection U S [in, R] without bias or activation and a layer V^T [R, out] that
keeps both. in * out multiplications become R * (in + out).
"""

import dataclasses

import numpy as np

from tf_frcnn.checkpoints import named_weights
from tf_frcnn.errors import UserError
from tf_frcnn.inference import InferenceModel
from tf_frcnn.model import FasterRCNN


def reduce_head(model: InferenceModel, rank: int) -> InferenceModel:
    """Make a model whose FC layers have a lower rank, and which is the same in all else.

    Args:
        model: with whole FC layers; unchanged.
        rank: R, from 1 to below the layers' units.

    Raises:
        UserError: the rank is outside of that, or the layers were replaced before.
    """
    network = model.network
    units = network.box_head.units
    if network.config.head_rank:
        raise UserError(
            f"--head-rank {rank}: the FC layers of this model have the rank "
            f"{network.config.head_rank} already. Leave the option out, or give the run that the "
            "model was exported from."
        )
    if not 1 <= rank < units:
        raise UserError(
            f"--head-rank {rank}: expected a number from 1 to {units - 1}; the FC layers have "
            f"{units} units."
        )
    config = dataclasses.replace(network.config, head_rank=rank)
    reduced = FasterRCNN(config, network.num_classes)
    weights = named_weights(network)
    targets = named_weights(reduced)
    for name in network.box_head.fc_names:
        projection, kernel = truncated_svd(np.asarray(weights.pop(f"{name}/kernel")), rank)
        targets[f"{name}_projection/kernel"].assign(projection)
        targets[f"{name}/kernel"].assign(kernel)
    for name, variable in weights.items():
        targets[name].assign(variable)
    sizes = (model.short_side, model.long_side, model.rounding)
    return InferenceModel(reduced, model.class_names, *sizes, model.antialias)


def truncated_svd(kernel: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Factor a matrix into the product of rank R that is nearest to it in squared error.

    Args:
        kernel: [in, out] float32.
        rank: R, at most the smaller side.

    Returns:
        U S [in, R] and V^T [R, out], float32.
    """
    # The right singular vectors are the eigenvectors of K^T K, and U S = K V. For VGG16's
    # 25088 x 4096 this takes a fraction of the time and memory of a whole decomposition; in
    # float64 the squares cost none of the precision that the kernel has.
    _, vectors = np.linalg.eigh(_gram(kernel))
    right = vectors[:, ::-1][:, :rank]  # eigh's values rise
    return (kernel @ right.astype(np.float32)), np.ascontiguousarray(right.T, dtype=np.float32)


def _gram(kernel: np.ndarray) -> np.ndarray:
    """Compute K^T K in float64, a block of rows at a time: a copy of K in float64 is large."""
    gram = np.zeros((kernel.shape[1], kernel.shape[1]))
    for start in range(0, len(kernel), 4096):
        rows = kernel[start : start + 4096].astype(np.float64)
        gram += rows.T @ rows
    return gram
