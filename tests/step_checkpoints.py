"""Writes checkpoints as training does, without a training."""

from tf_frcnn.checkpoints import STEP_FILE, Progress, take_snapshot, write_snapshot


def save_checkpoint(folder, step, network, optimizer, memory=None):
    """Write the checkpoint of a step, with what callbacks remember -> the file."""
    snapshot = take_snapshot(Progress(step, memory or {}), network, optimizer)
    return write_snapshot(folder / STEP_FILE.format(step), snapshot)
