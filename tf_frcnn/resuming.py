"""What a command may do with the run that its folder holds: begin, go on, make longer, replace."""

import logging
from pathlib import Path

from tf_frcnn.config import Config, flatten, write_value
from tf_frcnn.errors import UserError
from tf_frcnn.files import make_writable_folder, move_aside
from tf_frcnn.model_files import check_versions_folder
from tf_frcnn.run_folder import RunFolder, with_classes, with_exif

logger = logging.getLogger(__name__)

_STEPS = "train.steps"


def prepare_run(
    folder: RunFolder, config: Config, overwrite: bool = False, resume: bool = False
) -> Config:
    """Make the folder ready for a run of this configuration, or for going on with one.

    A run that goes on may be longer than it was, and lie elsewhere; nothing else may differ.

    Args:
        folder: of the run.
        config: what is to be run; empty classes stand for those of the earlier run.
        overwrite: move what is there to NAME.bak-TIME and start anew.
        resume: insist on going on.

    Returns:
        The configuration, with the class names of the earlier run where there is one, and its
        choice about EXIF orientations: data that changed in between must not change what a class
        number means, nor in whose pixels boxes are.

    Raises:
        UserError: something else is in the folder, or a run of another configuration; there is
            nothing to go on with and `resume` is on; or the folder, or the one of the SavedModels,
            cannot be made.
    """
    if overwrite and folder.is_writer:
        move_aside(folder.path)
    if resume and folder.is_writer:
        _check_resumable(folder)
    if folder.has_started:
        old = folder.load_config()
        config = with_classes(config, config.data.classes or old.data.classes)
        if config.data.exif == "auto" != old.data.exif:
            config = with_exif(config, old.data.exif)
        _check_same(folder.path, old, config)
        if config.train.steps > old.train.steps:
            logger.info(
                "%s: is made longer, from %d to %d steps",
                *(folder.path, old.train.steps, config.train.steps),
            )
    elif not folder.is_writer:
        return config
    elif _holds_only_configuration(folder):  # it failed before its first step
        if folder.config_file.is_file():
            folder.load_config()  # a config.json of something else is refused
        for path in folder.path.iterdir():
            path.unlink()
    elif folder.path.is_dir() and any(folder.path.iterdir()):
        raise UserError(
            f"{folder.path}: holds other files and no config.json of a run. Give another "
            "--output, or --overwrite to move it to a .bak folder."
        )
    if folder.is_writer:
        if not folder.is_finished(config):  # a bad --export-dir is told now, not after training
            check_versions_folder(Path(config.export_dir), "--export-dir")
        make_writable_folder(folder.path, "--output")
    return config


def _check_resumable(folder: RunFolder) -> None:
    if not folder.has_started:
        raise UserError(
            f"--resume: {folder.path} holds no run that was started. Expected the --output of one; "
            "leave --resume out to start it."
        )
    finished = folder.is_finished(folder.load_config())
    if not finished and not any(folder.checkpoints.glob("step-*.h5")):
        raise UserError(
            f"--resume: {folder.checkpoints} holds no checkpoint, the run was stopped before its "
            "first. Leave --resume out to start again from its first step."
        )


def _holds_only_configuration(folder: RunFolder) -> bool:
    """Tell whether all that is there was written before the first step, whole or by half."""
    names = set(folder.path.iterdir()) if folder.path.is_dir() else set()
    files = (folder.config_file, folder.splits_file, folder.dataset_file)
    known = {*files, *(path.with_name(path.name + ".partial") for path in files)}
    return bool(names) and names <= known


def _check_same(path: Path, old_config: Config, config: Config) -> None:
    old, new = flatten(old_config), flatten(config)
    # A run that was moved, goes on on other devices or leaves steps out is still the same run.
    for name in ("output", "export-dir", "distribution.strategy", "train.on-nan"):
        old[name] = new[name]
    differing = [name for name in new if old[name] != new[name]]
    if differing == [_STEPS]:
        if new[_STEPS] > old[_STEPS]:
            return
        raise UserError(
            f"{path}: holds a run of --{_STEPS} {old[_STEPS]}, {new[_STEPS]} are fewer. A run can "
            "be made longer, but not shorter: give as many or more, another --output, or "
            "--overwrite to move it to a .bak folder and start anew."
        )
    if differing:
        lines = "".join(
            f"\n  --{name}: {write_value(old[name])} there, {write_value(new[name])} now"
            for name in differing
        )
        raise UserError(
            f"{path}: holds a run of another configuration:{lines}\n"
            "Give another --output, the same options to go on with it (more --train.steps make it "
            "longer), or --overwrite to move it to a .bak folder and start anew."
        )
