"""SELinux contexts of processes and mounts: composing, checking and inheriting labels. No allocation state here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SelinuxLabels:
    """The label of a container's process and of its files; both empty where SELinux is off."""

    process: str = ""
    mount: str = ""
