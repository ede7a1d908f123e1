from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from cri.network.attachment import Attachment
from cri.network.cache import AttachmentCache

if TYPE_CHECKING:
    from pathlib import Path

ATTACHMENT = Attachment("pods", "abc", "eth0", b'{"name":"pods"}', arguments=(("A", "b"),))


def test_files_are_where_libcni_looks_and_in_its_form(tmp_path: Path) -> None:
    AttachmentCache(tmp_path).store([ATTACHMENT])
    path = tmp_path / "results" / "pods-abc-eth0"
    assert json.loads(path.read_text()) == {
        "kind": "cniCacheV1",
        "containerId": "abc",
        "config": "eyJuYW1lIjoicG9kcyJ9",
        "ifName": "eth0",
        "networkName": "pods",
        "cniArgs": [["A", "b"]],
    }
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_sandboxs_attachments_come_in_order(tmp_path: Path) -> None:
    cache = AttachmentCache(tmp_path)
    stored = [replace(ATTACHMENT, interface=f"eth{index}", network=f"n{index % 3}") for index in range(12)]
    cache.store(stored)
    cache.store([replace(ATTACHMENT, container_id="abcd"), replace(ATTACHMENT, container_id="x-abc-y")])
    assert [item.interface for item in cache.of_sandbox("abc")] == [f"eth{index}" for index in range(12)]
    assert len(cache.all()) == 14
    cache.remove(stored[0])
    cache.remove(stored[0])
    assert len(cache.of_sandbox("abc")) == 11


def test_damaged_and_foreign_files_are_passed_over(tmp_path: Path) -> None:
    cache = AttachmentCache(tmp_path)
    assert cache.of_sandbox("abc") == (), "no directory yet"
    cache.store([ATTACHMENT])
    results = tmp_path / "results"
    (results / "broken-abc-eth0").write_text("{")
    (results / "result-abc-eth0").write_text('{"cniVersion": "0.3.1"}')
    (results / "moved-abc-eth0").write_bytes((results / "pods-abc-eth0").read_bytes())
    (results / "directory-abc-eth0").mkdir()
    assert cache.of_sandbox("abc") == (ATTACHMENT,)
