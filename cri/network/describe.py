"""The loaded configuration in the shape of containerd's verbose status, which `crictl info` prints. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.network.documents import Json, JsonObject, encode
from cri.network.result import INTERFACE_PREFIX

if TYPE_CHECKING:
    from cri.network.configuration import NetworkList, Plugin
    from cri.network.directory import Scan
    from cri.network.settings import NetworkSettings


def describe(settings: NetworkSettings, scan: Scan) -> JsonObject:
    """The value of `cniconfig`; `Problems`, which is ours, lists the files that are not used and why."""
    networks: list[Json] = [
        {"Config": _network(network), "IFName": f"{INTERFACE_PREFIX}{index}"}
        for index, network in enumerate(scan.networks)
    ]
    return {
        "PluginDirs": [str(directory) for directory in settings.bin_dirs],
        "PluginConfDir": str(settings.conf_dir),
        "PluginMaxConfNum": settings.max_conf_num,
        "Prefix": INTERFACE_PREFIX,
        "Networks": networks,
        "Problems": [*([scan.obstacle] if scan.obstacle else []), *scan.problems],
    }


def _network(network: NetworkList) -> JsonObject:
    return {
        "Name": network.name,
        "CNIVersion": network.cni_version,
        "Plugins": [_plugin(plugin) for plugin in network.plugins],
        "Source": network.config.decode("utf-8", errors="replace"),
    }


def _plugin(plugin: Plugin) -> JsonObject:
    ipam = plugin.document.get("ipam")
    kind = ipam.get("type") if isinstance(ipam, dict) else None
    shown: JsonObject = {"type": plugin.type, "ipam": {} if kind is None else {"type": kind}, "dns": {}}
    if plugin.capabilities:
        shown["capabilities"] = dict.fromkeys(sorted(plugin.capabilities), True)
    return {"Network": shown, "Source": encode(plugin.document).decode()}
