"""Readings as CRI's stats messages. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.wire import criv1

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cri.stats.usage import InterfaceUse, LayerUse, NetworkUse, Pressure, Stalls, Usage


def container_stats(
    attributes: criv1.ContainerAttributes,
    usage: Usage,
    nano_cores: int | None,
    layer: LayerUse | None,
    mountpoint: str,
) -> criv1.ContainerStats:
    """What ContainerStats tells of a running container; `mountpoint` is where its writable layer lies."""
    return criv1.ContainerStats(
        attributes=attributes,
        cpu=cpu_usage(usage, nano_cores),
        memory=memory_usage(usage),
        writable_layer=None if layer is None else layer_usage(layer, mountpoint),
        swap=swap_usage(usage),
        io=io_usage(usage),
    )


def idle_container_stats(
    attributes: criv1.ContainerAttributes, layer: LayerUse | None, mountpoint: str
) -> criv1.ContainerStats:
    """The same of a container that does not run: it takes disk only."""
    return criv1.ContainerStats(
        attributes=attributes, writable_layer=None if layer is None else layer_usage(layer, mountpoint)
    )


def pod_stats(
    attributes: criv1.PodSandboxAttributes,
    usage: Usage,
    nano_cores: int | None,
    network: NetworkUse | None,
    threads: int,
    containers: Sequence[criv1.ContainerStats],
) -> criv1.PodSandboxStats:
    """What PodSandboxStats tells; `network` is None with the host's."""
    return criv1.PodSandboxStats(
        attributes=attributes,
        linux=criv1.LinuxPodSandboxStats(
            cpu=cpu_usage(usage, nano_cores),
            memory=memory_usage(usage),
            network=None if network is None else network_usage(network),
            process=criv1.ProcessUsage(timestamp=usage.at, process_count=_count(threads)),
            containers=containers,
            io=io_usage(usage),
        ),
    )


def cpu_usage(usage: Usage, nano_cores: int | None) -> criv1.CpuUsage:
    """Processor time, and the rate of late where two readings have been made."""
    return criv1.CpuUsage(
        timestamp=usage.at,
        usage_core_nano_seconds=_count(usage.cpu),
        usage_nano_cores=_count(nano_cores),
        psi=_psi(usage.cpu_stalls),
    )


def memory_usage(usage: Usage) -> criv1.MemoryUsage:
    """Memory by the kubelet's definitions; available bytes are unset without a limit."""
    memory = usage.memory
    return criv1.MemoryUsage(
        timestamp=usage.at,
        working_set_bytes=_count(memory.working_set),
        available_bytes=_count(memory.available),
        usage_bytes=_count(memory.usage),
        rss_bytes=_count(memory.rss),
        page_faults=_count(memory.page_faults),
        major_page_faults=_count(memory.major_page_faults),
        psi=_psi(usage.memory_stalls),
    )


def swap_usage(usage: Usage) -> criv1.SwapUsage | None:
    """Swap, None where the kernel does not count it by cgroup."""
    if usage.memory.swap is None:
        return None
    return criv1.SwapUsage(
        timestamp=usage.at,
        swap_available_bytes=_count(usage.memory.swap_available),
        swap_usage_bytes=_count(usage.memory.swap),
    )


def io_usage(usage: Usage) -> criv1.IoUsage | None:
    """Waiting for disks, None where pressure is not measured."""
    if usage.io_stalls is None:
        return None
    return criv1.IoUsage(timestamp=usage.at, psi=_psi(usage.io_stalls))


def layer_usage(layer: LayerUse, mountpoint: str) -> criv1.FilesystemUsage:
    """The writable layer; `mountpoint` says on which file system."""
    return criv1.FilesystemUsage(
        timestamp=layer.at,
        fs_id=criv1.FilesystemIdentifier(mountpoint=mountpoint),
        used_bytes=_count(layer.used_bytes),
        inodes_used=_count(layer.inodes),
    )


def network_usage(network: NetworkUse) -> criv1.NetworkUsage:
    """The default interface apart, the others in the list (CRI: not once more in there)."""
    messages = {interface.name: _interface_usage(interface) for interface in network.interfaces}
    return criv1.NetworkUsage(
        timestamp=network.at,
        default_interface=messages.pop(network.default, None),
        interfaces=messages.values(),
    )


def _interface_usage(interface: InterfaceUse) -> criv1.NetworkInterfaceUsage:
    return criv1.NetworkInterfaceUsage(
        name=interface.name,
        rx_bytes=_count(interface.rx_bytes),
        rx_errors=_count(interface.rx_errors),
        tx_bytes=_count(interface.tx_bytes),
        tx_errors=_count(interface.tx_errors),
    )


def _psi(stalls: Stalls | None) -> criv1.PsiStats | None:
    if stalls is None:
        return None
    return criv1.PsiStats(
        Some=_psi_data(stalls.some), Full=None if stalls.full is None else _psi_data(stalls.full)
    )


def _psi_data(pressure: Pressure) -> criv1.PsiData:
    return criv1.PsiData(
        Total=pressure.total, Avg10=pressure.avg10, Avg60=pressure.avg60, Avg300=pressure.avg300
    )


def _count(value: int | None) -> criv1.UInt64Value | None:
    return None if value is None else criv1.UInt64Value(value=value)
