"""Kernel parameters of a pod: only those that belong to a namespace which the pod owns.

Anything else would change the host, so runtimes refuse it when the sandbox starts; here it is refused with
the reason at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.wire import criv1
from cri.oci.namespaces import user_mappings
from cri.oci.refusals import bad_value, check_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cri.oci.host import HostFacts
    from cri.oci.settings import OciSettings

_FIELD = "config.linux.sysctls"

_IPC = frozenset({"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem"})
_IPC_PREFIXES = ("kernel.shm", "fs.mqueue.")
_UTS = frozenset({"kernel.domainname"})

UNPRIVILEGED_PORTS = "net.ipv4.ip_unprivileged_port_start"
UNPRIVILEGED_PING = "net.ipv4.ping_group_range"


def sandbox_sysctls(config: criv1.PodSandboxConfig, host: HostFacts, settings: OciSettings) -> dict[str, str]:
    """The request's parameters and, for a pod with its own network, the configured conveniences.

    Raises InvalidArgument for a parameter of a namespace that the pod shares with the host, or of none.
    """
    options = config.linux.security_context.namespace_options
    own_network = options.network != criv1.NODE
    own = {"network": own_network, "ipc": options.ipc != criv1.NODE, "uts": own_network}
    sysctls = {}
    for name, value in config.linux.sysctls.items():
        check_text(_FIELD, name)
        check_text(f"{_FIELD}[{name}]", value)
        dotted = _dotted(name)
        namespace = _namespace_of(dotted)
        if namespace is None:
            raise bad_value(
                _FIELD,
                name,
                "a namespaced one (net.*, fs.mqueue.*, kernel.shm*, kernel.msg*, kernel.sem)",
            )
        if not own[namespace]:
            raise bad_value(_FIELD, name, f"left out, since the pod shares the host's {namespace} namespace")
        sysctls[dotted] = value
    if own_network:
        for name, value in _conveniences(options, host, settings):
            sysctls.setdefault(name, value)
    return sysctls


def _conveniences(
    options: criv1.NamespaceOption, host: HostFacts, settings: OciSettings
) -> Iterable[tuple[str, str]]:
    if settings.enable_unprivileged_ports:
        yield UNPRIVILEGED_PORTS, "0"
    # The range must be mapped in the user namespace, and the whole range never is in one that is not initial.
    mapped = user_mappings(options) is None and not host.in_user_namespace
    if settings.enable_unprivileged_icmp and mapped:
        yield UNPRIVILEGED_PING, "0 2147483647"


def _dotted(name: str) -> str:
    """The name with dots between parts; with slashes, which sysctl(8) also takes, dots stay in them."""
    first_separator = next((character for character in name if character in "./"), ".")
    return name.translate(str.maketrans("./", "/.")) if first_separator == "/" else name


def _namespace_of(name: str) -> str | None:
    if name.startswith("net."):
        return "network"
    if name in _IPC or name.startswith(_IPC_PREFIXES):
        return "ipc"
    return "uts" if name in _UTS else None
