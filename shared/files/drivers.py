"""Creates fsspec's drivers for object stores and servers, and sets their time limits."""

import os
from typing import Any

import fsspec
from fsspec.registry import known_implementations
from fsspec.spec import AbstractFileSystem

from shared.errors import InputError

CONNECT_SECONDS = 5
SILENCE_SECONDS = 15  # without a byte from the store; most answers take less than one second
SLOWEST = 500_000  # bytes per second: a try may take SILENCE_SECONDS + its bytes / SLOWEST

# (process id, bucket) -> driver. A forked child needs its own, because s3fs raises or hangs after a
# fork. Drivers are never removed: freeing the parent's in the child would do the same, as it closes
# connections that the two share.
_drivers: dict[tuple[int, str], AbstractFileSystem] = {}


def require_driver(url: str) -> None:
    """Raises InputError, which says what to install, if `url` has no fsspec driver here."""
    protocol = url.partition("://")[0]
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        # fsspec's own drivers, such as http://, need packages that only the error names.
        package = known_implementations[protocol]["class"].split(".")[0]
        raise InputError(
            f"the fsspec driver for {protocol}:// is not installed ({error}): pip install "
            f"{'what it names' if package == 'fsspec' else package}"
        ) from error
    except ValueError as error:
        raise InputError(
            f"there is no fsspec driver for {url}: {error}; give a folder, or a URL that fsspec "
            f"knows"
        ) from error


def driver(url: str) -> AbstractFileSystem:
    """This process's driver for the bucket or server of `url`; every call returns the same."""
    bucket = "/".join(url.split("/")[:3])
    key = (os.getpid(), bucket)
    if key not in _drivers:
        is_s3 = bucket.startswith(("s3://", "s3a://"))
        options = {"skip_instance_cache": True, "use_listings_cache": False}
        store, _ = fsspec.url_to_fs(bucket, **options, **(_s3_options() if is_s3 else {}))
        if is_s3:
            store.retries = 1  # s3fs counts tries: 1 means no retry
        _drivers[key] = store
    return _drivers[key]


def _s3_options() -> dict[str, Any]:
    """Options for s3fs. The user's own configuration of botocore takes precedence."""
    ours = {
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": SILENCE_SECONDS,
        "retries": {"mode": "standard", "total_max_attempts": 1},
    }
    theirs = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
    # One stream per object: with more, s3fs asks for the size again before it reads.
    return {"config_kwargs": {**ours, **theirs}, "max_concurrency": 1}


def time_limit(store: AbstractFileSystem, num_bytes: int = 0) -> dict[str, float]:
    """The timeout argument for a request that transfers `num_bytes`.

    Empty for a driver that is not asynchronous, because its requests cannot be interrupted.
    """
    return {"timeout": SILENCE_SECONDS + num_bytes / SLOWEST} if store.async_impl else {}
