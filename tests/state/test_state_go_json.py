"""CRI messages survive the JSON that containerd's CRI plugin keeps them in."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from api.wire import criv1
from cri.state.go_json import from_go_json, to_go_json

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
mounts = st.builds(
    criv1.Mount,
    container_path=texts,
    host_path=texts,
    readonly=st.booleans(),
    propagation=st.sampled_from([0, 1, 2]),
    uidMappings=st.lists(st.builds(criv1.IDMapping, host_id=st.integers(0, 2**32 - 1)), max_size=2),
)
configs = st.builds(
    criv1.ContainerConfig,
    metadata=st.builds(criv1.ContainerMetadata, name=texts, attempt=st.integers(0, 2**32 - 1)),
    image=st.builds(criv1.ImageSpec, image=texts, annotations=st.dictionaries(texts, texts, max_size=2)),
    command=st.lists(texts, max_size=3),
    envs=st.lists(st.builds(criv1.KeyValue, key=texts, value=st.binary(max_size=20)), max_size=3),
    mounts=st.lists(mounts, max_size=3),
    labels=st.dictionaries(texts, texts, max_size=3),
    stdin=st.booleans(),
    stop_signal=st.sampled_from([0, 23, 40]),
    linux=st.builds(
        criv1.LinuxContainerConfig,
        resources=st.builds(
            criv1.LinuxContainerResources,
            cpu_quota=st.integers(-(2**63), 2**63 - 1),
            memory_limit_in_bytes=st.integers(0, 2**63 - 1),
            unified=st.dictionaries(texts, texts, max_size=2),
        ),
    ),
)


@given(configs)
def test_every_message_survives(config):
    text = json.dumps(to_go_json(config))
    assert from_go_json(criv1.ContainerConfig, json.loads(text)) == config


def test_the_form_is_gos():
    config = criv1.ContainerConfig(
        metadata=criv1.ContainerMetadata(name="web"),
        envs=[criv1.KeyValue(key="A", value=b"1")],
        mounts=[criv1.Mount(propagation=criv1.PROPAGATION_BIDIRECTIONAL, selinux_relabel=True)],
        linux=criv1.LinuxContainerConfig(resources=criv1.LinuxContainerResources(cpu_shares=2)),
    )
    assert to_go_json(config) == {
        "metadata": {"name": "web"},
        "envs": [{"key": "A", "value": "1"}],
        "mounts": [{"selinux_relabel": True, "propagation": 2}],
        "linux": {"resources": {"cpu_shares": 2}},
    }


def test_unknown_keys_and_nulls_are_passed_over():
    data = {"metadata": {"name": "web", "of_tomorrow": {"a": 1}}, "mounts": None, "new": 3}
    assert from_go_json(criv1.ContainerConfig, data).metadata.name == "web"


def test_an_empty_message_that_is_set_stays_set():
    config = criv1.ContainerConfig()
    config.linux.security_context.run_as_user.SetInParent()
    again = from_go_json(criv1.ContainerConfig, to_go_json(config))
    assert again.linux.security_context.HasField("run_as_user")
