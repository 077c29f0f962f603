"""What a command may do with the run that its folder holds: begin, go on, make longer, replace."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tf_frcnn.config import Config, DataConfig, flatten, write_value
from tf_frcnn.data.faults import counted
from tf_frcnn.errors import UserError
from tf_frcnn.files import check_apart, make_writable_folder, move_aside
from tf_frcnn.model_files import check_versions_folder
from tf_frcnn.run_folder import RunFolder, with_classes, with_exif

logger = logging.getLogger(__name__)

_STEPS = "train.steps"


def prepare_run(
    folder: RunFolder, config: Config, overwrite: bool = False, resume: bool = False
) -> Config:
    """Make the folder ready for a run of this configuration, or for going on with one.

    A run that goes on may be longer than it was, and lie elsewhere, and so may its data, which
    `check_moved_data` has to see then; nothing else may differ.

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
        check_apart(folder.path, [Path(config.train.start_from).expanduser(), config.data.root])
        move_aside(folder.path)
    if resume and folder.is_writer:
        _check_resumable(folder)
    if folder.has_started:
        old = folder.load_config()
        config = with_classes(config, config.data.classes or old.data.classes)
        if config.data.exif == "auto" != old.data.exif:
            config = with_exif(config, old.data.exif)
        _check_same(folder, old, config)
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
        for path in folder.list_contents():
            path.unlink()
    elif folder.list_contents():
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
    names = folder.list_contents()
    files = (folder.config_file, folder.splits_file, folder.dataset_file)
    known = {*files, *(path.with_name(path.name + ".partial") for path in files)}
    return bool(names) and names <= known


def has_moved_data(folder: RunFolder, config: Config) -> bool:
    """Tell whether a run goes on with data that lie elsewhere than they did.

    Args:
        folder: of the run, which may not have been started.
        config: as it is to go on.
    """
    return folder.has_started and not is_same_place(folder.load_config().data, config.data)


def check_moved_data(folder: RunFolder, config: Config, record: Mapping[str, Any]) -> None:
    """Check that data which lie elsewhere are those that the run was started with.

    Args:
        folder: of a run of which `has_moved_data` says so.
        config: as it is to go on.
        record: the fingerprint of the data there.

    Raises:
        UserError: they have other images, boxes or splits.
    """
    before, now = folder.load_dataset_record().get("splits", {}), record["splits"]
    there = f"--data.root {folder.load_config().data.root} there, {config.data.root} now"
    if before == now:
        logger.info("%s: the same images and boxes lie elsewhere: %s", folder.path, there)
        return
    differing = [
        (role, before.get(role), now.get(role))
        for role in dict.fromkeys((*before, *now))
        if before.get(role) != now.get(role)
    ]
    lines = "".join(
        f"\n  {role}: {_describe_split(old)} there, {_describe_split(new)} now"
        for role, old, new in differing
    )
    raise UserError(
        f"{folder.path}: holds a run on other data: {there}. What differs:{lines}\n"
        "Expected the same images and boxes. Give their folder, another --output, or --overwrite "
        "to move the run to a .bak folder and start anew."
    )


def _describe_split(split: Mapping[str, Any] | None) -> str:
    if split is None:
        return "none"
    count = counted(split["num_pictures"], "image")
    boxes = counted(split["num_boxes"], "box", "boxes")
    return f"{count}, {boxes} (split {split['split']}, SHA-256 {split['sha256'][:8]})"


def is_same_place(old: DataConfig, new: DataConfig) -> bool:
    """Tell whether root and images are the same folders, however they are typed."""
    if "tfds" in (old.format, new.format):  # a name
        return (old.root, old.images) == (new.root, new.images)
    pairs = ((old.root, new.root), (old.images, new.images))
    return all(a == b or (a and b and _resolve(a) == _resolve(b)) for a, b in pairs)


def _resolve(path: str) -> str:
    try:
        return str(Path(path).expanduser().resolve())
    except RuntimeError:  # ~name of a user who is not there
        return path


def _check_same(folder: RunFolder, old_config: Config, config: Config) -> None:
    path, old, new = folder.path, flatten(old_config), flatten(config)
    is_typed_otherwise = is_same_place(old_config.data, config.data)
    if is_typed_otherwise or folder.dataset_file.is_file():  # whose fingerprint decides later
        old["data.root"], old["data.images"] = new["data.root"], new["data.images"]
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
