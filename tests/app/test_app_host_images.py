"""Images from the host's busybox."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import tarfile
from pathlib import Path

import pytest

from cri.app.host_images import (
    busybox_image,
    host_architecture,
    host_busybox,
    is_static,
    pause_image,
)
from cri.errors import FailedPrecondition


def test_busybox_has_its_applets_as_hard_links() -> None:
    image = busybox_image()
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(image.layers[0].blob.content))) as archive:
        assert archive.getmember("bin/busybox").size == host_busybox().stat().st_size
        for applet in ("sh", "httpd", "wget", "ps"):
            assert archive.getmember(f"bin/{applet}").linkname == "bin/busybox"
        assert archive.getmember("tmp").mode == 0o1777


def test_a_label_makes_a_pause_image_of_another_id() -> None:
    assert pause_image().config.digest != pause_image("1").config.digest
    assert json.loads(pause_image("1").config.content)["architecture"] == host_architecture()


def test_a_program_that_needs_a_loader_is_not_static() -> None:
    assert not is_static(Path(sys.executable).resolve().read_bytes())
    assert not is_static(b"#!/bin/sh\n")
    assert is_static(host_busybox().read_bytes())


def test_without_a_static_busybox_the_package_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "busybox").write_text("#!/bin/sh\n")
    (tmp_path / "busybox").chmod(0o755)
    monkeypatch.setitem(os.environ, "PATH", str(tmp_path))
    with pytest.raises(FailedPrecondition, match="busybox-static"):
        host_busybox()
