"""Files at URLs, via fsspec: ranges of bytes, with retries, and streams that read ahead."""

from __future__ import annotations

import errno
import io
import random
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, TypeVar

import fsspec
from fsspec.asyn import sync
from fsspec.implementations.local import LocalFileSystem, make_path_posix

from pipeline.errors import UsageError
from pipeline.storage.remote_errors import remote_error
from pipeline.storage.versions import Version, input_changed, input_ends_early, read_on

T = TypeVar("T")

_WAITS = (1, 2, 4, 8, 16)  # seconds, at most, before a request is tried again
_PASSING = errno.EIO, errno.ETIMEDOUT  # transient errors; an exceeded quota is not
_PATIENCE = 60  # seconds, after which a request that fails is not tried again
CONNECT, ANSWER = 10, 60  # seconds until a server that does not respond counts as lost
_REPLACED = errno.EEXIST, errno.ESTALE  # see `remote_errors`
_NO_RANGES = (
    "the server does not support range requests, which workers need; download the file first"
)
_AHEAD = 8 << 20  # bytes of a stream to read at once
AT_ONCE = 32  # requests of one process
_MANY = 2 * AT_ONCE  # files in a folder: from there on, listing it is faster than asking for each


def is_remote(path: str) -> bool:
    """Return whether a path is a URL."""
    return "://" in path


def shown_url(url: str) -> str:
    """Return a URL without any user, password or signature."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("?")[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def is_web(path: str) -> bool:
    """Return whether a path is the URL of a web server."""
    return path.startswith(("http://", "https://"))


def file_system(path: str) -> tuple[Any, str]:
    """Return the file system of a path or URL, and the path within it.

    Raises UsageError if a package that it needs is missing, or nothing can open the URL.
    """
    if not is_remote(path):
        return LocalFileSystem(), make_path_posix(path).rstrip("/") or "/"
    try:
        # Without a cache: a worker lives for many runs, and files change.
        system, inner = fsspec.url_to_fs(path, use_listings_cache=False, **_limits(path))
        system.retries = 1  # for s3fs, which would only repeat what `retry` repeats
        return system, inner
    except (ImportError, ValueError, AttributeError, TypeError) as error:  # whatever fsspec raises
        scheme = path.partition("://")[0]
        remedy = "pip install -c scripts/constraints.txt -e '.[s3]'"
        raise UsageError(
            f"{scheme}:// cannot be opened: {error}; "
            f"{remedy if scheme.startswith('s3') else 'check the URL'}"
        ) from error


def _limits(path: str) -> dict[str, Any]:
    """Return options that limit how long a file system waits, and how many requests it sends."""
    if path.startswith("s3://"):
        return {"config_kwargs": configure_botocore()}
    if is_web(path):
        from aiohttp import ClientTimeout

        return {"client_kwargs": {"timeout": ClientTimeout(sock_connect=CONNECT, sock_read=ANSWER)}}
    return {}


def configure_botocore() -> dict[str, Any]:
    """Return the configuration of botocore, which tries each request once; `retry` repeats it."""
    limits = {"connect_timeout": CONNECT, "read_timeout": ANSWER, "max_pool_connections": AT_ONCE}
    return {**limits, "retries": {"total_max_attempts": 1}}


@contextmanager
def explain_errors(path: str) -> Iterator[None]:
    """Raise the error of a server as an OSError about the URL `path`."""
    try:
        yield
    except Exception as error:
        if not is_remote(path) or (meant := remote_error(error, path)) is None:
            raise
        try:
            raise meant from None
        finally:  # a response may hold an access key, and cannot always be sent between processes
            meant.__context__ = None


def retry(path: str, action: Callable[[], T]) -> T:
    """Return what a request for the URL `path` returns; repeat it if the server fails.

    Tries up to six times, but not after a minute, so a read that timed out is not repeated. Raises
    OSError.
    """
    end = time.monotonic() + _PATIENCE
    waits = iter(_WAITS)
    while True:
        try:
            with explain_errors(path):
                return action()
        except OSError as error:
            wait = next(waits, None)
            if wait is None or time.monotonic() > end or error.errno not in _PASSING:
                raise
        time.sleep(random.uniform(0, wait))


def read_range(path: str, start: int, stop: int, version: Version | None = None) -> bytes:
    """Return bytes `start` to `stop` of the file at a URL; at `s3://`, of that `version` only.

    Raises InputChangedError if the file has a different version or ends early, OSError (see
    `retry`) if it cannot be read.
    """
    system, inner = file_system(path)

    def read(start: int, stop: int) -> bytes:
        if is_web(path):
            return _from_web(system, inner, start, stop)
        if version and version.etag and path.startswith("s3://"):
            return _from_store(system, inner, start, stop, version.etag)
        return bytes(system.cat_file(inner, start=start, end=stop))

    try:
        data = read_on(start, stop, lambda *part: retry(path, lambda: read(*part)))
    except OSError as error:
        if error.errno not in _REPLACED:
            raise
        raise input_changed(shown_url(path), "the store has a different version of it") from error
    if start + len(data) < stop:
        raise input_ends_early(shown_url(path), stop)
    return data


def _from_web(system: Any, url: str, start: int, stop: int) -> bytes:
    # Giving the size saves a request. A server without ranges would send the whole file.
    with system.open(url, "rb", cache_type="none", size=stop) as file:
        try:
            file.seek(start)
            return bytes(file.read(stop - start))
        except ValueError as error:
            raise OSError(errno.EINVAL, _NO_RANGES, url) from error


def _from_store(system: Any, path: str, start: int, stop: int, etag: str) -> bytes:
    bucket, key, number = system.split_path(path)
    only = {"IfMatch": etag, **({"VersionId": number} if number else {})}
    part = f"bytes={start}-{stop - 1}"
    response = system.call_s3("get_object", Bucket=bucket, Key=key, Range=part, **only)
    try:
        return bytes(sync(system.loop, response["Body"].read))
    finally:
        response["Body"].close()


def version_of_url(path: str) -> Version:
    """Return the version of the file at a URL; raise OSError if the server does not give it."""
    system, inner = file_system(path)
    return _version(path, system, inner, retry(path, lambda: system.info(inner)))


def list_versions(paths: Iterable[str]) -> dict[str, Version]:
    """Return the versions of files in a store, by path, if the store lists them with ETags.

    A folder is listed only if it has many of the files: one request lists a thousand.
    """
    folders: dict[str, list[str]] = {}
    for path in paths:
        if is_remote(path) and not is_web(path):
            folders.setdefault(path.rpartition("/")[0], []).append(path)
    found = {}
    for folder, files in folders.items():
        if len(files) < _MANY:
            continue
        system, inner = file_system(folder)
        try:
            listed = retry(folder, partial(system.ls, inner, detail=True))
        except OSError:  # the request for each file will say why
            continue
        entries = {entry["name"]: entry for entry in listed}
        for path in files:
            name = f"{inner}/{path.rpartition('/')[2]}"
            if (entry := entries.get(name)) and _etag(entry):
                found[path] = _version(path, system, name, entry)
    return found


def _etag(info: dict[str, Any]) -> str | None:
    return info.get("ETag") or info.get("etag")


def _version(path: str, system: Any, inner: str, info: dict[str, Any]) -> Version:
    """Return the version of a file, given what the server says about it."""
    if info["size"] is None:
        raise OSError(errno.EINVAL, _NO_RANGES, path)
    etag = _etag(info)
    stamp, modified = info.get("Last-Modified"), info.get("LastModified")
    # Some servers do not know the time of a file, or send a malformed one.
    with suppress(NotImplementedError, OSError, ValueError):
        if stamp:
            modified = parsedate_to_datetime(stamp)
        elif not modified and not is_web(path):
            modified = system.modified(inner)
    if modified:
        modified = modified.isoformat()
    if not etag and not stamp:
        stamp = modified
    return Version(int(info["size"]), stamp, etag=etag, modified=modified)


class RemoteFile(io.RawIOBase):
    """The file at a URL, in the given `version` or its current one.

    While it is read in order, the next bytes are read ahead.
    """

    def __init__(self, path: str, version: Version | None = None) -> None:
        self._path = path
        self.version = version or version_of_url(path)
        self._size, self._offset, self._end = self.version.size, 0, -1
        if is_web(path) and not version:
            # A server without range requests may still answer one that starts at 0.
            read_range(path, max(self._size - 1, 1), self._size)
        self._chunk, self._chunk_start = b"", 0
        self._next: Future[bytes] | None = None
        self._pool = ThreadPoolExecutor(1)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the offset of the next byte to read, and return it."""
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: self._size}[whence]
        self._offset = begin + offset
        return self._offset

    def readinto(self, target: Any) -> int:
        """Read the next bytes into `target`; return how many were read."""
        size = min(len(target), self._size - self._offset)
        if size <= 0:
            return 0
        inside = self._offset - self._chunk_start
        if not 0 <= inside < len(self._chunk):
            self._read_chunk(size)
            inside = 0
        data = self._chunk[inside : inside + size]
        target[: len(data)] = data
        self._offset += len(data)
        return len(data)

    def close(self) -> None:
        """Stop reading ahead."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        super().close()

    def _read_chunk(self, size: int) -> None:
        """Read the next chunk: what was read ahead, or at least `size` bytes."""
        goes_on = self._offset == self._end
        if goes_on and self._next is not None:
            self._chunk = self._next.result()
        else:
            self._chunk = self._read(self._offset, max(size, _AHEAD) if goes_on else size)
        self._chunk_start, self._end = self._offset, self._offset + len(self._chunk)
        self._next = None
        if goes_on and self._end < self._size:
            self._next = self._pool.submit(self._read, self._end, _AHEAD)

    def _read(self, start: int, size: int) -> bytes:
        return read_range(self._path, start, min(start + size, self._size), self.version)
