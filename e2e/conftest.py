"""One node for the whole session, and after each test a check that the test left nothing on it.

The CRI server is cri-shim; with E2E_SERVER=builtin it is containerd's own CRI plugin, which shows whether a
failure is the server's or the test's. E2E_CONTAINERD chooses another containerd. E2E_KEEP=1 keeps the node's
directory for a look at its logs.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from e2e.harness.containerd_version import use_containerd
from e2e.harness.image_service import new_images_removed
from e2e.harness.leftovers import holdings, lasting_leftovers
from e2e.harness.node import BUILT_IN, CRI_SHIM, Node
from e2e.harness.node import node as running_node
from e2e.harness.requirements import RequirementError, demand_requirements
from e2e.harness.scripted_registry import ScriptedRegistry, scripted_registry
from e2e.harness.server import log_end
from e2e.harness.workload import Workloads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator
    from pathlib import Path

    from e2e.harness.cri import Cri

SERVER = os.environ.get("E2E_SERVER", CRI_SHIM)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cri_shim_only: containerd's CRI plugin is known to behave otherwise")


def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.option.collectonly:
        return
    # A shell has its background jobs ignore SIGINT, and what they start ignores it too: a tool that a test
    # interrupts would never end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if SERVER not in (CRI_SHIM, BUILT_IN):
        pytest.exit(f"E2E_SERVER={SERVER}: must be {CRI_SHIM} or {BUILT_IN}", returncode=4)
    try:
        use_containerd(os.environ.get("E2E_CONTAINERD", ""))
        demand_requirements()
    except RequirementError as missing:
        pytest.exit(str(missing), returncode=3)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests share the session's event loop, because the node's processes belong to it."""
    for item in items:
        if pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
        if SERVER == BUILT_IN and item.get_closest_marker("cri_shim_only"):
            item.add_marker(pytest.mark.skip(reason="containerd's CRI plugin behaves otherwise"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def node() -> AsyncIterator[Node]:
    async with running_node(SERVER) as running:
        yield running


@pytest.fixture(scope="session")
def cri(node: Node) -> Cri:
    return node.cri


@pytest_asyncio.fixture(loop_scope="session")
async def workloads(node: Node, nothing_left: None, tmp_path: Path) -> AsyncIterator[Workloads]:
    made = Workloads(node.cri, tmp_path / "logs", node.busybox, node.cgroup_parent)
    yield made
    await made.remove()


@pytest_asyncio.fixture(loop_scope="session")
async def only_images_of_before(node: Node, nothing_left: None) -> AsyncIterator[None]:
    async with new_images_removed(node.cri):
        yield


@pytest_asyncio.fixture(loop_scope="session")
async def scripted() -> AsyncIterator[ScriptedRegistry]:
    async with scripted_registry() as running:
        yield running


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def nothing_left(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Compare the node before and after the test; a failed test is not asked for more."""
    if "node" not in request.fixturenames:
        yield
        return
    node: Node = request.getfixturevalue("node")
    before = await holdings(node.containerd, node.server.directories, node.cgroup_parent)
    failures = request.session.testsfailed
    yield
    if request.session.testsfailed == failures:
        left = await lasting_leftovers(before, node.containerd, node.server.directories, node.cgroup_parent)
        assert not left, "the test left behind:\n  " + "\n  ".join(left)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of the server's log with every failure."""
    report = yield
    node = getattr(item, "funcargs", {}).get("node")
    if report.failed and isinstance(node, Node):
        report.sections.append((f"end of {node.server.log_file}", log_end(node.server.log_file)))
    return report
