"""Inputs by target that fuzzing found to fail; each is mended, and stays so."""

from __future__ import annotations

from cri.stream import spdy_frames as frames
from cri.stream.spdy_headers import HeaderCompressor


def _offer_and_reset(streamtype: str) -> bytes:
    """A stream that its peer has given up by the time the offer is looked at: to accept it was an error."""
    offer = frames.SynStream(1, HeaderCompressor().compress({"streamtype": streamtype, "port": "80"}))
    return bytes((1, 1, 1, 1, 255, 0)) + frames.encode(offer) + frames.encode(frames.RstStream(1, 1))


FOUND: dict[str, tuple[bytes, ...]] = {
    "spdy": (_offer_and_reset("error"),),
    "spdy-command": (_offer_and_reset("error"),),
    "spdy-forward": (_offer_and_reset("data"),),
}
