"""Objects in a store that speaks S3, via botocore: put, get, list, and multipart uploads.

Each process finds its credentials and endpoint in the usual way (environment, profile, instance
role); neither is sent between processes. All errors are OSErrors that name the object (see
`storage.remote_errors`). After throttling, server errors and lost connections, a request is tried
again (see `storage.remote.retry`).
"""

from __future__ import annotations

import errno
from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache
from mimetypes import guess_type
from typing import Any, ClassVar, NamedTuple

from isal.isal_zlib import crc32

from pipeline.errors import UsageError
from pipeline.storage.remote import configure_botocore, retry

LEAST_PART = 5 << 20  # bytes; only the last part of an object may have fewer
MOST_PARTS = 10_000
LARGEST_PART = 5 << 30  # bytes

_SCHEME = "s3://"
_PAGE = 1000  # keys that one request deletes


def is_object_url(path: str) -> bool:
    """Return whether a path names objects in a store, such as `s3://bucket/prefix`."""
    return path.startswith(_SCHEME)


class Stat(NamedTuple):
    """An object's ETag and size; when it was put, and the time now, both by the store's clock."""

    etag: str
    size: int
    put: datetime
    now: datetime


class Part(NamedTuple):
    """A part of a multipart upload: its number from 1, its ETag, its size in bytes.

    `crc` is its CRC-32 as the store writes it, or None if the store keeps none.
    """

    number: int
    etag: str
    size: int
    crc: str | None


@dataclass(frozen=True)
class ObjectFolder:
    """The objects of a bucket whose keys begin with `prefix`, which is empty or ends with `/`."""

    bucket: str
    prefix: str
    hint: ClassVar[str] = (
        "give every worker credentials that may write there, and the same AWS_ENDPOINT_URL"
    )

    @classmethod
    def of(cls, url: str) -> ObjectFolder:
        """Return the folder at `s3://bucket/prefix`."""
        bucket, _, key = url.removeprefix(_SCHEME).partition("/")
        key = key.strip("/")
        return cls(bucket, f"{key}/" if key else "")

    def __str__(self) -> str:
        """Return the URL."""
        return f"{_SCHEME}{self.bucket}/{self.prefix}".rstrip("/")

    def url(self, name: str) -> str:
        """Return the URL of an object."""
        return f"{_SCHEME}{self.bucket}/{self.prefix}{name}"

    def below(self, name: str) -> ObjectFolder:
        """Return a folder in this one."""
        return ObjectFolder(self.bucket, f"{self.prefix}{name}/")

    def put(
        self, name: str, data: bytes, *, new: bool = False, instead_of: str | None = None
    ) -> str:
        """Put an object; return its ETag.

        Raises FileExistsError if it has to be `new` and exists, or if its ETag is not
        `instead_of`.
        """
        only = {"IfNoneMatch": "*"} if new else {"IfMatch": instead_of} if instead_of else {}
        about = {**self._at(name), "ContentType": _media(name), **only}
        return _etag(_send(self.url(name), "put_object", **about, Body=data))

    def get(self, name: str) -> bytes:
        """Return the bytes of an object."""
        which = self._at(name)
        return retry(self.url(name), lambda: bytes(_client().get_object(**which)["Body"].read()))

    def stat(self, name: str) -> Stat | None:
        """Return what the store knows about an object; None if it does not exist."""
        try:
            found = _send(self.url(name), "head_object", **self._at(name))
        except FileNotFoundError:
            return None
        now = parsedate_to_datetime(found["ResponseMetadata"]["HTTPHeaders"]["date"])
        return Stat(_etag(found), found["ContentLength"], found["LastModified"], now)

    def copy(self, name: str, target: ObjectFolder) -> None:
        """Copy an object to the same name in another folder, within the store."""
        _send(target.url(name), "copy_object", **target._at(name), CopySource=self._at(name))

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; it is not an error if one does not exist."""
        for first in range(0, len(names), _PAGE):
            keys = [{"Key": self.prefix + name} for name in names[first : first + _PAGE]]
            which = {"Objects": keys, "Quiet": True}
            response = _send(str(self), "delete_objects", Bucket=self.bucket, Delete=which)
            if failed := response.get("Errors"):
                raise OSError(errno.EACCES, f"cannot be deleted: {failed[0]['Code']}", str(self))

    def clear(self) -> None:
        """Delete all objects in this folder, and in the folders below it."""
        below = {"Bucket": self.bucket, "Prefix": self.prefix}
        found = _list(str(self), "list_objects_v2", "Contents", **below)
        self.delete([item["Key"].removeprefix(self.prefix) for item in found])

    def start_upload(self, name: str) -> Upload:
        """Start a multipart upload of an object, which does not change until it is completed."""
        about = {**self._at(name), "ContentType": _media(name), "ChecksumAlgorithm": "CRC32"}
        response = _send(self.url(name), "create_multipart_upload", **about)
        return Upload(self, name, response["UploadId"])

    def uploads(self, name: str) -> list[Upload]:
        """Return the multipart uploads of an object that are neither completed nor aborted."""
        key = f"{self.prefix}{name}"
        below = {"Bucket": self.bucket, "Prefix": key}
        found = _list(self.url(name), "list_multipart_uploads", "Uploads", **below)
        return [Upload(self, name, item["UploadId"]) for item in found if item["Key"] == key]

    def _at(self, name: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": f"{self.prefix}{name}"}


@dataclass(frozen=True)
class Upload:
    """A multipart upload of an object, to which any process can add parts in any order."""

    folder: ObjectFolder
    name: str
    id: str

    def put(self, number: int, data: bytes) -> str:
        """Upload a part, in place of any other with that number; return its ETag."""
        # Stores that keep checksums refuse a part that was changed on the way.
        crc = b64encode(crc32(data).to_bytes(4, "big")).decode()
        part = {**self._at(), "PartNumber": number, "ChecksumCRC32": crc}
        return _etag(_send(self._url, "upload_part", **part, Body=data))

    def copy(self, number: int, folder: ObjectFolder, name: str) -> str:
        """Copy an object of the same store into a part; return its ETag."""
        part = {**self._at(), "PartNumber": number, "CopySource": folder._at(name)}
        return _etag(_send(self._url, "upload_part_copy", **part)["CopyPartResult"])

    def parts(self) -> list[Part]:
        """Return the parts that the store has, ordered by number."""
        found = _list(self._url, "list_parts", "Parts", **self._at())
        return [
            Part(item["PartNumber"], _etag(item), item["Size"], item.get("ChecksumCRC32"))
            for item in found
        ]

    def complete(self, parts: Sequence[Part]) -> None:
        """Assemble the object from its parts, which are ordered by number."""
        named = [
            {"PartNumber": part.number, "ETag": part.etag}
            | ({"ChecksumCRC32": part.crc} if part.crc else {})
            for part in parts
        ]
        whole = {"MultipartUpload": {"Parts": named}}
        _send(self._url, "complete_multipart_upload", **self._at(), **whole)

    def abort(self) -> None:
        """Drop all parts; do nothing if the upload is completed or aborted already."""
        with suppress(FileNotFoundError):
            _send(self._url, "abort_multipart_upload", **self._at())

    def _at(self) -> dict[str, str]:
        return {**self.folder._at(self.name), "UploadId": self.id}

    @property
    def _url(self) -> str:
        return self.folder.url(self.name)


@cache
def _client() -> Any:
    """Return this process's client, which all threads may use."""
    try:
        from botocore.config import Config
        from botocore.session import get_session
    except ImportError as error:
        raise UsageError(
            "s3:// needs packages that are not installed; "
            "pip install -c scripts/constraints.txt -e '.[s3]'"
        ) from error
    return get_session().create_client("s3", config=Config(**configure_botocore()))


def _send(url: str, operation: str, **request: Any) -> dict[str, Any]:
    """Send a request about the object at a URL, and return the response."""
    response: dict[str, Any] = retry(url, lambda: getattr(_client(), operation)(**request))
    return response


def _list(url: str, operation: str, kind: str, **request: Any) -> list[dict[str, Any]]:
    """Send a request for a list, and return all items of one kind on its pages."""

    def pages() -> list[dict[str, Any]]:
        found = _client().get_paginator(operation).paginate(**request)
        return [item for page in found for item in page.get(kind, ())]

    return retry(url, pages)


def _media(name: str) -> str:
    return guess_type(name)[0] or "application/octet-stream"


def _etag(response: dict[str, Any]) -> str:
    # Without its quotes, because some stores compare it with `If-Match` literally.
    return str(response["ETag"]).strip('"')
