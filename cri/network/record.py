"""The CNI result inside a sandbox record, in the JSON form that containerd's CRI plugin reads and writes. Pure.

containerd keeps only part of a result; what DEL needs beyond that stands under a key of our own, which its decoder
passes over. So either server can stop the other's pods.
"""

from __future__ import annotations

from cri.network.documents import JsonObject
from cri.network.result import AttachmentResult


def to_record(result: AttachmentResult) -> JsonObject:
    """The value of `CNIResult` in the sandbox record."""
    raise NotImplementedError


def from_record(record: JsonObject) -> AttachmentResult:
    """Read `CNIResult` as this server or containerd wrote it. Raises ValueError if it is neither's."""
    raise NotImplementedError
