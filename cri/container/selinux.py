"""The SELinux labels of pods and containers, and which category pairs are taken.

Each pod gets a pair of categories of its own, which its containers share and which keeps it from other pods. Which
pairs are taken follows from the records of the sandboxes. Where SELinux is off, all labels are empty and nothing is
relabelled.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from cri.concurrency.threads import finished_in_thread
from cri.errors import InvalidArgument
from cri.linux.selinux import relabel
from cri.oci.selinux import (
    PolicyContexts,
    SelinuxLabels,
    check_options,
    compose,
    for_vm,
    free_level,
    inherited,
    reserved_level,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from api.wire import criv1
    from cri.container.handlers import Handler
    from cri.state.sandbox import Sandbox

VM_RUNTIMES = ("kata",)
"""Parts of the names of runtimes whose containers are virtual machines."""


class Selinux:
    """Labels for this node's pods."""

    def __init__(self, policy: PolicyContexts | None = None, category_range: int = 1024) -> None:
        """`policy` None means that SELinux is off; `category_range` bounds the categories handed out."""
        self._policy = policy
        self._category_range = category_range

    def sandbox_labels(
        self, config: criv1.PodSandboxConfig, handler: Handler, sandboxes: Iterable[Sandbox]
    ) -> SelinuxLabels:
        """Labels for a new pod, with categories that none of the `sandboxes` has.

        Raises InvalidArgument for malformed options, ResourceExhausted when no categories are left.
        """
        options = config.linux.security_context.selinux_options
        check_options(options)
        if self._policy is None:
            return SelinuxLabels()
        labels = [sandbox.record.process_label for sandbox in sandboxes]
        taken = {level for label in labels if (level := reserved_level(label))}
        level = free_level(secrets.randbits(32), taken, self._category_range)
        return self._of_runtime(compose(options, self._policy, level), handler)

    def container_labels(
        self, config: criv1.ContainerConfig, handler: Handler, sandbox_label: str
    ) -> SelinuxLabels:
        """Labels for a container: its own options, else those of its pod. Raises InvalidArgument."""
        context = config.linux.security_context
        check_options(context.selinux_options)
        if self._policy is None:
            return SelinuxLabels()
        if context.HasField("selinux_options"):
            level = reserved_level(sandbox_label) or ""
            return self._of_runtime(compose(context.selinux_options, self._policy, level), handler)
        if not sandbox_label:
            return SelinuxLabels()
        return self._of_runtime(inherited(sandbox_label, self._policy), handler)

    def _of_runtime(self, labels: SelinuxLabels, handler: Handler) -> SelinuxLabels:
        if self._policy is None or not any(part in handler.runtime_type for part in VM_RUNTIMES):
            return labels
        return SelinuxLabels(for_vm(labels.process, self._policy), labels.mount)


async def relabel_all(paths: Iterable[Path], labels: SelinuxLabels) -> None:
    """Give the containers' file label to what is at `paths`. Raises InvalidArgument where that cannot be."""
    if not labels.mount:
        return
    for path in paths:
        try:
            if await asyncio.to_thread(path.exists):
                await finished_in_thread(relabel, path, labels.mount)
        except OSError as error:
            raise InvalidArgument(f"config.mounts.selinux_relabel: {path}: {error}") from error
