"""Others on the node: containers in containerd's other namespaces, and an attachment made by another user of CNI."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cri.app.built_image import layout_archive
from e2e.harness.catalogue import busybox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from e2e.harness.node import Node

IMAGE = "neighbour.example/busybox:1"
LISTS = (
    ("containers", "ls"),
    ("tasks", "ls"),
    ("images", "ls"),
    ("content", "ls", "-q"),
    ("snapshots", "ls"),
    ("leases", "ls"),
)


async def output_of(*command: str | Path, given: str = "", **variables: str) -> str:
    """The standard output of a program that must succeed, with further environment variables."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        env=os.environ | variables,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate(given.encode())
    assert process.returncode == 0, f"{command}: {output.decode()} {errors.decode()}"
    return output.decode()


@dataclass(frozen=True, slots=True)
class NamespaceUser:
    """Somebody who uses containerd in a namespace of their own, as dockerd does in `moby` and ctr in `default`."""

    node: Node
    namespace: str

    async def ctr(self, *arguments: str | Path) -> str:
        return await output_of(
            "ctr", "--address", self.node.containerd.address, "--namespace", self.namespace, *arguments
        )

    async def holdings(self) -> dict[str, str]:
        """What containerd lists in the namespace, running processes included."""
        return {command[0]: await self.ctr(*command) for command in LISTS}


@contextlib.asynccontextmanager
async def namespace_user(node: Node, namespace: str) -> AsyncIterator[NamespaceUser]:
    """An image, a container that runs and one that has not been started, all removed at the end."""
    user = NamespaceUser(node, namespace)
    archive = node.directory / f"{namespace}.tar"
    archive.write_bytes(layout_archive({IMAGE: busybox(namespace)}))
    names = f"{namespace}-running", f"{namespace}-created"
    cgroup = f"{node.cgroup_parent}/{namespace}"
    try:
        await user.ctr("images", "import", archive)
        await user.ctr(
            *("run", "--detach", "--null-io", "--cgroup", cgroup, IMAGE, names[0], "sleep", "1000")
        )
        await user.ctr("containers", "create", IMAGE, names[1], "sleep", "1000")
        yield user
    finally:
        archive.unlink()
        await user.ctr("tasks", "delete", "--force", names[0])
        await user.ctr("containers", "delete", *names)
        await user.ctr("images", "delete", "--sync", IMAGE)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A network namespace of somebody else on the pods' own network, with a host port."""

    namespace: str
    container_id: str
    address: str
    host_port: int

    async def traces(self, node: Node) -> dict[str, object]:
        """All that the plugins made for it, as it is now."""
        reservation = next(node.containerd.layout.reservations.glob(f"*/{self.address}"), None)
        rules = (await output_of("iptables-save", "-t", "nat")).splitlines()
        return {
            "reservation": reservation and reservation.read_text().split(),
            "rules": [rule for rule in rules if self.container_id in rule or self.address in rule],
            "interface": self.address
            in await output_of("ip", "-netns", self.namespace, "address", "show", "eth0"),
        }


@contextlib.asynccontextmanager
async def attachment(node: Node, host_port: int) -> AsyncIterator[Attachment]:
    """Call the plugins of the node's network for a namespace that the server has never heard of."""
    name = f"e2e-neighbour-{node.containerd.layout.fingerprint}"
    conflist = json.loads(node.containerd.layout.cni_conf_file.read_text())
    ports = [{"hostPort": host_port, "containerPort": 8080, "protocol": "tcp"}]

    async def call(command: str, plugin: dict[str, object], previous: object) -> str:
        given = plugin | {"cniVersion": conflist["cniVersion"], "name": conflist["name"]}
        given |= {"runtimeConfig": {"portMappings": ports}}
        given |= {"prevResult": previous} if previous else {}
        return await output_of(
            Path(node.settings.cni_bin_dir, str(plugin["type"])),
            given=json.dumps(given),
            CNI_COMMAND=command,
            CNI_CONTAINERID=name,
            CNI_NETNS=f"/run/netns/{name}",
            CNI_IFNAME="eth0",
            CNI_PATH=node.settings.cni_bin_dir,
        )

    await output_of("ip", "netns", "add", name)
    result: dict[str, list[dict[str, str]]] = {}
    try:
        for plugin in conflist["plugins"]:
            result = json.loads(await call("ADD", plugin, result))
        yield Attachment(name, name, result["ips"][0]["address"].split("/")[0], host_port)
    finally:
        for plugin in reversed(conflist["plugins"]):
            await call("DEL", plugin, result)
        await output_of("ip", "netns", "delete", name)
