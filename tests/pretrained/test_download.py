"""Published weights in the cache: downloaded once, whole, or one message that says what to do.

A server on this machine stands in for the publisher's; no test goes beyond it.
"""

import dataclasses
import errno
import hashlib
import http.server
import logging
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tf_frcnn import progress
from tf_frcnn.errors import WeightsError
from tf_frcnn.pretrained import download
from tf_frcnn.pretrained.catalogue import CATALOGUE, PublishedWeights
from tf_frcnn.pretrained.download import fetch, is_cached, weights_folder

ROOT = Path(__file__).parents[2]
BODY = bytes(range(256)) * 4000  # about a megabyte
DIGITS = hashlib.sha256(BODY).hexdigest()


@dataclass
class StandInServer:
    """What the server does and what it was asked; tests change it."""

    body: bytes = BODY
    ranges: bool = True
    etag: str | None = '"one"'
    last_modified: str | None = None
    status: int = 200
    chunked: bool = False
    cuts: list[int] = field(default_factory=list)  # after so many bytes, an answer each
    silent_after: list[int] = field(default_factory=list)
    wrong_part: bool = False
    requests: list[str] = field(default_factory=list)  # the range of each; "all" for the whole
    paths: list[str] = field(default_factory=list)
    goes_on: threading.Event = field(default_factory=threading.Event)
    port: int = 0


def make_handler(state: StandInServer) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.paths.append(self.path)
            asked = self.headers.get("Range", "")
            state.requests.append(asked or "all")
            start = int(asked.removeprefix("bytes=").removesuffix("-") or 0)
            version = state.etag or state.last_modified
            if not (state.ranges and asked and self.headers.get("If-Range") == version):
                start = 0
            if state.status != 200:
                self.send_error(state.status)
                return
            if start and start >= len(state.body):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                begin = start - 1 if state.wrong_part else start
                self.send_header("Content-Range", f"bytes {begin}-{len(state.body) - 1}/*")
            if state.etag:
                self.send_header("ETag", state.etag)
            if state.last_modified:
                self.send_header("Last-Modified", state.last_modified)
            if not state.chunked:
                self.send_header("Content-Length", str(len(state.body) - start))
            self.end_headers()
            part = state.body[start:]
            if state.silent_after:
                self.wfile.write(part[: state.silent_after.pop(0)])
                state.goes_on.wait(20)
                return
            self.wfile.write(part[: state.cuts.pop(0)] if state.cuts else part)

        def log_message(self, *args: object) -> None:
            """Keep the test's output clean."""

    return Handler


@pytest.fixture
def server(monkeypatch) -> Iterator[StandInServer]:
    state = StandInServer()
    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), make_handler(state))
    state.port = listener.server_address[1]
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield state
    state.goes_on.set()
    listener.shutdown()
    listener.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """Give the test a cache of its own, and an environment without proxies."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "TF_FRCNN_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("TF_FRCNN_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "weights"


def entry_at(port: int, host: str = "127.0.0.1", **changes: object) -> PublishedWeights:
    return dataclasses.replace(
        CATALOGUE["fasterrcnn_resnet50_fpn"],
        url=f"http://{host}:{port}/models/file-{DIGITS[:8]}.pth",
        sha256_start=DIGITS[:8],
        size_mib=len(BODY) / 2**20,
        **changes,
    )


@pytest.fixture
def entry(server) -> PublishedWeights:
    return entry_at(server.port)


def files_in(cache: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in cache.iterdir() if path.suffix != ".lock"}


def whole_cache(entry: PublishedWeights) -> dict[str, bytes]:
    record = f"{DIGITS}  {entry.file_name}\n".encode()
    return {entry.file_name: BODY, f"{entry.file_name}.sha256": record}


def failure(entry: PublishedWeights, **options: object) -> str:
    """Fetch what can't be fetched -> the message, which says what any must."""
    with pytest.raises(WeightsError) as caught:
        fetch(entry, option="--weights", timeout=0.4, **options)
    message = str(caught.value)
    assert message.startswith(f"{entry.file_name}: the weights {entry.name} ")
    assert entry.url in message and f"put it into {weights_folder()}, or" in message
    assert "--weights PATH" in message and "\n" not in message and caught.value.exit_status == 2
    return message


# === Once, and whole ===


def test_a_file_is_downloaded_once(server, entry, cache):
    assert not is_cached(entry)
    for _ in range(2):
        path = fetch(entry)
        assert path == cache / entry.file_name and path.read_bytes() == BODY
        assert is_cached(entry)
    assert server.requests == ["all"] and server.paths == [f"/models/{entry.file_name}"]
    assert files_in(cache) == whole_cache(entry)


def test_sha256sum_reads_the_record(entry, cache):
    fetch(entry)
    checked = subprocess.run(["sha256sum", "-c", f"{entry.file_name}.sha256"], cwd=cache)
    assert checked.returncode == 0


@pytest.mark.parametrize("offline", [False, True])
def test_a_file_that_was_put_there_by_hand(server, entry, cache, offline):
    cache.mkdir(parents=True)
    (cache / entry.file_name).write_bytes(BODY)
    assert fetch(entry, offline).read_bytes() == BODY
    assert server.requests == [] and files_in(cache) == whole_cache(entry)


def test_a_cache_that_can_only_be_read(entry, cache, monkeypatch):
    fetch(entry)
    (cache / f"{entry.file_name}.sha256").unlink()

    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(download, "whole_file", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr(download, "FileLock", refuse)
    assert fetch(entry).read_bytes() == BODY


def test_a_file_that_was_damaged_in_the_cache(server, entry, cache, caplog):
    path = fetch(entry)
    path.write_bytes(BODY[:-1])
    assert "in the cache are damaged, or others: their SHA-256 is" in failure(entry, offline=True)
    with caplog.at_level(logging.WARNING):
        assert fetch(entry).read_bytes() == BODY
    assert "they are downloaded anew" in caplog.text and len(server.requests) == 2


def test_all_digits_count_once_they_are_known(server, entry, cache):
    # The entry has eight of 64; the file's own record has the rest.
    path = fetch(entry)
    other = DIGITS[:8] + "0" * 56
    (cache / f"{entry.file_name}.sha256").write_text(f"{other}  {entry.file_name}\n")
    assert f"SHA-256 is {DIGITS}..., expected {other}..." in failure(entry, offline=True)
    path.unlink()
    assert f"the server sent something else, which begins with {BODY[:16]!r}" in failure(entry)
    known = dataclasses.replace(entry, sha256=DIGITS)
    assert fetch(known).read_bytes() == BODY and files_in(cache) == whole_cache(entry)


@pytest.mark.parametrize("record", ["", "x", "0" * 64 + "  name\n", "\xff"])
def test_a_record_that_is_none(entry, cache, record):
    fetch(entry)
    (cache / f"{entry.file_name}.sha256").write_text(record, encoding="latin-1")
    fetch(entry, offline=True)
    assert files_in(cache) == whole_cache(entry)


# === Downloads that are cut ===


@pytest.mark.parametrize("received", [1, 300_000, len(BODY) - 1])
def test_a_download_goes_on_where_it_was_cut(server, entry, cache, received):
    server.cuts = [received]
    assert fetch(entry).read_bytes() == BODY
    assert server.requests == ["all", f"bytes={received}-"]
    assert files_in(cache) == whole_cache(entry)


def test_the_next_call_goes_on_too(server, entry, cache):
    server.cuts = [100_000, 0]
    assert f"the connection ended at 100000 of {len(BODY)} bytes" in failure(entry)
    assert not is_cached(entry)
    assert (cache / f"{entry.file_name}.partial").read_bytes() == BODY[:100_000]
    fetch(entry)
    assert server.requests == ["all", "bytes=100000-", "bytes=100000-"]
    assert files_in(cache) == whole_cache(entry)


def test_a_server_that_is_cut_each_time(server, entry):
    server.cuts = [1000] * 10
    assert "the connection ended at 4000 of" in failure(entry)
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"ranges": False},
        {"etag": None},  # and so no word for what the rest would be of
        {"etag": 'W/"weak"'},
    ],
)
def test_a_download_that_cannot_go_on_starts_anew(server, entry, cache, changes):
    vars(server).update(changes, cuts=[100_000, 200_000])
    assert fetch(entry).read_bytes() == BODY
    assert len(server.requests) == 3 and files_in(cache) == whole_cache(entry)


def test_the_time_of_change_will_do(server, entry):
    server.etag, server.last_modified = None, "Mon, 01 Jan 2024 00:00:00 GMT"
    server.cuts = [100_000]
    assert fetch(entry).read_bytes() == BODY
    assert server.requests == ["all", "bytes=100000-"]


def test_a_file_that_changed_on_the_server_starts_anew(server, entry, cache):
    server.cuts = [100_000, 0]
    failure(entry)
    (cache / f"{entry.file_name}.partial").write_bytes(b"x" * 100_000)  # of the older version
    server.etag = '"two"'
    assert fetch(entry).read_bytes() == BODY
    assert server.requests[-1] == "bytes=100000-"  # asked, and answered with the whole


def test_a_partial_file_that_was_damaged(server, entry, cache):
    server.cuts = [100_000, 0]
    failure(entry)
    (cache / f"{entry.file_name}.partial").write_bytes(b"x" * 100_000)
    assert fetch(entry).read_bytes() == BODY
    assert server.requests[-2:] == ["bytes=100000-", "all"]
    assert files_in(cache) == whole_cache(entry)


def test_a_partial_file_that_is_whole_or_longer(server, entry, cache):
    fetch(entry)
    for rest in (b"", b"more"):
        (cache / entry.file_name).rename(cache / f"{entry.file_name}.partial")
        with (cache / f"{entry.file_name}.partial").open("ab") as file:
            file.write(rest)
        (cache / f"{entry.file_name}.version").write_text('"one"')
        assert fetch(entry).read_bytes() == BODY
        assert files_in(cache) == whole_cache(entry)
        assert server.requests[-1] == "all"  # 416 told that there is no rest


def test_a_server_that_sends_another_part(server, entry, cache):
    server.cuts, server.wrong_part = [100_000], True
    assert fetch(entry).read_bytes() == BODY
    assert server.requests == ["all", "bytes=100000-", "all"]


def test_a_server_that_states_no_length(server, entry):
    server.chunked = True
    assert fetch(entry).read_bytes() == BODY


# === What the network does ===


def test_no_server():
    with socket.socket() as unused:  # bound but not listening: the port refuses
        unused.bind(("127.0.0.1", 0))
        entry = entry_at(unused.getsockname()[1])
        assert "could not be downloaded ([Errno 111] Connection refused)" in failure(entry)


def test_no_such_host():
    assert "could not be downloaded (" in failure(entry_at(80, host="no-such-host.invalid"))


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_a_server_that_refuses(server, entry, cache, status):
    server.status = status
    assert f"could not be downloaded: the server answers {status} " in failure(entry)
    assert len(server.requests) == 1 and files_in(cache) == {}


def test_a_server_that_falls_silent(server, entry, cache):
    server.silent_after = [0]
    assert "could not be downloaded (timed out)" in failure(entry)
    server.silent_after = [50_000, 0]
    assert "could not be downloaded (timed out)" in failure(entry)
    assert (cache / f"{entry.file_name}.partial").read_bytes() == BODY[:50_000]
    assert fetch(entry).read_bytes() == BODY


@pytest.mark.parametrize(
    "body", [b"<!DOCTYPE html><html>Log in to the hotel's network", BODY[:-1] + b"?", b""]
)
def test_a_server_that_sends_something_else(server, entry, cache, body):
    server.body = body
    message = failure(entry)
    assert f"which begins with {body[:16]!r}; their SHA-256 is" in message
    assert f"expected {DIGITS[:8]}..." in message and files_in(cache) == {}
    server.body = BODY
    assert fetch(entry).read_bytes() == BODY


@pytest.mark.parametrize("chunked", [False, True])
def test_a_server_that_sends_without_an_end(server, entry, cache, chunked):
    server.body, server.chunked = BODY * 5, chunked
    assert re.search(r"the server sends \d+ bytes or more, expected 0.9765625 MiB", failure(entry))
    partial = cache / f"{entry.file_name}.partial"
    assert not partial.exists() or partial.stat().st_size < 3 * len(BODY)
    server.body = BODY
    fetch(entry)


def test_proxies_of_the_environment(server, monkeypatch):
    # The stand-in is the proxy: it is asked for the whole address.
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
    entry = entry_at(80, host="weights.invalid")
    assert fetch(entry).read_bytes() == BODY
    assert server.paths == [entry.url]


def test_no_proxy_of_the_environment(server, entry, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert fetch(entry).read_bytes() == BODY


def test_a_proxy_that_is_not_there(entry, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert "Connection refused" in failure(entry)


@pytest.mark.parametrize("word", ["1", "true", "YES"])
def test_offline(server, entry, monkeypatch, word):
    for options, said_by in (({"offline": True}, "--offline"), ({}, "TF_FRCNN_OFFLINE")):
        message = failure(entry, **options)
        assert f"are not in the cache, and {said_by} is set" in message
        monkeypatch.setenv("TF_FRCNN_OFFLINE", word)
    assert server.requests == [] and not weights_folder().exists()


@pytest.mark.parametrize("word", ["", "0", "false", "No"])
def test_words_that_mean_online(entry, monkeypatch, word):
    monkeypatch.setenv("TF_FRCNN_OFFLINE", word)
    assert fetch(entry).read_bytes() == BODY


def test_a_command_without_such_an_option_names_none(entry):
    with pytest.raises(WeightsError) as caught:
        fetch(entry, offline=True)
    assert str(caught.value).endswith(f"put it into {weights_folder()}.")


# === What the disk does ===


def test_a_cache_that_is_no_folder(server, entry, cache):
    cache.parent.write_text("a file")
    message = failure(entry)
    assert f"cannot be kept in {cache} (Not a directory)" in message and "TF_FRCNN_HOME" in message
    assert server.requests == []


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_cache_that_may_not_be_written(server, entry, cache):
    cache.mkdir(parents=True)
    cache.chmod(0o555)
    assert "Permission denied" in failure(entry) and server.requests == []


def test_a_full_disk(entry, monkeypatch):
    real, written = download._copy, []

    class FullFile:
        def write(self, chunk):
            written.append(chunk)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(
        download, "_copy", lambda response, file, *rest: real(response, FullFile(), *rest)
    )
    message = failure(entry)
    assert "(No space left on device). Make room there" in message and len(written) == 1
    monkeypatch.undo()


def test_a_file_system_without_locks(entry, monkeypatch):
    def refuse(*args, **kwargs):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(download.FileLock, "acquire", refuse)
    assert "does not appear to support flock" in failure(entry)


# === Where the cache is ===


def test_the_cache_folder(monkeypatch, tmp_path):
    assert weights_folder() == tmp_path / "home" / "weights"
    monkeypatch.setenv("TF_FRCNN_HOME", "~/weights-of-mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights_folder() == tmp_path / "weights-of-mine" / "weights"
    monkeypatch.setenv("TF_FRCNN_HOME", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert weights_folder() == tmp_path / "xdg" / "tf_frcnn" / "weights"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert weights_folder() == tmp_path / ".cache" / "tf_frcnn" / "weights"


def test_no_home(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("TF_FRCNN_HOME")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(WeightsError, match="Could not determine home.*TF_FRCNN_HOME"):
        weights_folder()


# === Several processes ===

FETCH = """
import dataclasses, logging, sys
from tf_frcnn.pretrained.catalogue import CATALOGUE
from tf_frcnn.pretrained.download import fetch
logging.basicConfig(level=logging.INFO, format="%(message)s")
url, digits = sys.argv[1:]
entry = dataclasses.replace(
    CATALOGUE["fasterrcnn_resnet50_fpn"], url=url, sha256_start=digits, size_mib=1.0)
print(fetch(entry))
"""


def start_fetch(entry: PublishedWeights) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, entry.url, entry.sha256_start],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition) -> None:
    waiting = threading.Event()
    for _ in range(1200):
        if condition():
            return
        waiting.wait(0.05)
    raise AssertionError("it never came to be")


def test_two_processes_at_once(server, entry, cache):
    server.silent_after = [50_000]
    first = start_fetch(entry)
    wait_for(lambda: server.requests)
    second = start_fetch(entry)
    for line in second.stderr:
        if "another process downloads" in line:
            break
    assert (cache / f"{entry.file_name}.partial").stat().st_size <= 50_000
    server.goes_on.set()  # cuts the first one's connection, which then goes on
    for process in (first, second):
        output = process.communicate(timeout=60)[0]
        assert process.returncode == 0 and output.strip() == str(cache / entry.file_name)
    assert server.requests == ["all", "bytes=50000-"]
    assert files_in(cache) == whole_cache(entry)


def test_a_process_that_is_killed_holds_nobody_up(server, entry, cache):
    server.silent_after = [50_000]
    killed = start_fetch(entry)
    partial = cache / f"{entry.file_name}.partial"
    wait_for(lambda: partial.exists() and server.requests)
    killed.kill()
    killed.communicate()
    assert not is_cached(entry)
    assert fetch(entry).read_bytes() == BODY
    assert files_in(cache) == whole_cache(entry)


# === Progress ===


def test_lines_in_the_log_where_there_is_no_terminal(server, entry, caplog, monkeypatch):
    monkeypatch.setattr(progress, "_LOG_SECONDS", 0.0)
    with caplog.at_level(logging.INFO):
        fetch(entry)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == f"downloading {entry.url} into {weights_folder()}"
    assert f"{entry.file_name}: 1.0 of 1.0 MB" in lines
    assert lines[-1].endswith(f"is whole, its SHA-256 is {DIGITS}")


def test_a_bar_on_a_terminal(entry, capsys, monkeypatch):
    real = progress.Console
    monkeypatch.setattr(
        progress, "Console", lambda **options: real(force_terminal=True, width=120, **options)
    )
    fetch(entry)
    assert f"{entry.file_name}" in capsys.readouterr().err
