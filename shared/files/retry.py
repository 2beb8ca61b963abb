"""Retries storage operations whose failure may be temporary.

Remote stores (`patiently`): any failure not known to be permanent is retried with growing waits:
dropped connections, 5xx, throttling, timeouts, short bodies. Missing permission or credentials and
requests that the store rejects fail at once. "Not found" and "already exists" are answers, not
failures.

Local files (`patiently_local`): the kernel has already retried, so only errors that a disk or a
network mount returns temporarily (PASSING) are retried, a few times.
"""

import errno
import random
import re
import time
from collections.abc import Callable
from typing import TypeVar

from shared.errors import InputError, StorageError

TRIES = 6
FIRST_WAIT = 0.5  # seconds; doubles each time: 15 s in all, longer than a burst of throttling
TOTAL_SECONDS = 60  # no third or later try starts after this

_REFUSED = {errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.ENAMETOOLONG, errno.EMSGSIZE}
_REFUSED |= {getattr(errno, "EREMCHG", errno.EINVAL)}  # redirect: the bucket is in another region
_GARBLED = {"BadDigest", "IncompleteBody"}  # rejected because it was damaged in transit
_ANSWERS = (FileNotFoundError, FileExistsError, NotADirectoryError)

LOCAL_TRIES = 5
LOCAL_WAIT = 0.25  # seconds; doubles each time: 4 s in all, enough for a mount to reconnect
PASSING = frozenset({
    errno.EIO,  # also from a soft mount whose server restarts
    errno.ESTALE,  # a handle from before a server restarted, or a failover
    errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR, errno.EBUSY,
    errno.ENOMEM, errno.ENFILE, errno.EMFILE,  # the kernel's limits: others may free some
    errno.ENOTCONN, errno.ECONNRESET, errno.ECONNABORTED,  # from a FUSE mount
    errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH,
    getattr(errno, "EREMOTEIO", errno.EIO),
})  # fmt: skip

T = TypeVar("T")


def patiently_local(what: str, act: Callable[[], T]) -> T:
    """Calls `act`, which reads local files, and retries errors in PASSING.

    `what` is the path, for messages. Raises any other OSError of `act` unchanged, and StorageError
    if all tries fail.
    """
    for tries in range(1, LOCAL_TRIES + 1):
        try:
            return act()
        except OSError as error:
            if error.errno not in PASSING:
                raise
            if tries == LOCAL_TRIES:
                raise StorageError(
                    f"{what} cannot be read: {error.strerror or one_line(error)}, {tries} times in "
                    f"a row; nothing that was finished is lost: check the disk or the mount, then "
                    f"start the same command again"
                ) from error
        _wait(LOCAL_WAIT, tries)
    raise AssertionError("the last try returns or raises")


def patiently(what: str, act: Callable[[], T]) -> T:
    """Calls `act`, which uses a remote store, and retries failures that may be temporary.

    `what` is the URL, for messages. Raises the FileNotFoundError, FileExistsError,
    NotADirectoryError, InputError and StorageError of `act` unchanged, and StorageError if the
    store refuses or all tries fail.
    """
    started = time.monotonic()
    for tries in range(1, TRIES + 1):
        try:
            return act()
        except (*_ANSWERS, InputError, StorageError):
            raise
        except Exception as error:
            _require_passing(what, error)
            seconds = time.monotonic() - started
            if tries == TRIES or (tries > 1 and seconds > TOTAL_SECONDS):
                raise StorageError(
                    f"the store does not answer: {what} failed {tries} times in {seconds:.0f} s, "
                    f"last with {one_line(error)}; nothing that was finished is lost: check "
                    f"network, endpoint and store, then start the same command again"
                ) from error
        _wait(FIRST_WAIT, tries)
    raise AssertionError("the last try returns or raises")


def _wait(first: float, tries: int) -> None:
    """Sleeps with random jitter, so that many processes do not retry at the same moment.

    Uses the system's generator, because forked workers share the state of Python's."""
    time.sleep(first * 2 ** (tries - 1) * random.SystemRandom().uniform(0.5, 1.5))


def s3_code(error: BaseException) -> str | None:
    """S3's error code, if s3fs raised the error from a response of S3."""
    response = getattr(error.__cause__, "response", None) or {}
    code: str | None = response.get("Error", {}).get("Code")
    return code


def one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200]
    if not text and isinstance(error, TimeoutError):
        text = "no answer in time"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _require_passing(what: str, error: Exception) -> None:
    """Raises if a retry cannot help."""
    if _is_denied(error):
        raise StorageError(
            f"the store refuses access: {what}: {one_line(error)}; "
            + (
                "check the address, and whether it asks for a user and a password or a signed link"
                if what.startswith("http")
                else "give credentials that may list, read and write there: for S3 set "
                "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        ) from error
    if _is_refused(error):
        raise StorageError(
            f"the store refuses the request: {what}: {one_line(error)}; "
            + (
                "check the address"
                if what.startswith("http")
                else "check the bucket's name, its region (AWS_DEFAULT_REGION) and the endpoint "
                "(AWS_ENDPOINT_URL)"
            )
        ) from error
    if type(error).__module__ == "builtins" and not isinstance(error, (OSError, EOFError)):
        raise error  # a bug, not a failure of the network


def _is_denied(error: Exception) -> bool:
    """Whether permission or credentials are missing; drivers have their own classes for that."""
    named = re.search("Credential|Token|Profile|Unauthorized", type(error).__name__)
    return isinstance(error, PermissionError) or named is not None


def _is_refused(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _REFUSED and s3_code(error) not in _GARBLED
    known = isinstance(error, (ValueError, NotImplementedError))
    return known or type(error).__name__ == "ParamValidationError"
