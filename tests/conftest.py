"""What tests of several folders use."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from pyarrow import fs


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty place in a bucket of a server on this machine that speaks S3."""
    moto = pytest.importorskip("moto.server")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    where = "scheme=http&region=us-east-1&endpoint_override={}:{}".format(*server.get_host_and_port())
    fs.FileSystem.from_uri(f"s3://linked/?{where}&allow_bucket_creation=true")[0].create_dir("linked")
    yield f"s3://linked/{uuid4().hex}?{where}"  # one memory for all servers of a process
    server.stop()
