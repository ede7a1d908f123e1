"""Scenarios of events, and of the daemon as such."""

from __future__ import annotations

import asyncio
import os

from api.containerd import (
    Client,
    Container,
    Descriptor,
    Image,
    TypedValue,
)
from tests.double.agreement.notebook import Notebook
from tests.double.agreement.workload import (
    container,
    digest_of,
    exec_process,
)

DEADLINE_SECONDS = 20.0


async def events(client: Client, book: Notebook) -> None:
    """Topics, and the words of each event that do not depend on chance."""
    seen: list[str] = []
    async with client.events.subscribe(f'namespace=="{client.namespace}"') as subscription:
        async with container(client, "ev", ["/bin/sleep", "1000"]) as mounts:
            await client.tasks.create("ev", mounts=mounts)
            await client.tasks.start("ev")
            await exec_process(client, "ev", "x", ["/bin/sleep", "1000"])
            await client.tasks.start("ev", "x")
            await client.tasks.kill("ev", 9, exec_id="x")
            await client.tasks.wait("ev", "x")
            await client.tasks.delete_process("ev", "x")
            await client.tasks.pause("ev")
            await client.tasks.resume("ev")
            await client.containers.update(Container("ev", {"a": "1"}), "labels.a")
            await client.tasks.kill("ev", 9)
            await client.tasks.wait("ev")
            await client.tasks.delete("ev")
        target = Descriptor("x/y", digest_of(b"x"), 1)
        await client.images.create(Image("ev", target, {"l": "1"}))
        await client.images.update(Image("ev", target))
        await client.images.delete("ev")
        async with asyncio.timeout(DEADLINE_SECONDS):
            async for event in subscription:
                words = [
                    f"{name}={getattr(event.message, name)}"
                    for name in ("id", "container_id", "exec_id", "name", "exit_status", "image", "parent")
                    if getattr(event.message, name, "") not in ("", 0)
                ]
                seen.append(f"{event.topic} {type(event.message).__name__} {' '.join(words)}")
                if event.topic == "/images/delete":
                    break
    # Shims forward their events on their own, so only the order within a kind is certain.
    for kind in ("/tasks", "/containers", "/images", "/snapshot", "/content"):
        book.note(kind, [line for line in seen if line.startswith(kind + "/")])


async def daemon(client: Client, book: Notebook) -> None:
    await book.outcome("plugin info", client.introspection.plugin_info("io.containerd.runtime.v2", "task"))
    plugins = await client.introspection.plugins("type==io.containerd.snapshotter.v1,id==overlayfs")
    book.note("overlayfs", [(plugin.error, sorted(plugin.exports)) for plugin in plugins])
    book.note("root is there", all(os.path.isdir(plugin.exports["root"]) for plugin in plugins))
    server = await client.introspection.server()
    book.note("server", (bool(server.uuid), server.pid))
    async with Client(client.address, "") as nowhere:
        await book.outcome("no namespace", nowhere.containers.list())
        await book.outcome("version without one", nowhere.version.get(), value=False)
    await book.outcome("transfer", client.transfer.transfer(TypedValue("a", b""), TypedValue("b", b"")))
    await client.namespaces.ensure("fresh", {"a": "1"})
    await client.namespaces.ensure("fresh", {"b": "2"})
    book.note("namespace", dict(sorted((await client.namespaces.get("fresh")).labels.items())))
    await book.outcome("delete", client.namespaces.delete("fresh"))
    await book.outcome("delete again", client.namespaces.delete("fresh"))
    await book.outcome("get unknown", client.namespaces.get("fresh"))
    await book.outcome("odd topic", client.events.publish("topic", TypedValue("a", b"")))
