"""One training at a time in a run's folder, by a lock of the system's that ends with its process.

So nothing is left to be cleared away by a run that was killed. The file itself stays: to remove it
could let two processes hold two files of one name.
"""

import errno
import logging
import os
from types import TracebackType

from filelock import FileLock, Timeout

from tf_frcnn.errors import UserError
from tf_frcnn.given_files import reason_of
from tf_frcnn.run_folder import RunFolder

logger = logging.getLogger(__name__)

_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)  # which is told where it is written to


class RunLock:
    """Keeps other trainings out of a run's folder until the block ends, or the process.

    Args of `__init__`: `folder` of the run; nothing is locked where another process writes.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._lock: FileLock | None = None
        self._locked: os.stat_result | None = None

    def __enter__(self) -> "RunLock":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def take_what_is_there(self) -> None:
        """Lock the folder if it holds a run, or one that is about to begin; leave others alone.

        Raises:
            UserError: another process has it.
        """
        if self._folder.config_file.exists() or self._folder.lock_file.exists():
            self.take()

    def take(self) -> None:
        """Lock the folder, if it is there; once more where another one has taken its place.

        Raises:
            UserError: another process has it.
        """
        folder = self._folder
        if not folder.is_writer or not folder.path.is_dir() or self._is_held():
            return
        self.release()
        lock = _make_lock(str(folder.lock_file))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"{folder.path}: another training is writing to this folder. Give another "
                "--output, or wait until that one has ended: then the same command goes on."
            ) from None
        except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
            if getattr(error, "errno", None) not in _NOT_WRITABLE:
                logger.warning(
                    "%s: cannot be locked (%s). See to it that no other training has this --output",
                    *(folder.path, reason_of(error)),
                )
            return
        self._lock, self._locked = lock, os.stat(folder.lock_file)

    def _is_held(self) -> bool:
        if self._locked is None:
            return False
        try:
            return os.path.samestat(self._locked, os.stat(self._folder.lock_file))
        except FileNotFoundError:  # it was moved away with its folder
            return False

    def release(self) -> None:
        """Let others have the folder."""
        if self._lock is not None:
            self._lock.release()
        self._lock = self._locked = None


def _make_lock(path: str) -> FileLock:
    """Make a lock of the system's only: any other would outlive a process that is killed."""
    try:
        return FileLock(path, fallback_to_soft=False)
    except TypeError:  # filelock before 3.21 has no other
        return FileLock(path)
