"""Names, targets and images: kept up to date step by step, they are what they would be if built anew."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from api.containerd import Descriptor
from api.containerd import Image as Record
from cri.image.image import ImageConfig
from cri.image.names import Facts, Names
from cri.image.platform import Platform

AMD64, S390X, ARM64 = Platform("linux", "amd64"), Platform("linux", "s390x"), Platform("linux", "arm64")
PLATFORMS = (AMD64, S390X)
IDS = ["sha256:" + digit * 64 for digit in "123"]
TARGETS = ["sha256:" + digit * 64 for digit in "abc"]
NAMES = [*IDS, "r.example/a:1", "r.example/a:2", f"r.example/a@{TARGETS[0]}"]


def facts_of(image_id: str) -> Facts:
    return Facts(image_id, 10, ImageConfig(diff_ids=(image_id,)), f"sha256:{'f' * 64}")


def record(name: str, target: str, *, pinned: bool = False) -> Record:
    labels = {"io.cri-containerd.pinned": "pinned"} if pinned else {}
    return Record(name, Descriptor("application/vnd.oci.image.index.v1+json", target, 5), labels)


CONTENT = {
    TARGETS[0]: {AMD64: facts_of(IDS[0]), S390X: facts_of(IDS[1])},
    TARGETS[1]: {AMD64: facts_of(IDS[0]), ARM64: facts_of(IDS[2])},
    TARGETS[2]: {S390X: facts_of(IDS[2])},
}
"""An index of two platforms, another with one image in common, and one for another platform only."""

puts = st.tuples(
    st.sampled_from(NAMES), st.sampled_from(TARGETS), st.sets(st.integers(0, 1), min_size=1), st.booleans()
)
steps = st.lists(st.one_of(puts, st.sampled_from(NAMES)), max_size=20)


@settings(max_examples=500, deadline=None)
@given(steps)
def test_steps_lead_where_building_anew_does(
    steps: list[tuple[str, str, set[int], bool] | str],
) -> None:
    names = Names(PLATFORMS, ())
    records: dict[str, Record] = {}
    known: dict[str, dict[Platform, Facts]] = {}
    for step in steps:
        if isinstance(step, str):
            names.drop(step)
            records.pop(step, None)
        else:
            name, target, chosen, pinned = step
            content = list(CONTENT[target].items())
            facts = dict(content[number % len(content)] for number in chosen)
            records[name] = record(name, target, pinned=pinned)
            known.setdefault(target, {}).update(facts)
            names.put(records[name], facts)
        pointed = {record.target.digest for record in records.values()}
        known = {target: facts for target, facts in known.items() if target in pointed}
    anew = Names(PLATFORMS, ())
    for each in records.values():
        anew.put(each, known[each.target.digest])
    assert names.images() == anew.images()
    assert sorted(names) == sorted(records)
    for name in NAMES:
        assert names.named(name) == anew.named(name)
        assert [names.named_for(name, platform) for platform in PLATFORMS] == [
            anew.named_for(name, platform) for platform in PLATFORMS
        ]
        assert bool(names.named(name)) == (name in records), "every name stands for something"
    for image in names.images():
        assert image.names, "no image is without a name"
        assert all(image in names.named(name) for name in image.names)


def test_another_clients_tag_is_the_image_of_this_platform() -> None:
    names = Names(PLATFORMS, ())
    names.put(record("r.example/a:1", TARGETS[0]), CONTENT[TARGETS[0]])
    assert [image.id for image in names.images()] == [IDS[0]]
    names.put(record(IDS[1], TARGETS[0]), CONTENT[TARGETS[0]])
    assert [image.id for image in names.images()] == [IDS[1]], "the one that CRI has pulled is the one it is"
    assert names.named_for("r.example/a:1", AMD64) is None, "so that this platform's is pulled when asked for"


def test_other_pins_and_platforms_later() -> None:
    names = Names(PLATFORMS, ())
    names.put(record("r.example/a:1", TARGETS[0]), CONTENT[TARGETS[0]])
    names.reconfigure((S390X,), ("r.example/*",))
    (image,) = names.images()
    assert (image.id, image.pinned) == (IDS[1], True)
