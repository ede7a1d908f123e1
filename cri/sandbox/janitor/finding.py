"""Which things are left over. Pure.

thing                       owned while
-----                       -----------
network namespace           a sandbox is known whose id begins as its name says
files of a sandbox          the sandbox is known, or has a record
files of a container        the container is known, or has a record
id-mapped layers            either is known
CNI attachment              the sandbox is known, or has a record
address reservation         the same; whose it is otherwise cannot be told: reported
snapshot                    a record has its key, or a lease holds it
lease                       its server lives; with it goes what it holds
task                        a record has its id; without one containerd refuses to touch it: reported
forgotten shim              a record has its id: its task may be made anew
container                   its sandbox is known, or has a record; a running one is reported, for the kubelet to stop
followed log                the container is known
record                      never quarantined
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.sandbox.janitor.values import Kind, Leftover, Owners, Remedy, Thing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


def leftovers(things: Iterable[Thing], owners: Owners) -> tuple[Leftover, ...]:
    """What nobody owns, in the order in which it was listed; quarantined records at the end."""
    found = [_judged(thing) for thing in things if not OWNED[thing.kind](thing, owners)]
    return (*found, *_quarantined(owners))


def _judged(thing: Thing) -> Leftover:
    reason, remedy = REASONS[thing.kind]
    if thing.alive:
        reason, remedy = ALIVE_REASONS.get(thing.kind, reason), Remedy.REPORT
    return Leftover(thing.kind, thing.name, thing.owner, reason, remedy)


def _quarantined(owners: Owners) -> Iterator[Leftover]:
    for identifier, reason in owners.quarantined.items():
        told = f"unusable: {reason}; remove it with containerd's own client if nobody needs it"
        yield Leftover(Kind.RECORD, identifier, identifier, told, Remedy.REPORT)


def _of_known_sandbox_prefix(thing: Thing, owners: Owners) -> bool:
    return any(
        identifier.startswith(thing.owner) for ids in (owners.sandboxes, owners.records) for identifier in ids
    )


def _of_sandbox(thing: Thing, owners: Owners) -> bool:
    return thing.owner in owners.sandboxes or thing.owner in owners.records


def _of_container(thing: Thing, owners: Owners) -> bool:
    return thing.owner in owners.containers or thing.owner in owners.records


def _of_either(thing: Thing, owners: Owners) -> bool:
    return _of_sandbox(thing, owners) or thing.owner in owners.containers


def _held_snapshot(thing: Thing, owners: Owners) -> bool:
    return _of_either(thing, owners) or thing.name in owners.leased_snapshots


OWNED: Mapping[Kind, Callable[[Thing, Owners], bool]] = {
    Kind.NETWORK_NAMESPACE: _of_known_sandbox_prefix,
    Kind.SANDBOX_FILES: _of_sandbox,
    Kind.CONTAINER_FILES: _of_container,
    Kind.LAYERS: _of_either,
    Kind.ATTACHMENT: _of_sandbox,
    Kind.RESERVATION: _of_sandbox,
    Kind.SNAPSHOT: _held_snapshot,
    Kind.LEASE: lambda thing, owners: thing.owner in owners.servers,
    Kind.TASK: lambda thing, owners: thing.owner in owners.records,
    Kind.SHIM: lambda thing, owners: thing.owner in owners.records,
    Kind.CONTAINER: _of_sandbox,
    Kind.FOLLOWED_LOG: lambda thing, owners: thing.owner in owners.containers,
}
REASONS: Mapping[Kind, tuple[str, Remedy]] = {
    Kind.NETWORK_NAMESPACE: ("no sandbox has it", Remedy.REMOVE),
    Kind.SANDBOX_FILES: ("the sandbox is gone", Remedy.REMOVE),
    Kind.CONTAINER_FILES: ("the container is gone", Remedy.REMOVE),
    Kind.LAYERS: ("what they were mounted for is gone", Remedy.REMOVE),
    Kind.ATTACHMENT: ("the sandbox is gone and its address is still held", Remedy.REMOVE),
    Kind.RESERVATION: (
        "reserved for a sandbox that is neither known nor cached; delete the file if no other runtime uses the network",
        Remedy.REPORT,
    ),
    Kind.SNAPSHOT: ("no container has it", Remedy.REMOVE),
    Kind.LEASE: ("the server that took it is gone", Remedy.REMOVE),
    Kind.TASK: ("it has no record; end its shim", Remedy.REPORT),
    Kind.SHIM: ("containerd has forgotten it, and nothing runs below it", Remedy.REMOVE),
    Kind.CONTAINER: ("its sandbox is gone", Remedy.REMOVE),
    Kind.FOLLOWED_LOG: ("the container is gone", Remedy.REMOVE),
}
ALIVE_REASONS: Mapping[Kind, str] = {
    Kind.NETWORK_NAMESPACE: "no sandbox has it, but processes live in it; end them first",
    Kind.SHIM: "containerd has forgotten it; end what runs below it, then the shim",
    Kind.CONTAINER: "its sandbox is gone, and it runs; stop and remove it",
}
