"""The settings of each package, from the configuration. Keys have one name everywhere, so equal names are copied."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

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
from cri.state.paths import NodePaths

if TYPE_CHECKING:
    from cri.app.config.configuration import Configuration
    from cri.app.config.schema import RegistryHostSection

T = TypeVar("T")


def node_paths(configuration: Configuration) -> NodePaths:
    """Where files go."""
    return NodePaths(
        Path(configuration.root),
        Path(configuration.state),
        netns_under_state=configuration.netns_mounts_under_state_dir,
    )


def container_settings(configuration: Configuration) -> ContainerSettings:
    """Settings of container operations."""
    return _copied(ContainerSettings, configuration)


def sandbox_settings(configuration: Configuration) -> SandboxSettings:
    """Settings of sandbox operations."""
    return _copied(SandboxSettings, configuration)


def oci_settings(configuration: Configuration) -> OciSettings:
    """Settings that shape specs."""
    return _copied(OciSettings, configuration)


def network_settings(configuration: Configuration) -> NetworkSettings:
    """Settings of the node's pod network."""
    cni = configuration.cni
    return _copied(
        NetworkSettings,
        cni,
        bin_dirs=(Path(cni.bin_dir),)
        if cni.bin_dir
        else tuple(Path(directory) for directory in cni.bin_dirs),
        conf_dir=Path(cni.conf_dir),
        conf_template=Path(cni.conf_template) if cni.conf_template else None,
        ip_pref=cni.ip_pref or "ipv4",
        plugin_timeout_seconds=float(cni.plugin_timeout),
        cache_dir=Path(cni.cache_dir),
    )


def image_settings(configuration: Configuration) -> ImageSettings:
    """Settings of pulling and keeping images."""
    verifier = configuration.image_verifier
    return _copied(
        ImageSettings,
        configuration,
        snapshotter=configuration.containerd.snapshotter,
        image_pull_progress_timeout=float(configuration.image_pull_progress_timeout),
        discard_unpacked_layers=configuration.containerd.discard_unpacked_layers,
        disable_snapshot_annotations=configuration.containerd.disable_snapshot_annotations,
        verifier_bin_dir=verifier.bin_dir,
        verifier_timeout=float(verifier.per_verifier_timeout),
        verifier_max=verifier.max_verifiers,
    )


def registry_settings(configuration: Configuration) -> RegistrySettings:
    """Where images come from, and with which credentials."""
    section = configuration.registry
    return RegistrySettings(
        config_path=section.config_path,
        configs={host: _registry_host(config) for host, config in section.configs.items()},
        mirrors={host: RegistryMirror(mirror.endpoint) for host, mirror in section.mirrors.items()},
        headers=section.headers,
    )


def _registry_host(section: RegistryHostSection) -> RegistryConfig:
    return RegistryConfig(
        auth=None if section.auth is None else _copied(RegistryAuth, section.auth),
        tls=None if section.tls is None else _copied(RegistryTls, section.tls),
    )


def _copied(kind: type[T], source: object, **others: Any) -> T:  # noqa: ANN401 - values of as many types as there are keys
    """A `kind` with every field that `source` has too, and `others` over them."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type] # always a dataclass
    shared = {name: getattr(source, name) for name in names if hasattr(source, name)}
    return kind(**{**shared, **others})
