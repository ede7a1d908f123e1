"""Verification: configured programs that may veto an image before anything of it is fetched.

The interface is that of containerd's verifier programs, so that the same ones work: every executable of one
directory, by name, is called as `PROGRAM -name REFERENCE -digest DIGEST -stdin-media-type TYPE` with the image's
descriptor as JSON on its standard input. Status 0 is consent, anything else a veto whose reason is what it printed.
What cannot be asked has not consented: a program that fails to run or takes too long is a veto as well.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from cri.errors import PermissionDenied
from cri.linux.process import execute

if TYPE_CHECKING:
    from api.containerd import Descriptor

log = structlog.get_logger(__name__)

SIGNATURE_VALIDATION_FAILED: Final = "SignatureValidationFailed"
"""In front of a message, tells the kubelet that policy refuses the image (cri-api errors)."""
DESCRIPTOR_TYPE: Final = "application/vnd.oci.descriptor.v1+json"
_OUTPUT_BYTES = 16 << 10


class Verifier:
    """Asks the programs of one directory."""

    def __init__(self, bin_dir: str, *, timeout: float, most: int) -> None:
        """`bin_dir` "" is no verification; each program has `timeout` seconds; `most` below 0 asks all."""
        self._bin_dir = bin_dir
        self._timeout = timeout
        self._most = most

    async def verify(self, name: str, descriptor: Descriptor) -> None:
        """Return if every program consents to the image `name` being `descriptor`.

        Raises PermissionDenied, its message beginning with SignatureValidationFailed and naming program and reason.
        """
        if not self._bin_dir:
            return
        for program in await self._programs(name):
            await self._ask(program, name, descriptor)

    async def _programs(self, name: str) -> list[str]:
        try:
            programs = sorted(await asyncio.to_thread(os.listdir, self._bin_dir))
        except OSError as error:
            raise _veto(
                name, f"verifier directory {self._bin_dir} cannot be read: {error.strerror}"
            ) from error
        if 0 <= self._most < len(programs):
            log.warning("image verifiers are skipped", bin_dir=self._bin_dir, skipped=programs[self._most :])
            return programs[: self._most]
        return programs

    async def _ask(self, program: str, name: str, descriptor: Descriptor) -> None:
        path = os.path.join(self._bin_dir, program)
        document = {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}
        argv = [path, "-name", name, "-digest", descriptor.digest, "-stdin-media-type", DESCRIPTOR_TYPE]
        try:
            finished = await execute(
                argv,
                stdin=msgspec.json.encode(document),
                timeout_seconds=self._timeout,
                output_limit=_OUTPUT_BYTES,
            )
        except (OSError, TimeoutError) as error:
            raise _veto(name, f"verifier {program} gave no answer: {error}") from error
        words = finished.stdout.decode(errors="replace").strip()
        if finished.status:
            raise _veto(
                name,
                f"verifier {program} rejects it (status {finished.status}): {words or 'no reason given'}",
            )
        log.debug("image verified", image=name, digest=descriptor.digest, verifier=program, answer=words)


def _veto(name: str, reason: str) -> PermissionDenied:
    return PermissionDenied(f"{SIGNATURE_VALIDATION_FAILED}: {name}: {reason}")
