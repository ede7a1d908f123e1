"""SPDY connections as playbooks: what the peer sends, what comes of it, what is sent back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cri.stream import spdy_frames as frames
from cri.stream.errors import ProtocolError
from cri.stream.spdy_frames import ResetStatus
from cri.stream.spdy_headers import HeaderCompressor
from cri.stream.spdy_session import (
    FIRST_WINDOW,
    MOST_STREAMS,
    OUR_WINDOW,
    STEPS,
    PeerLeaving,
    Role,
    RoomMade,
    SessionEvent,
    SpdySession,
    Step,
    StreamAccepted,
    StreamBlock,
    StreamEnded,
    StreamOffered,
    StreamReset,
    StreamState,
)

WIDENED = OUR_WINDOW - FIRST_WINDOW
"""The first update widens what the specification gives to what we like to have under way."""


class Playbook:
    """`>>` is what the peer sends, `<<` what is expected of us: events and frames, in the order of each kind."""

    def __init__(self, role: Role = Role.SERVER) -> None:
        self.session = SpdySession(role)
        self.peer = HeaderCompressor()
        self.events: list[SessionEvent] = []
        self.reader = frames.FrameReader()

    def __rshift__(self, sent: frames.Frame) -> Playbook:
        if isinstance(sent, frames.Data):
            wire = frames.data_header(sent.stream_id, len(sent.block), fin=sent.fin) + sent.block
        else:
            wire = frames.encode(sent)
        self.events += self.session.receive(wire)
        return self

    def __lshift__(self, expected: object) -> Playbook:
        wanted = expected if isinstance(expected, list) else [expected]
        found = [*self.events, *self.frames()]
        assert found == wanted, f"\nexpected {wanted}\nfound    {found}"
        self.events.clear()
        return self

    def frames(self) -> list[object]:
        """What was sent, header blocks left out."""
        sent = self.reader.feed(b"".join(self.session.take()))
        return [
            (type(frame), frame.stream_id, frame.fin)
            if isinstance(frame, (frames.SynReply, frames.SynStream))
            else frame
            for frame in sent
        ]

    def syn(self, stream_id: int, **headers: str) -> frames.SynStream:
        return frames.SynStream(stream_id, self.peer.compress(headers))

    def opened(self, stream_id: int = 1) -> Playbook:
        """A stream that has been offered and accepted."""
        self >> self.syn(stream_id)
        self.session.accept(stream_id)
        return self << [StreamOffered(stream_id, {}), (frames.SynReply, stream_id, False)]


def test_a_stream_from_offer_to_end():
    play = Playbook()
    play >> play.syn(1, streamtype="stdin") << StreamOffered(1, {"streamtype": "stdin"})
    play.session.accept(1)
    play << (frames.SynReply, 1, False)
    play >> frames.Data(1, b"in") << [StreamBlock(1, b"in"), frames.WindowUpdate(0, WIDENED + 2)]
    play.session.send(1, b"out")
    play << frames.Data(1, b"out")
    play >> frames.Data(1, b"", fin=True) << StreamEnded(1)
    assert play.session.can_send(1), "a half-close ends one half only"
    play.session.end(1)
    play << frames.Data(1, b"", fin=True)
    assert not play.session.can_send(1)


def test_data_behind_the_end_resets_the_stream():
    play = Playbook().opened()
    play >> frames.Data(1, b"", fin=True) << StreamEnded(1)
    (
        play
        >> frames.Data(1, b"x")
        << [
            StreamReset(1),
            frames.RstStream(1, ResetStatus.STREAM_ALREADY_CLOSED),
            frames.WindowUpdate(0, WIDENED + 1),
        ]
    )


def test_data_for_streams_that_are_gone_is_dropped():
    play = Playbook().opened()
    play.session.reset(1)
    play << frames.RstStream(1, ResetStatus.CANCEL)
    play >> frames.Data(1, b"under way") << frames.WindowUpdate(0, WIDENED + 9)  # what is dropped is consumed
    play >> frames.Data(99, b"never opened") << []


def test_a_reset_of_the_peers_ends_both_halves():
    play = Playbook().opened()
    play >> frames.RstStream(1, ResetStatus.CANCEL) << StreamReset(1)
    assert not play.session.can_send(1)
    play.session.end(1)
    play.session.reset(1)
    play << []
    play >> frames.RstStream(1, ResetStatus.CANCEL) << []


def test_accepting_what_was_reset_behind_its_offer_does_nothing():
    play = Playbook()
    play >> play.syn(1) >> frames.RstStream(1, ResetStatus.CANCEL)
    play.session.accept(1)
    play << [StreamOffered(1, {}), StreamReset(1)]


def test_pings_of_the_peer_are_answered_and_only_those():
    play = Playbook()
    play >> frames.Ping(7) << frames.Ping(7)
    play >> frames.Ping(2) << []


def test_a_peer_that_leaves():
    play = Playbook().opened()
    play >> frames.GoAway(0, 0) << PeerLeaving()
    play.session.send(1, b"still here")
    play << frames.Data(1, b"still here")


def test_leaving_takes_no_new_streams():
    play = Playbook().opened()
    play.session.leave()
    play.session.leave()
    play << frames.GoAway(1, 0)
    play >> play.syn(3) << []


@pytest.mark.parametrize("stream_id", [0, 1, 2])
def test_stream_ids_must_grow_and_be_the_peers(stream_id: int):
    play = Playbook().opened()
    with pytest.raises(ProtocolError):
        play >> play.syn(stream_id)
    assert play.frames() == [frames.GoAway(1, frames.GoAwayStatus.PROTOCOL_ERROR)]


def test_a_stream_with_malformed_headers_is_reset_and_others_go_on():
    play = Playbook()
    play >> frames.SynStream(1, play.peer.compress({"": "nameless"}))
    play << frames.RstStream(1, ResetStatus.PROTOCOL_ERROR)
    play.opened(3)


def test_too_many_streams_are_refused():
    play = Playbook()
    for number in range(MOST_STREAMS):
        play >> play.syn(2 * number + 1)
    play.events.clear()
    play >> play.syn(2 * MOST_STREAMS + 1)
    play << frames.RstStream(2 * MOST_STREAMS + 1, ResetStatus.REFUSED_STREAM)


def test_a_request_of_ours():
    play = Playbook(Role.CLIENT)
    stream_id = play.session.open({"streamtype": "error"})
    play << (frames.SynStream, stream_id, False)
    assert not play.session.can_send(stream_id), "peers drop what comes before their answer"
    play >> frames.SynReply(stream_id, play.peer.compress({})) << StreamAccepted(stream_id)
    assert play.session.can_send(stream_id)
    play >> frames.SynReply(stream_id, play.peer.compress({}))
    play << [StreamReset(stream_id), frames.RstStream(stream_id, ResetStatus.STREAM_IN_USE)]


def test_a_peer_that_does_not_count_is_not_counted():
    play = Playbook().opened()
    play.session.send(1, bytes(FIRST_WINDOW))
    assert play.session.room(1) == frames.MOST_DATA_BYTES


def test_windows_bind_from_the_first_update():
    play = Playbook().opened()
    play.session.send(1, bytes(FIRST_WINDOW - 10))
    play.frames()
    play >> frames.WindowUpdate(1, 5) << RoomMade()
    assert play.session.room(1) == 10, "the connection's window is narrower"
    play >> frames.WindowUpdate(0, 100) << RoomMade()
    assert play.session.room(1) == 15
    play.session.send(1, bytes(15))
    assert play.session.room(1) == 0


def test_a_setting_of_the_window_changes_all_streams():
    play = Playbook().opened()
    play >> frames.WindowUpdate(0, 1 << 20)
    play >> frames.Settings(((7, FIRST_WINDOW + 1000), (4, 100)))
    play << [RoomMade(), RoomMade(), frames.Settings(((7, FIRST_WINDOW),))]
    assert play.session.room(1) == FIRST_WINDOW + 1000
    play >> frames.Settings(((7, 0),)) << RoomMade()
    assert play.session.room(1) == 0


@pytest.mark.parametrize("frame", [frames.WindowUpdate(0, 0), frames.WindowUpdate(0, 0x7FFF_FFFF)])
def test_a_window_that_cannot_be_ends_the_connection(frame: frames.WindowUpdate):
    with pytest.raises(ProtocolError):
        Playbook() >> frame


def test_a_streams_window_that_cannot_be_ends_the_stream():
    play = Playbook().opened()
    play >> frames.WindowUpdate(1, 0x7FFF_FFFF)
    play << [StreamReset(1), frames.RstStream(1, ResetStatus.FLOW_CONTROL_ERROR)]


def test_our_windows_are_widened_in_large_steps():
    play = Playbook().opened()
    (
        play
        >> frames.Data(1, bytes(1000))
        << [
            StreamBlock(1, bytes(1000)),
            frames.WindowUpdate(0, WIDENED + 1000),
        ]
    )
    play.session.consumed(1, 1000)
    play << frames.WindowUpdate(1, WIDENED + 1000)
    play.session.consumed(1, 1000)
    play << []
    play.session.consumed(1, OUR_WINDOW // 2)
    play << frames.WindowUpdate(1, OUR_WINDOW // 2 + 1000)


@pytest.mark.parametrize("reset", [False, True])
def test_streams_that_nobody_reads_take_nothing_of_what_others_may_send(reset: bool):
    """The peer counts, and has the connection's window taken up several times over."""
    server, client = SpdySession(Role.SERVER), SpdySession(Role.CLIENT)

    def exchange() -> None:
        for event in server.receive(b"".join(client.take())):
            if isinstance(event, StreamOffered):
                server.accept(event.stream_id)
        client.receive(b"".join(server.take()))

    read = client.open({})
    exchange()
    client.send(read, b"x")
    exchange()
    server.consumed(read, 1)
    exchange()
    for _ in range(3 * OUR_WINDOW // FIRST_WINDOW):
        unread = client.open({})
        exchange()
        client.send(unread, bytes(client.room(unread)))
        exchange()
        if reset:
            server.reset(unread)
    assert client.room(read) >= OUR_WINDOW // 2


def exchange(server: SpdySession, client: SpdySession) -> None:
    """Everything that both have to say; offers are accepted."""
    while sent := b"".join(client.take()):
        for event in server.receive(sent):
            if isinstance(event, StreamOffered):
                server.accept(event.stream_id)
        client.receive(b"".join(server.take()))


def test_two_that_count_keep_to_the_windows_from_the_first_byte():
    server, client = SpdySession(Role.SERVER), SpdySession(Role.CLIENT)
    client.announce()
    stream_id = client.open({})
    exchange(server, client)
    assert client.room(stream_id) == server.room(stream_id) == FIRST_WINDOW


def test_that_we_count_is_said_once():
    play = Playbook()
    play >> frames.Settings(((frames.Setting.INITIAL_WINDOW_SIZE, 5),))
    play << [RoomMade(), frames.Settings(((frames.Setting.INITIAL_WINDOW_SIZE, FIRST_WINDOW),))]
    play >> frames.Settings(((frames.Setting.INITIAL_WINDOW_SIZE, 6),)) << RoomMade()


def test_windows_do_not_bind_us_any_more_when_the_peer_has_exceeded_its_own():
    """Its updates may be behind what it has sent too much, which is not read before we have sent something."""
    play = Playbook().opened()
    play >> frames.WindowUpdate(1, 10) << RoomMade()
    play >> frames.Data(1, bytes(FIRST_WINDOW))
    assert play.session.room(1) == FIRST_WINDOW
    play.events.clear()
    (
        play
        >> frames.Data(1, b"x")
        << [StreamBlock(1, b"x"), RoomMade(), frames.WindowUpdate(0, WIDENED + FIRST_WINDOW)]
    )
    assert play.session.room(1) == frames.MOST_DATA_BYTES
    play >> frames.WindowUpdate(1, 10) << RoomMade()
    assert play.session.room(1) == frames.MOST_DATA_BYTES


def test_the_table_of_steps_is_closed():
    targets = {state for steps in STEPS.values() for state in steps.values()}
    assert targets <= {*STEPS, StreamState.CLOSED}
    for state in (StreamState.OFFERED_ENDED, StreamState.THEIRS_ENDED):
        assert Step.BLOCK_THEIRS not in STEPS[state]


@settings(max_examples=50)
@given(st.binary(min_size=1, max_size=400_000), st.booleans())
def test_two_sides_understand_each_other(content: bytes, counts: bool):
    client, server = SpdySession(Role.CLIENT), SpdySession(Role.SERVER)
    stream_id = client.open({"streamtype": "stdin"})
    received = bytearray()
    sent = 0
    ended = False
    for _ in range(200):
        while sent < len(content) and client.can_send(stream_id) and client.room(stream_id):
            size = min(client.room(stream_id), 70_000, len(content) - sent)
            client.send(stream_id, content[sent : sent + size])
            sent += size
        if sent == len(content):
            client.end(stream_id)
        for event in server.receive(b"".join(client.take())):
            match event:
                case StreamOffered():
                    server.accept(event.stream_id)
                case StreamBlock():
                    received += event.block
                    server.consumed(stream_id, len(event.block))
                case StreamEnded():
                    ended = True
                case _:
                    pass
        client.receive(b"".join(server.take()))
        if ended:
            break
    assert ended, "the windows must never close for good"
    assert received == content
