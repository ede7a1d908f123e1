"""What `python -m tests.fuzz` looks for in minutes, looked for in a moment; and what it has found before."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cri.stream.channels import Coding
from cri.stream.remote_command import V4
from cri.stream.websocket import Role, WebSocket
from cri.stream.websocket_remote_command import WebSocketRemoteCommand
from tests.fuzz.found import FOUND
from tests.fuzz.targets import ALL, SEEDS, TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_recorded_clients_and_what_was_found(name: str):
    for data in (*SEEDS[name], *FOUND.get(name, ())):
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_bytes(name: str, data: st.DataObject):
    wire = bytearray(data.draw(st.one_of(st.binary(max_size=300), st.sampled_from(SEEDS[name]))))
    changes = st.lists(st.tuples(st.integers(0, max(0, len(wire) - 1)), st.integers(0, 255)), max_size=5)
    for place, value in data.draw(changes):
        wire[place : place + 1] = bytes((value,))
    TARGETS[name](bytes(wire))


def test_messages_without_end_take_no_memory():
    client = WebSocket(Role.CLIENT)
    client.send(bytes(1 << 20))
    wire = b"".join(client.take())
    protocol = WebSocketRemoteCommand(V4, Coding.RAW, ALL)
    pieces = [
        event for start in range(0, len(wire), 4096) for event in protocol.receive(wire[start : start + 4096])
    ]
    assert len(pieces) > 200, "content is passed on as it comes"
