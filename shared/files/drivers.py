"""fsspec's drivers for object stores and servers: one a process and bucket, with time limits."""

import os
from typing import Any

import fsspec
from fsspec.registry import known_implementations
from fsspec.spec import AbstractFileSystem

from shared.errors import InputError

CONNECT_SECONDS = 5
SILENCE_SECONDS = 15  # without a byte from the store, which mostly answers within one
SLOWEST = 500_000  # bytes a second: a try may take SILENCE_SECONDS and its bytes / SLOWEST

# One driver a process and bucket. Never dropped: after a fork s3fs raises or hangs, and so would
# what it does when it is freed, to connections that the child shares with its parent.
_drivers: dict[tuple[int, str], AbstractFileSystem] = {}


def require_driver(url: str) -> None:
    """InputError, which says what to install, where `url` has no fsspec driver here."""
    protocol = url.partition("://")[0]
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        # fsspec's own drivers, of http:// for one, need packages that only the error names.
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
    """This process's driver for the bucket or server that `url` is on; the same at every call."""
    bucket = "/".join(url.split("/")[:3])
    key = (os.getpid(), bucket)
    if key not in _drivers:
        is_s3 = bucket.startswith(("s3://", "s3a://"))
        options = {"skip_instance_cache": True, "use_listings_cache": False}
        store, _ = fsspec.url_to_fs(bucket, **options, **(_s3_options() if is_s3 else {}))
        if is_s3:
            store.retries = 1  # it means tries
        _drivers[key] = store
    return _drivers[key]


def _s3_options() -> dict[str, Any]:
    """What the user configured of botocore goes before ours."""
    ours = {
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": SILENCE_SECONDS,
        "retries": {"mode": "standard", "total_max_attempts": 1},
    }
    theirs = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
    # One stream an object; with more, s3fs asks for the size again before it reads.
    return {"config_kwargs": {**ours, **theirs}, "max_concurrency": 1}


def time_limit(store: AbstractFileSystem, num_bytes: int = 0) -> dict[str, float]:
    """Arguments of a request that moves `num_bytes`: its seconds at most.

    Empty for a driver that cannot be stopped.
    """
    return {"timeout": SILENCE_SECONDS + num_bytes / SLOWEST} if store.async_impl else {}
