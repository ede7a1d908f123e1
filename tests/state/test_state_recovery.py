"""What a restart makes of every combination of record and task."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.containerd import Container as ContainerdContainer
from api.containerd import Process, ProcessStatus, TypedValue
from api.wire import criv1
from cri.state.container_status import ContainerStatus, Phase
from cri.state.pins import NO_PINS, PINS_EXTENSION, Pins
from cri.state.records import (
    CONTAINER_EXTENSION,
    KIND_LABEL,
    STATUS_EXTENSION,
    ContainerRecord,
    SandboxRecord,
    StatusRecord,
)
from cri.state.recovery import ALIVE, Observed, RecoveredContainer, Recovery, recover

NOW = 1_000


def PINNED(_path: str) -> bool:
    return True


CREATED = ContainerStatus(Phase.CREATED, created_at=10)
RUNNING = CREATED.starting().running(5, 20)
EXITED = RUNNING.exited(3, 30, oom_killed=False)


def container(status: ContainerStatus | None, identifier: str = "c" * 64) -> ContainerdContainer:
    record = ContainerRecord(identifier, "app", "a" * 64, criv1.ContainerConfig(), "image", "")
    extensions = {CONTAINER_EXTENSION: record.to_extension()}
    if status is not None:
        extensions[STATUS_EXTENSION] = StatusRecord(status).to_extension()
    return ContainerdContainer(
        id=identifier, labels={KIND_LABEL: "container"}, created_at=10, extensions=extensions
    )


def sandbox(**changes: object) -> ContainerdContainer:
    record = SandboxRecord(
        "a" * 64, "pod", criv1.PodSandboxConfig(), "/run/netns/x", "", cni_result={"Interfaces": {}}
    )
    record = replace(record, **changes)
    return ContainerdContainer(
        id=record.id, labels={KIND_LABEL: "sandbox"}, created_at=1, extensions=record.extensions()
    )


def task(status: ProcessStatus, identifier: str = "c" * 64) -> Process:
    ended = status is ProcessStatus.STOPPED
    return Process(
        identifier, "", 99, status, 7 if ended else 0, 50 if ended else 0, "", "", "", terminal=False
    )


def recovered(status: ContainerStatus | None, found: Process | None) -> RecoveredContainer:
    tasks = {} if found is None else {found.container_id: found}
    outcome = recover(Observed([container(status)], tasks, lambda _path: True, NOW))
    assert not outcome.quarantined
    return outcome.containers[0]


@pytest.mark.parametrize("stored", [CREATED, RUNNING, None], ids=["created", "running", "foreign"])
def test_a_running_task_goes_on(stored):
    found = recovered(stored, task(ProcessStatus.RUNNING))
    assert (found.status.phase, found.status.pid, found.stale_task) == (Phase.RUNNING, 99, False)
    if stored is RUNNING:
        assert found.status.started_at == RUNNING.started_at
        assert not found.changed


@pytest.mark.parametrize("stored", [CREATED, RUNNING])
def test_an_exit_while_nobody_looked_keeps_its_code_and_time(stored):
    found = recovered(stored, task(ProcessStatus.STOPPED))
    assert (found.status.phase, found.status.exit_code, found.status.finished_at) == (Phase.EXITED, 7, 50)
    assert found.changed
    assert found.stale_task


def test_a_running_record_without_a_task_is_lost():
    found = recovered(RUNNING, None)
    assert (found.status.phase, found.status.exit_code, found.status.reason) == (Phase.EXITED, 255, "Unknown")
    assert found.changed


def test_a_created_record_without_a_task_is_as_it_was():
    found = recovered(CREATED, None)
    assert (found.status, found.changed, found.stale_task) == (CREATED, False, False)


def test_what_was_asked_to_start_is_not_started_again():
    """containerd was killed, too, and has forgotten a process that may have run to its end."""
    observed = Observed(
        [container(CREATED)], {}, PINNED, NOW, start_asked=lambda identifier: identifier == "c" * 64
    )
    (found,) = recover(observed).containers
    assert (found.status.phase, found.status.exit_code, found.status.reason) == (Phase.EXITED, 255, "Unknown")
    assert (found.changed, found.half_made, found.stale_task) == (True, False, False)


@pytest.mark.parametrize("stored", [CREATED, RUNNING], ids=["created", "running, written beside the start"])
def test_a_start_that_was_cut_off_failed(stored):
    found = recovered(stored, task(ProcessStatus.CREATED))
    assert (found.status.phase, found.status.reason, found.stale_task) == (Phase.EXITED, "StartError", True)
    assert (found.status.exit_code, found.status.started_at) == (128, 0)


def test_a_start_that_containerd_has_undone_failed():
    """Whether its program ever ran nobody can tell; the server that asked for it was killed meanwhile."""
    killed = replace(task(ProcessStatus.STOPPED), exit_status=137)
    assert recovered(CREATED, killed).status.reason == "StartError"
    assert recovered(RUNNING, killed).status.exit_code == 137, "this one ran"


def test_what_had_ended_stays_as_recorded():
    found = recovered(EXITED, task(ProcessStatus.STOPPED))
    assert (found.status, found.changed, found.stale_task) == (EXITED, False, True)


@pytest.mark.parametrize(
    ("changes", "alive", "pinned", "ready"),
    [
        ({}, True, True, True),
        ({}, True, False, False),
        ({}, False, True, False),
        ({"cni_result": None}, True, True, False),
        ({"network_namespace": "", "cni_result": None}, True, False, True),
    ],
    ids=["whole", "netns gone", "process gone", "never attached", "host network"],
)
def test_when_a_sandbox_is_ready(changes, alive, pinned, ready):
    tasks = {"a" * 64: task(ProcessStatus.RUNNING, "a" * 64)} if alive else {}
    outcome = recover(Observed([sandbox(**changes)], tasks, lambda _path: pinned, NOW))
    assert outcome.sandboxes[0].ready is ready


def test_one_bad_record_is_quarantined_and_harms_no_other():
    bad = replace(container(CREATED, "d" * 64), extensions={CONTAINER_EXTENSION: TypedValue("x", b"{")})
    outcome = recover(Observed([bad, container(CREATED), sandbox()], {}, lambda _path: True, NOW))
    assert list(outcome.quarantined) == ["d" * 64]
    assert len(outcome.containers) == len(outcome.sandboxes) == 1


def test_containers_of_other_clients_are_passed_over():
    foreign = ContainerdContainer(id="moby", labels={})
    outcome = recover(
        Observed([foreign], {"moby": task(ProcessStatus.RUNNING, "moby")}, lambda _path: True, NOW)
    )
    assert outcome == Recovery()


@given(
    st.sampled_from([None, CREATED, RUNNING, EXITED, replace(RUNNING, phase=Phase.UNKNOWN)]),
    st.sampled_from([None, *ProcessStatus]),
)
def test_nothing_is_left_undecided(stored, task_status):
    found = recovered(stored, None if task_status is None else task(task_status))
    if found.unanswered:
        assert task_status is ProcessStatus.UNKNOWN
        assert (found.changed, found.stale_task) == (False, False), "nothing is done before the shim answers"
        return
    assert found.status.phase in (Phase.CREATED, Phase.RUNNING, Phase.EXITED)
    assert (found.status.phase is Phase.RUNNING) == (task_status in ALIVE and stored is not EXITED)
    if found.status.phase is Phase.EXITED:
        assert found.status.finished_at >= found.status.created_at
        assert found.stale_task == (task_status is not None and task_status not in ALIVE)


def test_an_out_of_memory_kill_while_nobody_looked_is_told():
    killed = replace(task(ProcessStatus.STOPPED), exit_status=137)
    outcome = recover(
        Observed([container(RUNNING)], {killed.container_id: killed}, PINNED, NOW, oom_killed=lambda _: True)
    )
    (found,) = outcome.containers
    assert (found.status.exit_code, found.status.reason) == (137, "OOMKilled")


def test_another_end_in_a_cgroup_with_an_out_of_memory_kill_is_what_it_was():
    ended = task(ProcessStatus.STOPPED)
    outcome = recover(
        Observed([container(RUNNING)], {ended.container_id: ended}, PINNED, NOW, oom_killed=lambda _: True)
    )
    assert outcome.containers[0].status.reason == "Error"


@pytest.mark.parametrize("stored", [CREATED, RUNNING])
def test_a_shim_that_hangs_costs_no_container_its_life(stored):
    found = recovered(stored, task(ProcessStatus.UNKNOWN))
    assert (found.status, found.unanswered) == (
        stored if stored is CREATED else replace(RUNNING, pid=0),
        True,
    )
    assert (found.stale_task, found.changed) == (False, False)


def test_a_sandbox_whose_shim_hangs_counts_as_ready():
    tasks = {"a" * 64: task(ProcessStatus.UNKNOWN, "a" * 64)}
    (found,) = recover(Observed([sandbox()], tasks, PINNED, NOW)).sandboxes
    assert (found.ready, found.unanswered, found.stale_task) == (True, True, False)


@pytest.mark.parametrize(
    ("status", "task_status", "has_snapshot", "half_made"),
    [
        (CREATED, None, False, True),
        (CREATED, None, True, False),
        (RUNNING, None, False, False),
        (EXITED, None, False, False),
        (CREATED, ProcessStatus.CREATED, False, False),
    ],
    ids=["cut off", "whole", "rebooted", "ended", "starting"],
)
def test_which_containers_are_half_made(status, task_status, has_snapshot, half_made):
    tasks = {} if task_status is None else {"c" * 64: task(task_status)}
    observed = Observed([container(status)], tasks, PINNED, NOW, has_snapshot=lambda *_: has_snapshot)
    assert recover(observed).containers[0].half_made is half_made


HOST = {"network_namespace": "", "cni_result": None}


@pytest.mark.parametrize(
    ("changes", "task_status", "has_snapshot", "half_made"),
    [
        ({"cni_result": None}, ProcessStatus.RUNNING, True, True),
        ({"cni_result": None}, None, False, True),
        ({}, None, False, False),
        ({}, None, True, False),
        (HOST, None, False, True),
        (HOST, None, True, False),
        (HOST, ProcessStatus.CREATED, True, True),
        (HOST, ProcessStatus.STOPPED, True, False),
    ],
    ids=[
        "never attached",
        "recorded",
        "ended",
        "rebooted",
        "host",
        "host rebooted",
        "host starting",
        "host ended",
    ],
)
def test_which_sandboxes_are_half_made(changes, task_status, has_snapshot, half_made):
    tasks = {} if task_status is None else {"a" * 64: task(task_status, "a" * 64)}
    observed = Observed([sandbox(**changes)], tasks, PINNED, NOW, has_snapshot=lambda *_: has_snapshot)
    assert recover(observed).sandboxes[0].half_made is half_made


def test_after_a_reboot_addresses_are_held_and_snapshots_stay():
    outcome = recover(Observed([sandbox(), container(RUNNING)], {}, lambda _path: False, NOW))
    (pod,), (ended,) = outcome.sandboxes, outcome.containers
    assert (pod.ready, pod.half_made, pod.address_held) == (False, False, True)
    assert (ended.status.phase, ended.status.exit_code, ended.half_made) == (Phase.EXITED, 255, False)


def test_an_id_that_would_lead_elsewhere_is_quarantined():
    bad = replace(sandbox(), id="../../etc")
    outcome = recover(Observed([bad], {}, PINNED, NOW))
    assert list(outcome.quarantined) == ["../../etc"]
    assert not outcome.sandboxes


def test_of_two_records_with_one_name_the_living_keeps_it():
    first, second = sandbox(), replace(sandbox(), id="b" * 64, created_at=2)
    tasks = {"a" * 64: task(ProcessStatus.RUNNING, "a" * 64)}
    outcome = recover(Observed([first, second], tasks, PINNED, NOW))
    assert [found.record.id for found in outcome.sandboxes] == ["a" * 64]
    assert "a" * 64 in outcome.quarantined["b" * 64]


PINS = Pins("this boot", ipc="/state/ipc", uts="/state/uts")


def by_mounts(*, pins: Pins = PINS, gone: str = "", boot_id: str = "this boot", **changes: object):
    observed = Observed([sandbox(pins=pins, **changes)], {}, lambda path: path != gone, NOW, boot_id)
    (found,) = recover(observed).sandboxes
    return found


@pytest.mark.parametrize("gone", ["/run/netns/x", "/state/ipc", "/state/uts"])
def test_a_sandbox_that_mounts_hold_is_ready_while_all_of_them_are_there(gone):
    whole, lost = by_mounts(), by_mounts(gone=gone)
    assert (whole.ready, whole.held, whole.pid, whole.stale_task) == (True, True, 0, False)
    assert (lost.ready, lost.held, lost.half_made) == (False, False, False)
    assert not lost.address_held, "a container may still be in the namespace that has lost its pin"


def test_mounts_do_not_hold_over_a_reboot():
    """Not even those of a state directory that the boot did not clear."""
    found = by_mounts(boot_id="the next")
    assert (found.ready, found.held, found.address_held) == (False, False, True)


def test_a_sandbox_that_mounts_hold_and_that_was_never_attached_is_half_made():
    found = by_mounts(cni_result=None)
    assert (found.ready, found.half_made, found.address_held) == (False, True, False)


@pytest.mark.parametrize(("pinned", "ready"), [(True, True), (False, False)])
def test_on_the_hosts_network_a_pin_that_is_missing_makes_nothing_half_made(pinned, ready):
    found = by_mounts(**HOST, gone="" if pinned else "/state/ipc")
    assert (found.ready, found.half_made, found.address_held) == (ready, False, False)


def test_a_pod_without_any_namespace_of_its_own_lives_as_long_as_the_boot():
    assert by_mounts(**HOST, pins=Pins("this boot")).ready
    assert not by_mounts(**HOST, pins=Pins("this boot"), boot_id="the next").ready


def test_pins_that_were_given_up_leave_a_process():
    """No containerd removes an extension."""
    given_up = sandbox(pins=PINS)
    given_up = replace(given_up, extensions={**given_up.extensions, PINS_EXTENSION: NO_PINS})
    tasks = {given_up.id: task(ProcessStatus.RUNNING, given_up.id)}
    (found,) = recover(Observed([given_up], tasks, PINNED, NOW)).sandboxes
    assert (found.ready, found.pid, found.record.pins) == (True, 99, None)


def test_pins_that_cannot_be_read_are_quarantined():
    bad = sandbox(pins=PINS)
    bad = replace(bad, extensions={**bad.extensions, PINS_EXTENSION: TypedValue("x", b"[]")})
    outcome = recover(Observed([bad], {}, PINNED, NOW))
    assert "io.cri-shim.sandbox.pins" in outcome.quarantined[bad.id]


@given(
    pins=st.sampled_from([None, PINS, Pins("another boot", ipc="/state/ipc")]),
    attached=st.booleans(),
    on_host=st.booleans(),
    task_status=st.sampled_from([None, *ProcessStatus]),
    pinned=st.booleans(),
)
def test_no_sandbox_is_left_undecided(pins, attached, on_host, task_status, pinned):
    changes = HOST if on_host else {"cni_result": {"Interfaces": {}} if attached else None}
    tasks = {} if task_status is None else {"a" * 64: task(task_status, "a" * 64)}
    observed = Observed([sandbox(pins=pins, **changes)], tasks, lambda _: pinned, NOW, "this boot")
    (found,) = recover(observed).sandboxes
    assert not (found.ready and found.half_made)
    assert not (found.ready and found.address_held)
    assert not found.ready or found.held
    assert (found.pid > 0) <= (pins is None), "a process holds nothing that mounts hold"
    if pins is not None:
        assert found.stale_task == (task_status is not None), "no task belongs to it"
        assert not found.unanswered
