"""The node's server under another configuration for a while."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from e2e.harness.server import CriShim

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from e2e.harness.node import Node


@contextlib.asynccontextmanager
async def configured(
    node: Node, *, keys: str = "", containerd_keys: str = "", tables: str = "", without: Sequence[str] = ()
) -> AsyncIterator[None]:
    """Restart the server with further keys and tables (TOML) within the block, and as it was after.

    `containerd_keys` come into the table [containerd]; `without` are keys of the usual configuration that are left out.
    """
    server = node.server
    assert isinstance(server, CriShim), "only cri-shim is configured by tests"
    await server.stop()
    server.write_configuration(tables, keys)
    lines = server.configuration_file.read_text().splitlines()
    kept = [line for line in lines if line.partition(" = ")[0] not in without]
    text = "\n".join(kept).replace("[containerd]\n", f"[containerd]\n{containerd_keys}")
    server.configuration_file.write_text(text + "\n")
    try:
        await server.start()
        yield
    finally:
        await server.stop()
        server.write_configuration()
        await server.start()
