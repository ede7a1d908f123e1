from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri.network.attachment import Attachment, AttachmentError, from_document, to_document
from cri.network.configuration import VERSIONS
from cri.network.documents import JsonObject, decode_object, encode
from cri.network.record import from_record, to_record
from cri.network.result import (
    AssignedAddress,
    AttachmentResult,
    Dns,
    Interface,
    ListedAddress,
    NetworkResult,
    Route,
    combine,
    pod_ips,
)
from cri.network.result_document import ResultError, parse_result, render_result

FLAT: JsonObject = {
    "ip4": {"ip": "10.1.0.5/16", "gateway": "10.1.0.1", "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}]},
    "ip6": {"ip": "fd00::5/64", "routes": [{"dst": "::/0"}]},
    "dns": {"nameservers": ["10.1.0.1"], "domain": "pods"},
}
LISTED: JsonObject = {
    "cniVersion": "1.1.0",
    "interfaces": [
        {"name": "cni0", "mac": "aa"},
        {"name": "eth0", "sandbox": "/ns", "mtu": 1400, "pciID": "p"},
    ],
    "ips": [{"address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 1}, {"address": "FD00:0::5/64"}],
    "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1", "mtu": 1400, "table": 0, "scope": 253}],
    "dns": {"search": ["pods"], "options": ["ndots:5"]},
}


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_flat_results(version: str) -> None:
    result = parse_result(FLAT, version)
    assert result.ips == (ListedAddress("10.1.0.5", 16, "10.1.0.1"), ListedAddress("fd00::5", 64))
    assert result.routes == (Route("0.0.0.0/0", "10.1.0.1"), Route("::/0"))
    assert result.dns == Dns(nameservers=("10.1.0.1",), domain="pods")


def test_listed_results() -> None:
    result = parse_result(LISTED, "1.0.0")
    assert result.interfaces[1] == Interface("eth0", sandbox="/ns", mtu=1400, pci_id="p")
    assert result.ips == (ListedAddress("10.1.0.5", 16, "10.1.0.1", 1), ListedAddress("fd00::5", 64))
    assert result.routes == (Route("0.0.0.0/0", "10.1.0.1", mtu=1400, table=0, scope=253),)


def test_nulls_count_as_absent() -> None:
    empty = {"cniVersion": "1.0.0", "interfaces": None, "ips": None, "routes": None, "dns": None}
    assert parse_result(empty, "1.0.0") == NetworkResult()


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"cniVersion": "3.0.0"}, "3.0.0"),
        ({"cniVersion": 1}, "cniVersion"),
        ({"ips": {}}, "ips is not an array"),
        ({"ips": [3]}, "ips[0] is not an object"),
        ({"ips": [{"address": "10.1.0.5"}]}, "prefix length"),
        ({"ips": [{"address": "10.1.0.5/255.255.0.0"}]}, "prefix length"),
        ({"ips": [{"address": "10.1.0.5/33"}]}, "prefix length"),
        ({"ips": [{"address": "010.1.0.5/16"}]}, "ips[0].address"),
        ({"ips": [{"address": "fe80::1%eth0/64"}]}, "zone"),
        ({"ips": [{"address": "10.1.0.5/16", "interface": 0}]}, "there are 0 interfaces"),
        ({"ips": [{"address": "10.1.0.5/16", "interface": -1}], "interfaces": [{"name": "a"}]}, "is -1"),
        ({"ips": [{"address": "10.1.0.5/16", "gateway": "nowhere"}]}, "ips[0].gateway"),
        ({"interfaces": [{}]}, "name"),
        ({"interfaces": [None]}, "interfaces[0]"),
        ({"routes": [{"gw": "10.1.0.1"}]}, "routes[0].dst"),
        ({"routes": [{"dst": "0.0.0.0/0", "mtu": "big"}]}, "mtu"),
        ({"dns": []}, "dns"),
        ({"dns": {"search": ["a", 1]}}, "search"),
    ],
)
def test_bad_results_name_the_key(document: JsonObject, reason: str) -> None:
    with pytest.raises(ResultError) as caught:
        parse_result(document, "1.0.0")
    assert reason in str(caught.value)


ipv4 = st.ip_addresses(v=4).map(str)
ipv6 = st.ip_addresses(v=6).filter(lambda address: address.ipv4_mapped is None).map(str)
prefixed = ipv4.flatmap(lambda ip: st.integers(0, 32).map(lambda n: (ip, n))) | ipv6.flatmap(
    lambda ip: st.integers(0, 128).map(lambda n: (ip, n))
)
names = st.text(alphabet="abcdefgh0123", min_size=1, max_size=10)
gateways = st.just("") | ipv4 | ipv6
dns_values = st.builds(
    Dns,
    nameservers=st.lists(ipv4, max_size=2).map(tuple),
    domain=names | st.just(""),
    search=st.lists(names, max_size=2).map(tuple),
    options=st.lists(names, max_size=2).map(tuple),
)
numbers = st.none() | st.integers(0, 2**31)


@st.composite
def results(draw: st.DrawFn) -> NetworkResult:
    interfaces = draw(
        st.lists(
            st.builds(
                Interface,
                names,
                mac=names,
                sandbox=names,
                mtu=st.integers(0, 9000),
                pci_id=names,
                socket_path=names,
            ),
            max_size=3,
        )
    )
    index = st.none() | st.integers(0, len(interfaces) - 1) if interfaces else st.none()
    ips = draw(
        st.lists(
            st.tuples(prefixed, gateways, index).map(lambda p: ListedAddress(*p[0], p[1], p[2])), max_size=4
        )
    )
    routes = draw(
        st.lists(
            st.builds(
                lambda dst, gateway, *rest: Route(f"{dst[0]}/{dst[1]}", gateway, *rest),
                prefixed,
                gateways,
                numbers,
                numbers,
                numbers,
                numbers,
                numbers,
            ),
            max_size=3,
        )
    )
    return NetworkResult(tuple(interfaces), tuple(ips), tuple(routes), draw(dns_values))


@given(results(), st.sampled_from(VERSIONS))
def test_a_rendered_result_reads_back(result: NetworkResult, version: str) -> None:
    document = render_result(result, version)
    again = parse_result(decode_object(encode(document)), version)
    assert again.dns == result.dns
    assert render_result(again, version) == document, "rendering is stable"
    if version in ("1.0.0", "1.1.0"):
        assert again == result, "the newest forms carry everything"
    elif version.startswith(("0.3", "0.4")):
        assert (again.ips, again.routes) == (result.ips, result.routes)
    else:
        assert {item.address for item in again.ips} <= {item.address for item in result.ips}
        assert len(again.ips) <= 2, "one address a family"


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["ip", "address", "name", "dst", "gw", "interface", "mtu", "routes"]), inner
        )
    ),
)


@given(
    st.dictionaries(
        st.sampled_from(["cniVersion", "ips", "interfaces", "routes", "dns", "ip4", "ip6"]), documents
    ),
    st.sampled_from(VERSIONS),
)
def test_any_document_is_a_result_or_a_result_error(document: JsonObject, version: str) -> None:
    try:
        parse_result(document, version)
    except ResultError:
        pass


def attached(*addresses: str, interface: str = "eth0") -> AttachmentResult:
    return AttachmentResult((), tuple(AssignedAddress(item, interface) for item in addresses))


@pytest.mark.parametrize(
    ("addresses", "preference", "primary", "additional"),
    [
        ((), "ipv4", "", ()),
        (("fd00::1", "10.0.0.1", "10.0.0.2"), "ipv4", "10.0.0.1", ("fd00::1", "10.0.0.2")),
        (("10.0.0.1", "fd00::1"), "ipv6", "fd00::1", ("10.0.0.1",)),
        (("fd00::1", "10.0.0.1"), "cni", "fd00::1", ("10.0.0.1",)),
        (("fd00::1", "fd00::2"), "ipv4", "fd00::1", ("fd00::2",)),
    ],
)
def test_pod_ips(
    addresses: tuple[str, ...], preference: str, primary: str, additional: tuple[str, ...]
) -> None:
    assert pod_ips(attached(*addresses), preference) == (primary, additional)  # type: ignore[arg-type]


def test_pod_ips_are_those_of_eth0() -> None:
    assert pod_ips(attached("10.0.0.1", interface="eth1"), "ipv4") == ("", ())


def test_an_address_without_interface_is_on_the_one_that_was_asked_for() -> None:
    combined = combine([("eth0", parse_result(FLAT, "0.2.0")), ("eth1", parse_result(LISTED, "1.1.0"))], [])
    assert [(item.address, item.interface) for item in combined.ips] == [
        ("10.1.0.5", "eth0"),
        ("fd00::5", "eth0"),
        ("10.1.0.5", "eth0"),
        ("fd00::5", "eth1"),
    ]
    assert len(combined.dns) == 2


WRITTEN_BY_CONTAINERD = """{"Interfaces":{"cni0":{"IPConfigs":null,"Mac":"c6:35:98:8b:4e:4c","Sandbox":""},
"eth0":{"IPConfigs":[{"IP":"10.88.0.7","Gateway":"10.88.0.1"},{"IP":"2001:4860:4860::7","Gateway":""}],
"Mac":"aa:bb","Sandbox":"/var/run/netns/cni-1"},
"lo":{"IPConfigs":[{"IP":"127.0.0.1","Gateway":""},{"IP":"::1","Gateway":""}],"Mac":"00:00:00:00:00:00",
"Sandbox":"/var/run/netns/cni-1"}},"DNS":[{},{}],"Routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}"""


def test_a_record_of_containerd_is_read() -> None:
    result = from_record(json.loads(WRITTEN_BY_CONTAINERD))
    assert pod_ips(result, "ipv4") == ("10.88.0.7", ("2001:4860:4860::7",))
    assert result.routes == (Route("0.0.0.0/0"), Route("::/0"))
    assert result.attachments == ()
    again = to_record(result)
    assert again["Interfaces"]["eth0"]["IPConfigs"] == [  # type: ignore[index,call-overload]
        {"IP": "10.88.0.7", "Gateway": "10.88.0.1"},
        {"IP": "2001:4860:4860::7", "Gateway": ""},
    ]


ATTACHMENT = Attachment(
    network="pods",
    container_id="abc",
    interface="eth0",
    config=b'{"name":"pods","plugins":[{"type":"x"}]}',
    network_namespace="/ns",
    arguments=(("IgnoreUnknown", "1"), ("K8S_POD_NAME", "web")),
    capabilities={"portMappings": [{"hostPort": 80}]},
    result=LISTED,
)


@given(results())
def test_a_record_reads_back_completely(result: NetworkResult) -> None:
    document = render_result(result, "1.1.0")
    attachment = Attachment("pods", "abc", "eth0", b"{}", result=document)
    combined = combine([("eth0", result)], [attachment])
    assert from_record(decode_object(encode(to_record(combined)))) == combined


def test_what_containerd_reads_of_a_record() -> None:
    record = to_record(combine([("eth0", parse_result(LISTED, "1.1.0"))], [ATTACHMENT]))
    assert record["Interfaces"] == {
        "cni0": {"IPConfigs": None, "Mac": "aa", "Sandbox": "", "PciID": "", "SocketPath": ""},
        "eth0": {
            "IPConfigs": [{"IP": "10.1.0.5", "Gateway": "10.1.0.1"}, {"IP": "fd00::5", "Gateway": ""}],
            "Mac": "",
            "Sandbox": "/ns",
            "PciID": "p",
            "SocketPath": "",
        },
    }
    assert record["DNS"] == [{"search": ["pods"], "options": ["ndots:5"]}]


@pytest.mark.parametrize(
    "record", [{"Interfaces": 3}, {"Interfaces": {"eth0": None}}, {}, {"Interfaces": {}, "DNS": {}}]
)
def test_a_bad_record_is_a_value_error(record: JsonObject) -> None:
    with pytest.raises(ValueError, match="CNIResult"):
        from_record(record)


def test_an_attachment_reads_back_from_its_cache_document() -> None:
    assert from_document(decode_object(encode(to_document(ATTACHMENT)))) == ATTACHMENT


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"},
        {"config": "***"},
        {"ifName": ""},
        {"cniArgs": [["a"]]},
        {"result": []},
        {"networkName": None},
    ],
)
def test_a_damaged_cache_document_is_refused(change: JsonObject) -> None:
    with pytest.raises(AttachmentError):
        from_document(to_document(ATTACHMENT) | change)
