"""What a store's refusals and failures become; the clock is tried on a real S3 server."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from datetime import timedelta

import pytest
from support.servers import Refusing
from support.store import Prefix

from pipeline.storage import objects, remote
from pipeline.storage.objects import ObjectFolder

pytest.importorskip("botocore")


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Refusing]:
    """A store that refuses; the only one that this process knows until the test ends."""
    with Refusing() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.address)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
            monkeypatch.setenv(name, "anything")
        objects._client.cache_clear()
        yield server
    objects._client.cache_clear()


@pytest.mark.parametrize(
    ("status", "code", "number", "text"),
    [
        (400, "ExpiredToken", errno.EACCES, "the credentials have expired; renew them"),
        (400, "InvalidToken", errno.EACCES, "the session token is wrong"),
        (403, "RequestTimeTooSkewed", errno.EACCES, "the clock of this machine is wrong; set it"),
        (403, "QuotaExceeded", errno.EDQUOT, "the quota is used up"),
        (400, "Unheard", errno.EINVAL, "the store refused PutObject: Unheard"),
    ],
)
def test_a_refusal_says_what_to_do(
    refusing: Refusing, status: int, code: str, number: int, text: str
) -> None:
    refusing.answers = [(status, code)]

    with pytest.raises(OSError, match=text) as caught:
        ObjectFolder("bucket", "").put("name", b"data")

    assert (caught.value.errno, caught.value.filename) == (number, "s3://bucket/name")
    assert refusing.asked == 1


def test_throttling_is_waited_for(refusing: Refusing) -> None:
    refusing.answers = [(503, "SlowDown"), (200, ""), (500, "InternalError"), (200, "")]

    assert [ObjectFolder("bucket", "").put("name", b"data") for _ in range(2)] == ["etag", "etag"]

    assert refusing.asked == 4


def test_a_store_that_keeps_silent_is_asked_once(
    refusing: Refusing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "ANSWER", 0.2)
    monkeypatch.setattr(remote, "_PATIENCE", 0.2)
    refusing.answers = [(0, ""), (200, "")]

    with pytest.raises(OSError, match="the store does not respond"):
        ObjectFolder("bucket", "").put("name", b"data")

    assert refusing.asked == 1


def test_a_wrong_clock_is_told(prefix: Prefix, monkeypatch: pytest.MonkeyPatch) -> None:
    import botocore.auth

    now = botocore.auth.get_current_datetime
    monkeypatch.setattr(
        botocore.auth, "get_current_datetime", lambda *args: now(*args) - timedelta(hours=2)
    )

    with pytest.raises(OSError, match="the clock of this machine is wrong; set it"):
        ObjectFolder.of(prefix.url).put("name", b"data")
