"""Fetches published weights into the user's cache, once for all processes and for all time.

    CACHE/weights/NAME               the file, whole: it gets its name when its hash is known right
    CACHE/weights/NAME.sha256        its SHA-256 in full, as `sha256sum -c` reads it
    CACHE/weights/NAME.partial       what has come of it so far, and
    CACHE/weights/NAME.version       the server's word for the version that this is a part of
    CACHE/weights/NAME.lock          locked by the process that is at it

CACHE is `cache_folder()`. A file that somebody put there by hand is as good as one that came from
the network. The hash of the whole file is computed at each use: a fraction of a second, and a file
that was cut, damaged or replaced is never loaded.

Why a piece of our own: pooch, the usual library for this, starts an interrupted download of 160 MB
from its beginning, lets two processes fetch at once, and compares all digits of a hash, of which
eight are published. What is left is small over `urllib.request` (proxies by environment variables)
and `filelock` (the system's locks, which end with their process).

The VGG16 of keras_applications.py does not come this way: it lies in the Keras cache, which users
share with other programs (KERAS_HOME), and is published with an MD5 of its own.
"""

import hashlib
import http.client
import logging
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tf_frcnn.cache_folder import HOME_VARIABLE, cache_folder
from tf_frcnn.errors import WeightsError
from tf_frcnn.files import whole_file
from tf_frcnn.given_files import open_file
from tf_frcnn.pretrained.catalogue import PublishedWeights
from tf_frcnn.progress import show_bytes

logger = logging.getLogger(__name__)

OFFLINE_VARIABLE = "TF_FRCNN_OFFLINE"
STALL_SECONDS = 60.0  # without an answer, or between two pieces of one

_CHUNK = 1 << 18
_ATTEMPTS = 4  # of which each but the first goes on after one that brought something
_NO_WORDS = ("", "0", "false", "no", "off")


class _Failure(Exception):
    """Why there are no weights: what follows "the weights NAME" in the message."""


class _Cut(Exception):
    """The network failed; `received` bytes came before."""

    def __init__(self, reason: object, received: int = 0) -> None:
        super().__init__(str(getattr(reason, "reason", reason)) or type(reason).__name__)
        self.received = received


def fetch(
    entry: PublishedWeights,
    offline: bool = False,
    *,
    option: str | None = None,
    timeout: float = STALL_SECONDS,
) -> Path:
    """Find a file of published weights in the cache, or download it there.

    Args:
        entry: of the catalogue.
        offline: don't use the network; so does the environment variable TF_FRCNN_OFFLINE.
        option: that takes the path of such a file instead, for messages; None where there is none.
        timeout: seconds that the server may let pass in silence.

    Returns:
        The file, whose SHA-256 is the published one as far as that is known.

    Raises:
        WeightsError: it is not there and cannot be downloaded or kept. What came of it stays, and
            the next call goes on from there.
    """
    folder = weights_folder()
    path = folder / entry.file_name
    try:
        problem = _find_problem(path, entry)
        if problem is None:
            return path
        if offline or _is_offline():
            said_by = "--offline" if offline else OFFLINE_VARIABLE
            raise _Failure(f"{problem}, and {said_by} is set")
        if path.exists():
            logger.warning("%s: the weights %s; they are downloaded anew", path, problem)
        with _kept_in(folder), _locked(path):
            if _find_problem(path, entry) is not None:  # no other process has brought it meanwhile
                _download(entry, path, timeout)
        return path
    except _Failure as failure:
        reason = str(failure)
    instead = f", or give its place by {option} PATH" if option else ""
    raise WeightsError(
        f"{entry.file_name}: the weights {entry.name} {reason}. Get the file "
        f"({entry.size_mib:.0f} MiB) from {entry.url} wherever there is a network, and put it into "
        f"{folder}{instead}."
    )


def is_cached(entry: PublishedWeights) -> bool:
    """Tell whether the file is in the cache; it is not read."""
    return (weights_folder() / entry.file_name).is_file()


def weights_folder() -> Path:
    """Name the folder of weights in the user's cache; it need not be there.

    Raises:
        WeightsError: the user has no home and so no cache.
    """
    try:
        return cache_folder() / "weights"
    except RuntimeError as error:
        raise WeightsError(
            f"there is no folder to keep weights in ({error}). Expected a home, or the name of a "
            f"folder in the environment variable {HOME_VARIABLE}."
        ) from None


def sha256_of(path: Path) -> str:
    """Compute a file's SHA-256, in 64 hexadecimal digits.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with open_file(path) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _is_offline() -> bool:
    return os.environ.get(OFFLINE_VARIABLE, "").strip().lower() not in _NO_WORDS


# === The file in the cache ===


def _find_problem(path: Path, entry: PublishedWeights) -> str | None:
    """Say why a file in the cache can't be used; None where it can."""
    try:
        found = sha256_of(path)
    except FileNotFoundError:
        return "are not in the cache"
    except OSError as error:
        return f"in the cache can't be read ({error.strerror})"
    expected = _expected_digits(path, entry)
    if not found.startswith(expected):
        return f"in the cache are damaged, or others: {_compare(found, expected)}"
    if _recorded_digits(path) != found:
        with suppress(OSError):  # a cache may be read-only
            _record_digits(path, found)
    return None


def _expected_digits(path: Path, entry: PublishedWeights) -> str:
    """Give the digits of the SHA-256 that are known: all, from the first time on."""
    recorded = _recorded_digits(path)
    return entry.sha256 or (
        recorded if recorded.startswith(entry.sha256_start) else entry.sha256_start
    )


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _recorded_digits(path: Path) -> str:
    """Read the SHA-256 that was written down; "" where there is none."""
    try:
        text = _beside(path, ".sha256").read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
    match = re.match("([0-9a-f]{64})  ", text)
    return match[1] if match else ""


def _record_digits(path: Path, digits: str) -> None:
    with whole_file(_beside(path, ".sha256")) as partial:
        partial.write_text(f"{digits}  {path.name}\n", encoding="ascii")


def _compare(found: str, expected: str) -> str:
    return f"their SHA-256 is {found[: len(expected)]}..., expected {expected}..."


@contextmanager
def _kept_in(folder: Path) -> Iterator[None]:
    """Make the folder; what the disk refuses in the block is told with it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        raise _Failure(
            f"cannot be kept in {folder} ({getattr(error, 'strerror', None) or error}). Make room "
            f"there, mend its permissions, or name another folder by {HOME_VARIABLE}"
        ) from None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time do the block; the others wait, for as long as that one lives."""
    lock = FileLock(_beside(path, ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("another process downloads %s: waiting for it", path.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


# === The download ===


def _download(entry: PublishedWeights, path: Path, timeout: float) -> None:
    """Download a file, check it, write its hash down and give it its name.

    Raises:
        _Failure: the network or the server fails, or what it sent is not the file.
        OSError: the disk does.
    """
    partial = _beside(path, ".partial")
    logger.info("downloading %s into %s", entry.url, path.parent)
    was_resumed = _size(partial) > 0
    _receive_all(entry, path, timeout)
    found, expected = sha256_of(partial), _expected_digits(path, entry)
    if was_resumed and not found.startswith(expected):  # it went on from what was damaged
        _start_anew(path)
        _receive_all(entry, path, timeout)
        found = sha256_of(partial)
    if not found.startswith(expected):
        with partial.open("rb") as file:
            start = file.read(16)
        _start_anew(path)
        raise _Failure(
            f"could not be downloaded: the server sent something else, which begins with {start!r}"
            f"; {_compare(found, expected)}"
        )
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    _record_digits(path, found)
    partial.replace(path)
    _start_anew(path)
    logger.info("%s is whole, its SHA-256 is %s", path, found)


def _receive_all(entry: PublishedWeights, path: Path, timeout: float) -> None:
    """Receive a file, in several goes where the connection is cut.

    Raises:
        _Failure: the network or the server fails.
        OSError: the disk does.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _receive(entry, path, timeout)
        except _Cut as cut:
            if attempt == _ATTEMPTS or not cut.received:
                raise _Failure(f"could not be downloaded ({cut})") from None
            logger.info("%s: the connection was cut (%s); going on", entry.url, cut)


def _receive(entry: PublishedWeights, path: Path, timeout: float) -> None:
    """Receive a file, or the rest of one, into its `.partial`.

    Raises:
        _Cut: the network fails, or the connection ends too early.
        _Failure: the server has no such file, or sends too much.
        OSError: the disk fails.
    """
    partial = _beside(path, ".partial")
    version = _read_version(path)
    have = _size(partial) if version else 0
    headers = {"User-Agent": "tf_frcnn"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    opener = urllib.request.build_opener()  # with the proxies that the environment names now
    try:
        response = opener.open(urllib.request.Request(entry.url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            _start_anew(path)
            return _receive(entry, path, timeout)
        raise _Failure(
            f"could not be downloaded: the server answers {error.code} {error.reason}"
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a proxy's port
        raise _Cut(error) from None
    with response:
        if response.status != http.client.PARTIAL_CONTENT:
            have = 0
            _start_anew(path)
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            _start_anew(path)
            raise _Cut("the server sent another part than was asked for", received=have)
        stated = response.headers.get("Content-Length", "")
        total = have + int(stated) if stated.isdecimal() else None
        with partial.open("ab") as file:
            if not have:
                _write_version(path, response.headers)
            _copy(response, file, entry, have, total)


def _copy(response: Any, file: Any, entry: PublishedWeights, have: int, total: int | None) -> None:
    """Write what the server sends behind what is there already."""
    limit = 1.1 * entry.size_mib * 2**20 + 2**20  # against servers that send without an end
    done = have
    with show_bytes(entry.file_name, total) as show:
        while True:
            if max(done, total or 0) > limit:
                raise _Failure(
                    f"could not be downloaded: the server sends {max(done, total or 0)} bytes or "
                    f"more, expected {entry.size_mib} MiB"
                )
            try:
                chunk = response.read1(_CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise _Cut(error, done - have) from None
            if not chunk:
                break
            file.write(chunk)
            done += len(chunk)
            show(done)
    if total is not None and done != total:
        raise _Cut(f"the connection ended at {done} of {total} bytes", done - have)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _start_anew(path: Path) -> None:
    """Forget what has come of a file so far."""
    for ending in (".version", ".partial"):  # in this order, should it end between the two
        _beside(path, ending).unlink(missing_ok=True)


def _read_version(path: Path) -> str:
    """Read the server's word for the version of what is there of a file; "" if it gave none."""
    try:
        return _beside(path, ".version").read_text(encoding="latin-1")
    except OSError:
        return ""


def _write_version(path: Path, headers: Any) -> None:
    """Write down what If-Range may ask for: a strong ETag, else the time of change."""
    tag = headers.get("ETag", "")
    version = tag if tag.startswith('"') else headers.get("Last-Modified", "")
    if version:
        _beside(path, ".version").write_text(version, encoding="latin-1")
