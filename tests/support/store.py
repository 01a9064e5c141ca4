"""A real S3 server: the one that AWS_ENDPOINT_URL names, with a bucket of its own for the tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import urlopen
from uuid import uuid4

from support.servers import Proxy, no_server


def need_store() -> Any:
    """Return a client of the server; leave the test where there is none."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint:
        no_server("no S3 server: AWS_ENDPOINT_URL is not set")
    try:
        from botocore.session import get_session
    except ImportError:
        no_server("s3fs is not installed: pip install -e '.[s3]'")
    try:
        urlopen(endpoint, timeout=10).close()
    except OSError as error:
        no_server(f"no S3 server at {endpoint}: {error}")
    return get_session().create_client("s3")


class Bucket:
    """A bucket that is deleted, with all in it, at the end of the `with` block."""

    def __init__(self, client: Any) -> None:
        self.client, self.name = client, f"test-{uuid4().hex[:12]}"

    def __enter__(self) -> Bucket:
        self.client.create_bucket(Bucket=self.name)
        return self

    def __exit__(self, *_: object) -> None:
        for key, identity in self._uploads(""):
            self.client.abort_multipart_upload(Bucket=self.name, Key=key, UploadId=identity)
        for key in self._keys(""):
            self.client.delete_object(Bucket=self.name, Key=key)
        self.client.delete_bucket(Bucket=self.name)

    def new_prefix(self) -> Prefix:
        """Return a prefix that nothing else uses."""
        return Prefix(self, uuid4().hex[:8])

    def _keys(self, begin: str) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self.name, Prefix=begin)
        return [item["Key"] for page in found for item in page.get("Contents", ())]

    def _uploads(self, begin: str) -> list[tuple[str, str]]:
        found = self.client.list_multipart_uploads(Bucket=self.name, Prefix=begin)
        return [(item["Key"], item["UploadId"]) for item in found.get("Uploads", ())]


class Prefix:
    """The objects of a bucket below a prefix."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self._bucket, self._prefix = bucket, prefix
        self.url = f"s3://{bucket.name}/{prefix}"

    def names(self) -> set[str]:
        """Return the names of all objects."""
        return {key.removeprefix(f"{self._prefix}/") for key in self._bucket._keys(self._prefix)}

    def uploads(self) -> int:
        """Return how many uploads were neither completed nor aborted."""
        return len(self._bucket._uploads(self._prefix))

    def read(self, name: str) -> bytes:
        """Return the bytes of an object."""
        found = self._bucket.client.get_object(**self._at(name))
        return bytes(found["Body"].read())

    def etag(self, name: str) -> str:
        """Return the ETag of an object."""
        return str(self._bucket.client.head_object(**self._at(name))["ETag"]).strip('"')

    def write(self, name: str, data: bytes) -> None:
        """Put an object."""
        self._bucket.client.put_object(**self._at(name), Body=data)

    def delete(self, name: str) -> None:
        """Delete an object."""
        self._bucket.client.delete_object(**self._at(name))

    def write_inputs(self, folder: Path) -> None:
        """Put the two input files that are in a folder."""
        for name in ("customers.csv", "purchases.csv"):
            self.write(name, (folder / name).read_bytes())

    def contents(self) -> dict[str, bytes]:
        """Return the bytes of every object by name."""
        return {name: self.read(name) for name in self.names()}

    def _at(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket.name, "Key": f"{self._prefix}/{name}"}


def proxy(host: str = "127.0.0.1") -> Proxy:
    """Return a proxy of the server that listens at an address of this machine."""
    endpoint = urlparse(os.environ["AWS_ENDPOINT_URL"])
    assert endpoint.hostname
    return Proxy(host, (endpoint.hostname, endpoint.port or 80))
