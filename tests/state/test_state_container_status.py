"""The phases of a container follow the table, and times never run backwards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri.errors import Internal
from cri.state.container_status import TRANSITIONS, ContainerStatus, Phase

CREATED = ContainerStatus(Phase.CREATED, created_at=100)


def test_the_usual_life():
    running = CREATED.starting().running(42, 200)
    assert (running.phase, running.pid, running.started_at) == (Phase.RUNNING, 42, 200)
    ended = running.exited(0, 300, oom_killed=False)
    assert (ended.phase, ended.reason, ended.exit_code, ended.finished_at, ended.pid) == (
        Phase.EXITED,
        "Completed",
        0,
        300,
        0,
    )


@pytest.mark.parametrize(
    ("code", "oom", "reason"), [(0, False, "Completed"), (1, False, "Error"), (137, True, "OOMKilled")]
)
def test_reasons(code, oom, reason):
    assert CREATED.starting().running(1, 200).exited(code, 300, oom_killed=oom).reason == reason


def test_a_failed_start_ends_in_exited_and_never_in_created():
    failed = CREATED.starting().start_failed(300, "no such file")
    assert (failed.phase, failed.exit_code, failed.reason, failed.message, failed.started_at) == (
        Phase.EXITED,
        128,
        "StartError",
        "no such file",
        0,
    )


def test_an_exited_container_stays_so():
    ended = CREATED.starting().start_failed(300, "")
    for change in (ended.starting, lambda: ended.running(1, 1), lambda: ended.lost(1, "")):
        with pytest.raises(Internal, match="cannot go from exited"):
            change()


def test_every_phase_has_a_row():
    assert set(TRANSITIONS) == set(Phase)


@given(st.integers(0, 2**62), st.integers(0, 2**62), st.integers(0, 2**62))
def test_a_clock_that_jumps_back_gives_no_negative_duration(created, started, finished):
    ended = (
        ContainerStatus(Phase.CREATED, created)
        .starting()
        .running(1, started)
        .exited(0, finished, oom_killed=False)
    )
    assert ended.created_at <= ended.started_at <= ended.finished_at
