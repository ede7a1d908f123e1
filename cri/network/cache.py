"""libcni's cache of attachments on disk. Blocking; called in threads.

The files are where libcni-based programs (containerd, cnitool) keep theirs, under the same names and in the
same form, so each can undo another's ADD. They are written before the first plugin runs: after a crash they
are what says that there may be something to DEL. A file that cannot be read is reported and passed over.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import structlog

from cri.network.attachment import Attachment, AttachmentError, from_document, to_document
from cri.network.documents import JsonError, decode_object, encode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

log = structlog.get_logger(__name__)


class AttachmentCache:
    """The attachments below one cache directory."""

    def __init__(self, cache_dir: Path) -> None:
        self._results = cache_dir / "results"

    def store(self, attachments: Sequence[Attachment]) -> None:
        """Write or replace the files of these attachments. Raises OSError."""
        self._results.mkdir(mode=0o700, parents=True, exist_ok=True)
        for attachment in attachments:
            path = self._path(attachment)
            unfinished = path.with_name(f".{path.name}.new")
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(encode(to_document(attachment)))
            unfinished.replace(path)

    def remove(self, attachment: Attachment) -> None:
        """Delete the file of this attachment, if there is one. Raises OSError."""
        self._path(attachment).unlink(missing_ok=True)

    def of_sandbox(self, sandbox_id: str) -> tuple[Attachment, ...]:
        """The attachments of one sandbox, in the order of their interfaces."""
        found = self._read(name for name in self._names() if f"-{sandbox_id}-" in name)
        return tuple(
            sorted((item for item in found if item.container_id == sandbox_id), key=_interface_order)
        )

    def all(self) -> tuple[Attachment, ...]:
        """Every attachment that is cached, other programs' included."""
        return tuple(self._read(iter(self._names())))

    def _path(self, attachment: Attachment) -> Path:
        return self._results / f"{attachment.network}-{attachment.container_id}-{attachment.interface}"

    def _names(self) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self._results) if not name.startswith("."))
        except FileNotFoundError:
            return []

    def _read(self, names: Iterator[str]) -> list[Attachment]:
        found: list[Attachment] = []
        for name in names:
            path = self._results / name
            try:
                attachment = from_document(decode_object(path.read_bytes()))
            except FileNotFoundError:
                continue  # deleted meanwhile
            except (OSError, JsonError, AttachmentError) as error:
                log.warning("cached CNI attachment is not readable", file=str(path), error=str(error))
                continue
            if self._path(attachment) == path:
                found.append(attachment)
        return found


def _interface_order(attachment: Attachment) -> tuple[int, str]:
    return len(attachment.interface), attachment.interface
