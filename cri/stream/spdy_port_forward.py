"""Port forwarding over SPDY: a pair of streams for each connection, one for data, one for an error message.

Both streams of a pair carry the headers `port` and `requestid`, which is what pairs them. Clients older than the
request id open the error stream and then the data stream, so theirs are paired by stream ids that follow each other.
The client waits for the answer to the first before it opens the second, so each is answered at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from cri.stream import port_forward as forward
from cri.stream import spdy_session as spdy
from cri.stream.port_forward import HIGHEST_PORT, ForwardEvent
from cri.stream.spdy_frames import MOST_DATA_BYTES, ResetStatus

PairMember = Literal["data", "error"]
STREAM_TYPE_HEADER: Final = "streamtype"
PORT_HEADER: Final = "port"
REQUEST_HEADER: Final = "requestid"
_MEMBERS: Final[dict[str, PairMember]] = {"data": "data", "error": "error"}
_OLD_DISTANCE: Final = 2


@dataclass(frozen=True, slots=True)
class _Offer:
    """A stream whose headers are in order."""

    stream_id: int
    member: PairMember
    port: int
    request: str


class SpdyPortForward:
    """See PortForwardProtocol. The key of a connection is the id of its data stream."""

    half_close = True
    endless = True

    def __init__(self) -> None:
        self._session = spdy.SpdySession(spdy.Role.SERVER)
        self._begun: dict[str, _Offer] = {}
        """Pairs with one member, by request."""
        self._seen: set[str] = set()
        """Those of them that the last sweep saw."""
        self._errors: dict[int, int] = {}
        """Error streams by their data streams."""

    def receive(self, data: bytes) -> list[ForwardEvent]:
        """See PortForwardProtocol."""
        events: list[ForwardEvent] = []
        for event in self._session.receive(data):
            self._event(event, events)
        return events

    def take(self) -> list[bytes]:
        """See PortForwardProtocol."""
        return self._session.take()

    def room(self, key: int) -> int:
        """See PortForwardProtocol."""
        return self._session.room(key) if self._session.can_send(key) else MOST_DATA_BYTES

    def send(self, key: int, block: bytes | memoryview) -> None:
        """See PortForwardProtocol."""
        if self._session.can_send(key):
            self._session.send(key, block)

    def end(self, key: int) -> None:
        """See PortForwardProtocol."""
        self._session.end(key)

    def finish(self, key: int) -> None:
        """See PortForwardProtocol. The client waits for the end of the error stream to learn that all went well."""
        self._session.end(key)
        self._session.reset(key)  # only when the client's half is still open
        error_id = self._errors.pop(key, 0)
        self._session.end(error_id)
        self._session.reset(error_id)

    def fail(self, key: int, message: str) -> None:
        """See PortForwardProtocol. The message goes first: clients stop to look once the data stream is gone."""
        self._complain(self._errors.pop(key, 0), message)
        self._session.reset(key, ResetStatus.INTERNAL_ERROR)

    def abort(self, key: int) -> None:
        """See PortForwardProtocol."""
        self._session.reset(key, ResetStatus.INTERNAL_ERROR)
        self._session.end(self._errors.pop(key, 0))

    def sweep(self) -> None:
        """See PortForwardProtocol."""
        for request in self._seen & self._begun.keys():
            offer = self._begun.pop(request)
            if offer.member == "error":
                self._complain(offer.stream_id, f"no data stream came for request {request}")
            self._session.reset(offer.stream_id)
        self._seen = set(self._begun)

    def consumed(self, key: int, count: int) -> None:
        """See PortForwardProtocol."""
        self._session.consumed(key, count)

    def close(self) -> None:
        """See PortForwardProtocol."""
        self._session.leave()

    def _complain(self, error_id: int, message: str) -> None:
        block = message.encode()
        if self._session.can_send(error_id) and self._session.room(error_id) >= len(block):
            self._session.send(error_id, block)
        self._session.end(error_id)

    def _event(self, event: spdy.SessionEvent, events: list[ForwardEvent]) -> None:
        match event:
            case spdy.StreamOffered():
                self._offered(event, events)
            case spdy.StreamBlock(stream_id, block) if stream_id in self._errors:
                events.append(forward.Block(stream_id, block))
            case spdy.StreamBlock(stream_id, block):
                self._session.consumed(stream_id, len(block))  # nothing belongs on an error stream
            case spdy.StreamEnded(stream_id) if stream_id in self._errors:
                events.append(forward.Ended(stream_id))
            case spdy.StreamReset(stream_id):
                self._reset(stream_id, events)
            case spdy.RoomMade():
                events.append(forward.RoomMade())
            case _:
                pass  # a peer that opens no more streams goes on with those that it has

    def _reset(self, stream_id: int, events: list[ForwardEvent]) -> None:
        if stream_id in self._errors:
            events.append(forward.Dropped(stream_id))
        for request, offer in list(self._begun.items()):
            if offer.stream_id == stream_id:
                del self._begun[request]

    def _offered(self, event: spdy.StreamOffered, events: list[ForwardEvent]) -> None:
        offer = _read(event)
        if offer is None:
            self._session.reset(event.stream_id, ResetStatus.PROTOCOL_ERROR)
            return
        partner = self._begun.pop(offer.request, None)
        if partner is None:
            self._begun[offer.request] = offer
            self._session.accept(offer.stream_id)
            return
        if partner.member == offer.member:
            self._begun[offer.request] = partner
            self._session.reset(offer.stream_id, ResetStatus.STREAM_IN_USE)
            return
        self._session.accept(offer.stream_id)
        data, error = (offer, partner) if offer.member == "data" else (partner, offer)
        self._errors[data.stream_id] = error.stream_id
        events.append(forward.Requested(data.stream_id, data.port))


def _read(event: spdy.StreamOffered) -> _Offer | None:
    """What the stream's headers say; None if they are not in order."""
    member = _MEMBERS.get(event.headers.get(STREAM_TYPE_HEADER, ""))
    port = event.headers.get(PORT_HEADER, "")
    if member is None or not (port.isascii() and port.isdecimal()) or not 0 < int(port[:6]) <= HIGHEST_PORT:
        return None
    first_id = event.stream_id - (_OLD_DISTANCE if member == "data" else 0)
    return _Offer(
        event.stream_id, member, int(port), event.headers.get(REQUEST_HEADER) or f"stream {first_id}"
    )
