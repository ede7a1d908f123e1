"""Scenarios that are played on the double and on a real containerd, to hold one against the other.

Each scenario takes a client and a notebook, and writes down what it sees: results, kinds of refusals, topics of
events. Nothing in the notes depends on chance, so both daemons' notes must be equal.
"""

from collections.abc import Awaitable, Callable

from api.containerd import Client
from tests.double.agreement.notebook import Notebook
from tests.double.agreement.records import container_records, image_records
from tests.double.agreement.running import execs, output, task_life
from tests.double.agreement.storage import leases, sharing, snapshots, writing
from tests.double.agreement.surroundings import daemon, events
from tests.double.agreement.workload import CGROUP_PARENT

Scenario = Callable[[Client, Notebook], Awaitable[None]]

SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        container_records,
        image_records,
        writing,
        sharing,
        snapshots,
        leases,
        task_life,
        output,
        execs,
        events,
        daemon,
    )
}

__all__ = ["CGROUP_PARENT", "SCENARIOS", "Notebook", "Scenario"]
