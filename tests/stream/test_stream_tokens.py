"""Tokens: random, for one use, for a minute, not too many."""

from __future__ import annotations

import pytest

from cri.errors import ResourceExhausted
from cri.stream.endpoints import Call, PortForwardCall
from cri.stream.tokens import LIFE_SECONDS, MOST_WAITING, Tokens
from tests.stream.stream_fakes import LoopbackDialler

CALL = PortForwardCall(LoopbackDialler())


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def redeemed(tokens: Tokens, token: str) -> Call | None:
    promise = tokens.redeem(token)
    return None if promise is None else promise.call


def test_a_token_is_good_for_one_use():
    tokens = Tokens()
    token = tokens.issue(CALL)
    assert len(token) == 22, "128 bits"
    assert tokens.redeem("x" + token) is None
    assert redeemed(tokens, token) is CALL
    assert tokens.redeem(token) is None


def test_a_token_is_good_for_a_minute():
    clock = Clock()
    tokens = Tokens(clock)
    early, late = tokens.issue(CALL), tokens.issue(CALL)
    clock.now = LIFE_SECONDS - 0.1
    assert redeemed(tokens, early) is CALL
    clock.now = LIFE_SECONDS
    assert tokens.redeem(late) is None


def test_only_so_many_wait_and_old_ones_make_room():
    clock = Clock()
    tokens = Tokens(clock)
    issued = [tokens.issue(CALL) for _ in range(MOST_WAITING)]
    assert len(set(issued)) == MOST_WAITING
    with pytest.raises(ResourceExhausted):
        tokens.issue(CALL)
    tokens.redeem(issued[0])
    tokens.issue(CALL)
    clock.now = LIFE_SECONDS
    assert len({tokens.issue(CALL) for _ in range(MOST_WAITING)}) == MOST_WAITING
