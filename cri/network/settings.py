"""What an operator can set about pod networking; key names are those of containerd's `[cni]` table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

IpPreference = Literal["ipv4", "ipv6", "cni"]


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """One CNI set-up. Runtime handlers with their own `cni_conf_dir` have settings of their own."""

    bin_dirs: tuple[Path, ...] = (Path("/opt/cni/bin"), Path("/usr/lib/cni"))
    """Where plugin programs are looked for, in this order; also what plugins get as CNI_PATH."""
    conf_dir: Path = Path("/etc/cni/net.d")
    """Directory of `.conf`, `.conflist` and `.json` files; need not exist yet."""
    max_conf_num: int = 1
    """How many networks a pod is attached to: the first valid files by name. 0 means all."""
    conf_template: Path | None = None
    """Template for a configuration file that is written when the kubelet announces the pod CIDRs."""
    ip_pref: IpPreference = "ipv4"
    """Which of several addresses on eth0 is the pod's primary one; `cni` keeps the plugins' order."""
    setup_serially: bool = False
    """Attach several networks one after the other instead of all at once."""
    plugin_timeout_seconds: float = 120.0
    """After this long a plugin counts as hanging and is killed with its process group."""
    cache_dir: Path = Path("/var/lib/cni")
    """libcni's cache: `results/<network>-<sandbox id>-<interface>` below it is what DEL is called with."""
