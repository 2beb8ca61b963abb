"""Patience with storage: what may pass is tried again, what will not is one line.

Across a network (`patiently`), after growing waits: dropped connections, 5xx, throttling, silence,
short bodies, and whatever else is not known to be final. At once and for good: no permission, no
credentials, a request that the store refuses. Not found, and already there, are answers, not
failures.

On this machine (`patiently_local`) it is the other way round, because the kernel has been patient
already: only what a disk or a network mount says in passing is tried again (PASSING), a few times.
"""

import errno
import random
import re
import time
from collections.abc import Callable
from typing import TypeVar

from shared.errors import InputError, StorageError

TRIES = 6
FIRST_WAIT = 0.5  # seconds; doubles each time: 15 in all, longer than a burst of throttling
TOTAL_SECONDS = 60  # no try but the second starts after this

_REFUSED = {errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.ENAMETOOLONG, errno.EMSGSIZE}
_REFUSED |= {getattr(errno, "EREMCHG", errno.EINVAL)}  # redirected: the bucket is elsewhere
_GARBLED = {"BadDigest", "IncompleteBody"}  # refused because it was damaged on its way
_ANSWERS = (FileNotFoundError, FileExistsError, NotADirectoryError)

LOCAL_TRIES = 5
LOCAL_WAIT = 0.25  # seconds; doubles each time: 4 in all, as a mount takes to find its server again
PASSING = frozenset({
    errno.EIO,  # also of a server that restarts, behind a soft mount
    errno.ESTALE,  # a handle from before a server restarted, or a failover
    errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR, errno.EBUSY,
    errno.ENOMEM, errno.ENFILE, errno.EMFILE,  # of the kernel: another process may give some back
    errno.ENOTCONN, errno.ECONNRESET, errno.ECONNABORTED,  # of a mount in user space
    errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH,
    getattr(errno, "EREMOTEIO", errno.EIO),
})  # fmt: skip

T = TypeVar("T")


def patiently_local(what: str, act: Callable[[], T]) -> T:
    """`act()` on local files, again where its failure may pass. `what` is the path, for messages.

    Raises `act`'s own OSError where it is not in PASSING; StorageError where it did not pass.
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
    """`act()`, again where its failure may pass. `what` is the URL, for messages.

    Raises `act`'s own FileNotFoundError, FileExistsError and NotADirectoryError; StorageError where
    the store has failed for good.
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
    """Uneven, so that many processes do not come back all at once; by the system's generator,
    because forked workers share the state of any other."""
    time.sleep(first * 2 ** (tries - 1) * random.SystemRandom().uniform(0.5, 1.5))


def s3_code(error: BaseException) -> str | None:
    """What S3 calls an error, where s3fs has it from there."""
    response = getattr(error.__cause__, "response", None) or {}
    code: str | None = response.get("Error", {}).get("Code")
    return code


def one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200]
    if not text and isinstance(error, TimeoutError):
        text = "no answer in time"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _require_passing(what: str, error: Exception) -> None:
    """Raises where trying again cannot help."""
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
        raise error  # a mistake in a program, not in the network


def _is_denied(error: Exception) -> bool:
    """Not allowed, or without credentials: drivers have classes of their own for the latter."""
    named = re.search("Credential|Token|Profile|Unauthorized", type(error).__name__)
    return isinstance(error, PermissionError) or named is not None


def _is_refused(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _REFUSED and s3_code(error) not in _GARBLED
    known = isinstance(error, (ValueError, NotImplementedError))
    return known or type(error).__name__ == "ParamValidationError"
