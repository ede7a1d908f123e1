"""From the configuration to the settings of each package. Pure: the only place that knows both."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from cri.container.handlers import SandboxMode
from cri.container.settings import ContainerSettings
from cri.image.settings import (
    ImageSettings,
    RegistryAuth,
    RegistryConfig,
    RegistryMirror,
    RegistrySettings,
    RegistryTls,
)
from cri.network.settings import NetworkSettings
from cri.oci.settings import OciSettings
from cri.sandbox.settings import SandboxSettings
from cri.services.settings import ServiceSettings
from cri.state.paths import NodePaths
from cri.stats.settings import StatsSettings
from cri.stream.settings import CertificateFiles, StreamSettings

if TYPE_CHECKING:
    from cri.app.config.configuration import Configuration
    from cri.app.config.schema import RegistryHostSection


def node_paths(configuration: Configuration) -> NodePaths:
    """Where files are."""
    return NodePaths(
        root=Path(configuration.root),
        state=Path(configuration.state),
        netns_under_state=configuration.netns_mounts_under_state_dir,
    )


def sandbox_settings(configuration: Configuration) -> SandboxSettings:
    """Settings of sandbox operations."""
    return SandboxSettings(configuration.sandbox_image, SandboxMode(configuration.sandbox_mode))


def container_settings(configuration: Configuration) -> ContainerSettings:
    """Settings of container operations."""
    return ContainerSettings(
        max_container_log_line_size=configuration.max_container_log_line_size,
        container_log_rate_limit=configuration.container_log_rate_limit,
        container_log_rotate_size=configuration.container_log_rotate_size,
        drain_exec_sync_io_timeout=configuration.drain_exec_sync_io_timeout,
        unclaimed_result_timeout=configuration.unclaimed_result_timeout,
    )


def stream_settings(configuration: Configuration) -> StreamSettings:
    """Where and how streams are served."""
    pair = configuration.x509_key_pair_streaming
    return StreamSettings(
        stream_server_address=configuration.stream_server_address,
        stream_server_port=int(configuration.stream_server_port),
        stream_idle_timeout=configuration.stream_idle_timeout,
        enable_tls_streaming=configuration.enable_tls_streaming,
        x509_key_pair_streaming=CertificateFiles(Path(pair.tls_cert_file), Path(pair.tls_key_file))
        if pair.tls_cert_file
        else None,
    )


def network_settings(configuration: Configuration) -> NetworkSettings:
    """The node's pod network; handlers with a directory of their own derive theirs from it."""
    cni = configuration.cni
    directories = cni.bin_dir.split(":") if cni.bin_dir else cni.bin_dirs
    return NetworkSettings(
        bin_dirs=tuple(map(Path, directories)),
        conf_dir=Path(cni.conf_dir),
        max_conf_num=cni.max_conf_num,
        conf_template=Path(cni.conf_template) if cni.conf_template else None,
        ip_pref=cni.ip_pref or "ipv4",
        setup_serially=cni.setup_serially,
        plugin_timeout_seconds=cni.plugin_timeout,
        cache_dir=Path(cni.cache_dir),
    )


def oci_settings(configuration: Configuration) -> OciSettings:
    """What shapes specs."""
    return OciSettings(
        enable_selinux=configuration.enable_selinux,
        selinux_category_range=configuration.selinux_category_range,
        disable_apparmor=configuration.disable_apparmor,
        restrict_oom_score_adj=configuration.restrict_oom_score_adj,
        unset_seccomp_profile=configuration.unset_seccomp_profile,
        tolerate_missing_hugetlb_controller=configuration.tolerate_missing_hugetlb_controller,
        disable_hugetlb_controller=configuration.disable_hugetlb_controller,
        enable_unprivileged_ports=configuration.enable_unprivileged_ports,
        enable_unprivileged_icmp=configuration.enable_unprivileged_icmp,
        device_ownership_from_security_context=configuration.device_ownership_from_security_context,
        ignore_image_defined_volumes=configuration.ignore_image_defined_volumes,
        disable_proc_mount=configuration.disable_proc_mount,
        enable_cdi=configuration.enable_cdi,
        cdi_spec_dirs=configuration.cdi_spec_dirs,
        default_cgroup_parent=configuration.default_cgroup_parent,
    )


def service_settings(configuration: Configuration) -> ServiceSettings:
    """Limits of the gRPC server."""
    section = configuration.grpc
    return ServiceSettings(
        max_concurrent_rpcs=section.max_concurrent_rpcs,
        max_recv_message_size=section.max_recv_message_size,
        max_send_message_size=section.max_send_message_size,
    )


def stats_settings(configuration: Configuration) -> StatsSettings:
    """How often is measured."""
    return StatsSettings(stats_collect_period=configuration.stats_collect_period)


def image_settings(configuration: Configuration) -> ImageSettings:
    """How images are pulled and kept."""
    verifier = configuration.image_verifier
    return ImageSettings(
        snapshotter=configuration.containerd.snapshotter,
        max_concurrent_downloads=configuration.max_concurrent_downloads,
        node_concurrent_downloads=configuration.node_concurrent_downloads,
        image_pull_progress_timeout=configuration.image_pull_progress_timeout,
        image_pull_engine=configuration.image_pull_engine,
        sandbox_image=configuration.sandbox_image,
        pinned_images=configuration.pinned_images,
        platforms=tuple(
            sorted({each.platform for each in configuration.containerd.runtimes.values() if each.platform})
        ),
        discard_unpacked_layers=configuration.containerd.discard_unpacked_layers,
        disable_snapshot_annotations=configuration.containerd.disable_snapshot_annotations,
        stats_collect_period=configuration.stats_collect_period,
        verifier_bin_dir=verifier.bin_dir,
        verifier_timeout=verifier.per_verifier_timeout,
        verifier_max=verifier.max_verifiers,
    )


def registry_settings(configuration: Configuration) -> RegistrySettings:
    """Where images come from. Old-style mirrors rule out the default `config_path`."""
    registry = configuration.registry
    return RegistrySettings(
        config_path="" if registry.mirrors else registry.config_path,
        configs=MappingProxyType({host: _registry_config(each) for host, each in registry.configs.items()}),
        mirrors=MappingProxyType(
            {host: RegistryMirror(endpoint=each.endpoint) for host, each in registry.mirrors.items()}
        ),
        headers=MappingProxyType(dict(registry.headers)),
    )


def _registry_config(section: RegistryHostSection) -> RegistryConfig:
    return RegistryConfig(
        auth=None if section.auth is None else RegistryAuth(**asdict(section.auth)),
        tls=None if section.tls is None else RegistryTls(**asdict(section.tls)),
    )
