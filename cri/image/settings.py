"""What an operator can set about images and registries, under the names of containerd's CRI configuration.

Values only; `cri.app` fills them from TOML. Durations are seconds. Secrets are kept out of `repr`.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - the configuration loader reads these types
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

_DEFAULT_PAUSE = "registry.k8s.io/pause:3.10"


@dataclass(frozen=True, slots=True)
class RegistryAuth:
    """`[registry.configs."HOST".auth]`: one of username and password, auth (base64 of both) or a token."""

    username: str = ""
    password: str = field(default="", repr=False)
    auth: str = field(default="", repr=False)
    identitytoken: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class RegistryTls:
    """`[registry.configs."HOST".tls]`, the old form of what hosts.toml says; paths are absolute."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    insecure_skip_verify: bool = False


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """`[registry.configs."HOST"]`: credentials and TLS of one registry host (with its port, if any)."""

    auth: RegistryAuth | None = None
    tls: RegistryTls | None = None


@dataclass(frozen=True, slots=True)
class RegistryMirror:
    """`[registry.mirrors."HOST"]`: endpoint URLs, tried in order before the registry itself; HOST may be `*`."""

    endpoint: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """`[registry]`. `config_path` is a colon-separated list of `certs.d` trees; it rules out `mirrors`."""

    config_path: str = "/etc/containerd/certs.d:/etc/docker/certs.d"
    configs: Mapping[str, RegistryConfig] = field(default_factory=lambda: MappingProxyType({}))
    mirrors: Mapping[str, RegistryMirror] = field(default_factory=lambda: MappingProxyType({}))
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}), repr=False)


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """How images are pulled, unpacked and kept.

    `image_pull_progress_timeout` is the longest time without a byte fetched or a layer being unpacked; 0
    switches it off. `max_concurrent_downloads` bounds the layers of one pull, `node_concurrent_downloads`
    those of all pulls together. `pinned_images` are references or shell patterns of normalised names.
    """

    snapshotter: str = "overlayfs"
    max_concurrent_downloads: int = 3
    node_concurrent_downloads: int = 12
    image_pull_progress_timeout: float = 300.0
    image_pull_engine: Literal["auto", "local", "transfer"] = "auto"
    sandbox_image: str = _DEFAULT_PAUSE
    pinned_images: tuple[str, ...] = ()
    discard_unpacked_layers: bool = False
    disable_snapshot_annotations: bool = True
    stats_collect_period: float = 10.0
    platforms: tuple[str, ...] = ()
    """Those of the runtime handlers that have one of their own."""
    verifier_bin_dir: str = ""
    verifier_timeout: float = 10.0
    verifier_max: int = 10
