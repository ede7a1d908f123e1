"""What both servers under comparison are given alike: CNI, sandbox image, mirrors. Pure text."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from e2e.harness.patience import patiently

PLUGIN_SECONDS = int(patiently(8))
"""When a CNI plugin that hangs is given up: sooner than by default, so that a test need not wait for long."""
UNCLAIMED_SECONDS = 4
"""When a pod or container is removed whose caller had left before it was made, likewise."""
SANDBOX_MODE = os.environ.get("E2E_SANDBOX_MODE", "auto")
"""cri-shim's sandbox_mode, so that everything can be run in either."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Settings that mean the same to containerd's CRI plugin and to cri-shim."""

    sandbox_image: str
    cni_bin_dir: str
    cni_conf_dir: str
    certs_directory: str
    max_container_log_line_size: int = 16384
    networks: Mapping[str, str] = field(default_factory=dict)
    """CNI configuration directories of their own, by the name of the runtime handler that has them."""

    def plugin_tables(self) -> str:
        """For containerd's own configuration (version 2), as the CRI plugin's tables."""
        plugin = '[plugins."io.containerd.grpc.v1.cri"'
        return f"""
{plugin}]
sandbox_image = {json.dumps(self.sandbox_image)}
stream_server_address = "127.0.0.1"
stream_server_port = "0"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
max_container_log_line_size = {self.max_container_log_line_size}
{plugin}.cni]
bin_dir = {json.dumps(self.cni_bin_dir)}
conf_dir = {json.dumps(self.cni_conf_dir)}
{plugin}.registry]
config_path = {json.dumps(self.certs_directory)}
{self._handlers(f"{plugin}.containerd")}"""

    def server_configuration(self, containerd_address: str) -> str:
        """For `cri-shim serve --config`."""
        return f"""\
sandbox_image = {json.dumps(self.sandbox_image)}
sandbox_mode = {json.dumps(SANDBOX_MODE)}
stream_server_address = "127.0.0.1"
stream_server_port = "0"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
max_container_log_line_size = {self.max_container_log_line_size}
unclaimed_result_timeout = "{UNCLAIMED_SECONDS}s"

[cni]
plugin_timeout = "{PLUGIN_SECONDS}s"
bin_dir = {json.dumps(self.cni_bin_dir)}
conf_dir = {json.dumps(self.cni_conf_dir)}

[containerd]
address = {json.dumps(containerd_address)}

[registry]
config_path = {json.dumps(self.certs_directory)}
{self._handlers("[containerd")}"""

    def _handlers(self, table: str) -> str:
        """The tables of `networks`, and of the default handler beside them; `table` lacks its closing bracket."""
        if not self.networks:
            return ""
        directories = {"runc": self.cni_conf_dir, **self.networks}
        return "".join(
            f"{table}.runtimes.{name}]\n"
            'runtime_type = "io.containerd.runc.v2"\n'
            f"cni_conf_dir = {json.dumps(directory)}\n"
            for name, directory in directories.items()
        )
