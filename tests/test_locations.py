"""Where a cache may be: folders, URLs, drivers, endpoints."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import InputError
from shared.files.local import LocalFiles
from shared.files.objects import open_files
from tests.fault_proxy import FaultProxy
from tests.s3 import environment, new_url, stored


def test_locations(tmp_path: Path) -> None:
    for location in (tmp_path, str(tmp_path), f"file://{tmp_path}", f"local://{tmp_path}/"):
        files = open_files(location, "val")
        assert isinstance(files, LocalFiles) and files.root == tmp_path / "val"
    assert open_files("s3://bucket/a/b/", "val").root == "s3://bucket/a/b/val"
    assert open_files(Path("s3:/bucket"), "val").root == Path("s3:/bucket/val")
    for location in ("s3://", "s3:///"):
        with pytest.raises(InputError, match=r"--cache must name a bucket, like .*: got s3://"):
            open_files(location, "val")
    with pytest.raises(
        InputError,
        match=r"^there is no fsspec driver for tape://x: Protocol not kn.*: tape;",
    ):
        open_files("tape://x", "val")


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InputError) as caught:
        open_files("s3://bucket/cache", "train")
    assert str(caught.value) == (
        "the fsspec driver for s3:// is not installed (Install s3fs to access S3): pip install s3fs"
    )


@pytest.mark.parametrize("endpoint", ["AWS_ENDPOINT_URL_S3", "FSSPEC_S3"])
def test_ways_to_name_the_endpoint(proxy: FaultProxy, server: int, endpoint: str) -> None:
    """A process of its own, because fsspec reads its configuration when it is imported."""
    url = new_url()
    variables = environment("") | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    if endpoint == "FSSPEC_S3":
        variables["FSSPEC_S3"] = json.dumps(
            {"endpoint_url": proxy.url, "config_kwargs": {"s3": {"addressing_style": "path"}}}
        )
    else:
        variables[endpoint] = proxy.url
    code = f"from shared.files.objects import *; open_files({url!r}, 't').write('x', b'ok')"
    subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=True,
        env={**os.environ, **variables},
        cwd=Path(__file__).parents[1],
    )
    assert stored(server, url) == {"t/x": b"ok"}
    assert len(proxy.requests) == 1
