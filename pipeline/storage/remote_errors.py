"""Turns the errors of object stores and web servers into OSErrors with a number and a hint."""

from __future__ import annotations

import errno
from collections.abc import Iterator

# By the code in a store's response.
_CODES = {
    "NoSuchBucket": (errno.ENOENT, "there is no such bucket"),
    "NoSuchKey": (errno.ENOENT, "there is no such object"),
    "NoSuchUpload": (errno.ENOENT, "the upload was aborted, by a lifecycle rule or another run"),
    "AccessDenied": (errno.EACCES, "access is denied to these credentials; allow {operation}"),
    "InvalidAccessKeyId": (errno.EACCES, "the store does not know this access key"),
    "SignatureDoesNotMatch": (errno.EACCES, "the secret key is wrong"),
    "ExpiredToken": (errno.EACCES, "the credentials have expired; renew them"),
    "TokenRefreshRequired": (errno.EACCES, "the credentials have expired; renew them"),
    "InvalidToken": (errno.EACCES, "the session token is wrong"),
    "RequestTimeTooSkewed": (errno.EACCES, "the clock of this machine is wrong; set it"),
    "RequestExpired": (errno.EACCES, "the clock of this machine is wrong; set it"),
    "QuotaExceeded": (errno.EDQUOT, "the quota is used up"),
    "PreconditionFailed": (errno.EEXIST, "another run has changed it"),
    "InvalidRange": (errno.ESTALE, "the object is shorter now; it changed during the run"),
    "PermanentRedirect": (errno.EINVAL, "the bucket is in another region; set AWS_REGION"),
    "InvalidBucketName": (errno.EINVAL, "that is not a valid bucket name"),
}
# By the status, if a response has no code, as after a HEAD request.
_STATUS = {
    301: "PermanentRedirect",
    403: "AccessDenied",
    404: "NoSuchKey",
    412: "PreconditionFailed",
    416: "InvalidRange",
}
# By the class of the error, if there was no response.
_CLASSES = {
    "NoCredentialsError": (
        errno.EACCES,
        "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role",
    ),
    "PartialCredentialsError": (
        errno.EACCES,
        "the credentials are incomplete; is the secret key missing?",
    ),
    "CredentialRetrievalError": (errno.EACCES, "the credentials could not be retrieved"),
    "TokenRetrievalError": (errno.EACCES, "the credentials have expired; renew them"),
    "UnauthorizedSSOTokenError": (errno.EACCES, "the credentials have expired; renew them"),
    "ProfileNotFound": (errno.EINVAL, "AWS_PROFILE names an unknown profile"),
    "ParamValidationError": (errno.EINVAL, "that is not a valid bucket name"),
    "InvalidEndpointConfigurationError": (errno.EINVAL, "AWS_ENDPOINT_URL is not a URL"),
}

_SILENT_SERVER = errno.ETIMEDOUT, "the server does not respond, or closed the connection"
_SILENT_STORE = errno.ETIMEDOUT, "the store does not respond; is AWS_ENDPOINT_URL right?"
# By the status of a web server's response; others are refusals, except those in `_PASSING`.
_HTTP = {401: errno.EACCES, 403: errno.EACCES, 404: errno.ENOENT, 410: errno.ENOENT}
_PASSING = {408, 425, 429, *range(500, 600)}


def remote_error(error: BaseException, where: str) -> OSError | None:
    """Return an error of a store or a web server as an OSError; None for any other error.

    The number tells a wrong name or missing permission (EACCES, ENOENT, EINVAL) from a failing
    server (EIO, ETIMEDOUT). The text quotes nothing from the response, which may hold a part of
    the credentials.
    """
    for cause in _chain(error):
        library = (type(cause).__module__ or "").split(".")[0]
        if library in ("botocore", "aiobotocore"):
            response = getattr(cause, "response", None)
            if isinstance(response, dict) and "Error" in response:
                return _error_in_response(response, getattr(cause, "operation_name", "it"), where)
            known = _CLASSES.get(type(cause).__name__, _SILENT_STORE)
            return OSError(*known, where)
        if library == "aiohttp":
            status = getattr(cause, "status", 0)
            if not status:
                return OSError(*_SILENT_SERVER, where)
            number = _HTTP.get(status, errno.EIO if status in _PASSING else errno.EINVAL)
            return OSError(number, f"the server responded with status {status}", where)
    if isinstance(error, FileNotFoundError) and not error.errno:  # fsspec gives the URL alone
        return OSError(errno.ENOENT, "there is no such file", where)
    if isinstance(error, ConnectionError | TimeoutError):
        return OSError(*_SILENT_SERVER, where)
    if isinstance(error, ValueError) and "endpoint" in str(error).lower():
        return OSError(errno.EINVAL, "AWS_ENDPOINT_URL is not a URL", where)
    return None


def _error_in_response(response: dict, operation: str, where: str) -> OSError:
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = str(response["Error"].get("Code", status))
    known = _CODES.get(code) or _CODES.get(_STATUS.get(status, ""))
    if known:
        return OSError(known[0], known[1].format(operation=operation), where)
    if status and status < 500 and code not in ("SlowDown", "TooManyRequests", "RequestTimeout"):
        return OSError(errno.EINVAL, f"the store refused {operation}: {code}", where)
    return OSError(errno.EIO, f"the store failed at {operation}: {code}", where)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
