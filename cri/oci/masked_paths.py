"""Paths of /proc and /sys that a container cannot read, or cannot write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.oci.refusals import bad_value, check_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from api.wire import criv1
    from cri.oci.settings import OciSettings
    from cri.oci.spec import Linux

_FIELD = "config.linux.security_context"


def apply_masked_paths(
    linux: Linux, context: criv1.LinuxContainerSecurityContext, settings: OciSettings
) -> None:
    """Put the request's masked and read-only paths in place of those that `linux` starts with.

    The kubelet always says which (procMount Default or Unmasked), so empty lists mean none. A privileged
    container has none. With `disable_proc_mount` the starting ones stay.
    """
    if context.privileged:
        linux.pop("maskedPaths", None)
        linux.pop("readonlyPaths", None)
    elif not settings.disable_proc_mount:
        linux["maskedPaths"] = _absolute("masked_paths", context.masked_paths)
        linux["readonlyPaths"] = _absolute("readonly_paths", context.readonly_paths)


def _absolute(name: str, paths: Iterable[str]) -> list[str]:
    checked = []
    for path in paths:
        check_text(f"{_FIELD}.{name}", path)
        if not path.startswith("/"):
            raise bad_value(f"{_FIELD}.{name}", path, "an absolute path")
        checked.append(path)
    return checked
