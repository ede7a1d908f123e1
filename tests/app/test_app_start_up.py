"""What the collector looks at after the start."""

from __future__ import annotations

import gc

import pytest

from cri.app.start_up import nothing_is_garbage


@pytest.fixture(autouse=True)
def thawed():
    yield
    gc.unfreeze()


def test_what_the_block_makes_is_not_looked_at_later():
    with nothing_is_garbage():
        assert not gc.isenabled()
        made = [object()]
    assert gc.isenabled()
    assert not any(each is made for each in gc.get_objects())


def test_an_error_leaves_the_collector_at_work():
    with pytest.raises(ImportError), nothing_is_garbage():
        raise ImportError
    assert gc.isenabled()
