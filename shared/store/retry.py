"""Patience with a store across a network: what may pass is tried again, what will not is one line.

Tried again, after growing waits: dropped connections, 5xx, throttling, silence, short bodies, and
whatever else is not known to be final. At once and for good: no permission, no credentials, a
request that the store refuses. Not found, and already there, are answers and no failures.
"""

import errno
import random
import re
import time
from collections.abc import Callable
from typing import TypeVar

from shared.errors import StorageError

TRIES = 6
FIRST_WAIT = 0.5  # seconds; doubles each time: 15 in all, longer than a burst of throttling
TOTAL_SECONDS = 60  # no try starts after this, but the second

_REFUSED = {errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.ENAMETOOLONG, errno.EMSGSIZE}
_REFUSED |= {getattr(errno, "EREMCHG", errno.EINVAL)}  # redirected: the bucket is elsewhere
_GARBLED = {"BadDigest", "IncompleteBody"}  # refused because it was damaged on its way
_ANSWERS = (FileNotFoundError, FileExistsError, NotADirectoryError)

T = TypeVar("T")


def patiently(what: str, act: Callable[[], T]) -> T:
    """`act()`, again where its failure may pass. `what` is the URL, for messages.

    Raises `act`'s own FileNotFoundError, FileExistsError and NotADirectoryError; StorageError where
    the store has failed for good.
    """
    started = time.monotonic()
    for tries in range(1, TRIES + 1):
        try:
            return act()
        except _ANSWERS:
            raise
        except Exception as error:
            _require_passing(what, error)
            seconds = time.monotonic() - started
            if tries == TRIES or (tries > 1 and seconds > TOTAL_SECONDS):
                raise StorageError(
                    f"the store must answer: {what} failed {tries} times in {seconds:.0f} s, last "
                    f"with {one_line(error)}; nothing that was finished is lost: check network, "
                    f"endpoint and store, then start the same command again"
                ) from error
        # Uneven, so that many processes do not come back all at once; by the system's generator,
        # because forked workers share the state of any other.
        time.sleep(FIRST_WAIT * 2 ** (tries - 1) * random.SystemRandom().uniform(0.5, 1.5))
    raise AssertionError("the last try returns or raises")


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
            f"the credentials must allow listing, reading and writing the cache: {what}: "
            f"{one_line(error)}; for S3 set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
            f"AWS_SECRET_ACCESS_KEY, to some that do"
        ) from error
    if _is_refused(error):
        raise StorageError(
            f"the store must accept the request: {what}: {one_line(error)}; check the bucket's "
            f"name, its region (AWS_DEFAULT_REGION) and the endpoint (AWS_ENDPOINT_URL)"
        ) from error
    if type(error).__module__ == "builtins" and not isinstance(error, (OSError, EOFError)):
        raise error  # a mistake in a program, not in the network


def _is_denied(error: Exception) -> bool:
    """Not allowed, or nothing to show for it: drivers have classes of their own for the latter."""
    named = re.search("Credential|Token|Profile|Unauthorized", type(error).__name__)
    return isinstance(error, PermissionError) or named is not None


def _is_refused(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _REFUSED and s3_code(error) not in _GARBLED
    known = isinstance(error, (ValueError, NotImplementedError))
    return known or type(error).__name__ == "ParamValidationError"
