"""Kubernetes Pod manifests and the CRI requests made of them."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from api.wire import criv1 as cri
from cri.app.pod.expansion import expand
from cri.app.pod.fields import ManifestError
from cri.app.pod.manifest import etc_hosts, read_manifest
from cri.app.pod.resources import cpu_shares, milli_cores

FULL = """
apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: shop
  labels: {app: web}
  annotations: {team: a}
spec:
  restartPolicy: Never
  runtimeClassName: kata
  terminationGracePeriodSeconds: 5
  hostname: front
  hostAliases: [{ip: 10.9.9.9, hostnames: [db, database]}]
  dnsPolicy: "None"
  dnsConfig:
    nameservers: [1.2.3.4]
    searches: [example.org]
    options: [{name: ndots, value: "2"}, {name: rotate}]
  shareProcessNamespace: true
  securityContext:
    runAsUser: 1000
    runAsGroup: 1001
    supplementalGroups: [5, 6]
    sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: "0"}]
    seccompProfile: {type: RuntimeDefault}
  initContainers:
    - name: prepare
      image: docker.io/library/busybox:1
      imagePullPolicy: Never
  containers:
    - name: server
      image: docker.io/library/busybox:1
      imagePullPolicy: Always
      command: [sh, -c]
      args: ["echo $(GREETING) $(ABSENT) $$(GREETING)"]
      workingDir: /srv
      env:
        - {name: WHO, value: world}
        - {name: GREETING, value: hello $(WHO)}
        - {name: EMPTY}
      ports:
        - {name: http, containerPort: 80, hostPort: 8080}
        - {containerPort: 53, protocol: UDP}
      resources:
        requests: {cpu: 250m, memory: 32Mi}
        limits: {cpu: "1.5", memory: 64Mi}
      securityContext:
        runAsUser: 0
        readOnlyRootFilesystem: true
        allowPrivilegeEscalation: false
        capabilities: {add: [NET_ADMIN], drop: [ALL]}
        seccompProfile: {type: Localhost, localhostProfile: p.json}
      volumeMounts:
        - {name: data, mountPath: /data, subPath: a/../b}
        - {name: host, mountPath: /host, readOnly: true, mountPropagation: HostToContainer}
      tty: true
      stdin: true
  volumes:
    - {name: data, emptyDir: {sizeLimit: 1Gi}}
    - {name: host, hostPath: {path: /srv/host, type: DirectoryOrCreate}}
"""


def plan_of(text: str):
    return read_manifest(text, "uid-1", Path("/pods"))


def test_the_sandbox():
    pod = plan_of(FULL)
    sandbox = pod.sandbox
    assert (pod.name, pod.namespace, pod.runtime_handler) == ("web", "shop", "kata")
    assert sandbox.metadata == cri.PodSandboxMetadata(name="web", namespace="shop", uid="uid-1")
    assert sandbox.hostname == "front"
    assert sandbox.log_directory == "/pods/shop_web_uid-1/logs"
    assert dict(sandbox.labels) == {
        "app": "web",
        "io.kubernetes.pod.name": "web",
        "io.kubernetes.pod.namespace": "shop",
        "io.kubernetes.pod.uid": "uid-1",
    }
    assert sandbox.annotations["team"] == "a"
    assert sandbox.dns_config == cri.DNSConfig(
        servers=["1.2.3.4"], searches=["example.org"], options=["ndots:2", "rotate"]
    )
    assert list(sandbox.port_mappings) == [
        cri.PortMapping(protocol=cri.TCP, container_port=80, host_port=8080)
    ], "a port without hostPort needs no mapping"
    assert dict(sandbox.linux.sysctls) == {"net.ipv4.ip_unprivileged_port_start": "0"}
    options = sandbox.linux.security_context.namespace_options
    assert (options.network, options.pid, options.ipc) == (cri.POD, cri.POD, cri.POD)
    assert sandbox.linux.security_context.run_as_user.value == 1000


def test_the_containers():
    pod = plan_of(FULL)
    assert pod.images == (("docker.io/library/busybox:1", "Always"),), "the strictest policy, once an image"
    (init,) = pod.init_containers
    assert init.config.linux.security_context.run_as_user.value == 1000, "what the pod says holds for all"
    (server,) = pod.containers
    config = server.config
    assert list(config.command) == ["sh", "-c"]
    assert list(config.args) == ["echo hello world $(ABSENT) $(GREETING)"]
    assert [(each.key, each.value) for each in config.envs] == [
        ("WHO", b"world"),
        ("GREETING", b"hello world"),
        ("EMPTY", b""),
    ]
    assert config.working_dir == "/srv"
    assert (config.tty, config.stdin, config.stdin_once) == (True, True, False)
    assert config.log_path == "server/0.log"
    assert config.labels["io.kubernetes.container.name"] == "server"
    resources = config.linux.resources
    assert (resources.cpu_shares, resources.cpu_period, resources.cpu_quota) == (256, 100000, 150000)
    assert resources.memory_limit_in_bytes == 64 << 20
    security = config.linux.security_context
    assert security.HasField("run_as_user")
    assert (security.run_as_user.value, security.run_as_group.value) == (0, 1001)
    assert (security.readonly_rootfs, security.no_new_privs, security.privileged) == (True, True, False)
    assert list(security.capabilities.add_capabilities) == ["NET_ADMIN"]
    assert list(security.capabilities.drop_capabilities) == ["ALL"]
    assert list(security.supplemental_groups) == [5, 6]
    assert security.seccomp.localhost_ref == "p.json"
    assert "/proc/kcore" in security.masked_paths


def test_the_volumes():
    pod = plan_of(FULL)
    mounts = {mount.container_path: mount for mount in pod.containers[0].config.mounts}
    assert mounts["/data"].host_path == "/pods/shop_web_uid-1/volumes/data/b"
    assert mounts["/host"].host_path == "/srv/host"
    assert mounts["/host"].readonly
    assert mounts["/host"].propagation == cri.PROPAGATION_HOST_TO_CONTAINER
    assert mounts["/etc/hosts"].host_path == "/pods/shop_web_uid-1/etc-hosts"
    assert [(str(each.path), each.mode) for each in pod.directories] == [
        ("/pods/shop_web_uid-1/volumes/data", 0o777),
        ("/srv/host", 0o755),
    ]
    assert etc_hosts(pod, "10.1.0.2") == (
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
        "10.1.0.2\tfront\n10.9.9.9\tdb database\n"
    )


MINIMAL = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p"},
    "spec": {"containers": [{"name": "c", "image": "i"}]},
}


def changed(path: str, value: object) -> str:
    """The minimal manifest with one value set; the path's parts are keys and list indexes."""
    document = yaml.safe_load(yaml.safe_dump(MINIMAL))
    *parents, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
    inside = document
    for part in parents:
        inside = inside.setdefault(part, {}) if isinstance(inside, dict) else inside[part]
    inside[last] = value
    return yaml.safe_dump(document)


def test_the_defaults_of_a_minimal_pod():
    pod = plan_of(yaml.safe_dump(MINIMAL))
    assert pod.namespace == "default"
    assert pod.sandbox.hostname == "p"
    assert not pod.sandbox.HasField("dns_config")
    assert pod.images == (("i", "IfNotPresent"),)
    security = pod.containers[0].config.linux.security_context
    assert not security.HasField("run_as_user")
    assert not security.HasField("seccomp"), "the server's own default counts"
    assert security.namespace_options.pid == cri.CONTAINER
    assert pod.containers[0].config.linux.resources == cri.LinuxContainerResources(cpu_shares=2)


def test_host_network():
    pod = plan_of(changed("spec.hostNetwork", value=True))
    assert pod.host_network
    assert pod.sandbox.hostname == ""
    assert pod.sandbox.linux.security_context.namespace_options.network == cri.NODE
    assert not pod.containers[0].config.mounts, "the host's own /etc/hosts is right there"


def test_privileged():
    pod = plan_of(changed("spec.containers.0.securityContext", {"privileged": True}))
    assert pod.sandbox.linux.security_context.privileged
    assert not pod.containers[0].config.linux.security_context.masked_paths


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("kind", "Deployment", "kind: expected a Pod of apiVersion v1"),
        ("metadata.name", "Web", 'metadata.name: "Web" is not a lower-case DNS name'),
        ("metadata.name", None, "metadata.name: is required"),
        ("metadata.labels", {"a": 1}, "metadata.labels.a: expected a string, got an integer"),
        ("spec.containers", [], "spec.containers: a pod needs at least one"),
        ("spec.containers", {}, "spec.containers: expected a list, got a mapping"),
        ("spec.containers.0", "x", "spec.containers[0]: expected a mapping, got a string"),
        ("spec.containers.0.image", 3, "spec.containers[0].image: expected a string, got an integer"),
        ("spec.containers.0.command", "sh", "spec.containers[0].command: expected a list, got a string"),
        ("spec.containers.0.command", [1], "spec.containers[0].command: expected a string, got an integer"),
        (
            "spec.containers.0.livenessProbe",
            {},
            "spec.containers[0].livenessProbe: is not supported by cri-shim pod",
        ),
        (
            "spec.containers.0.comand",
            [],
            'spec.containers[0].comand: is not supported by cri-shim pod; did you mean "command"?',
        ),
        (
            "spec.containers.0.env",
            [{"name": "A", "valueFrom": {}}],
            "spec.containers[0].env[0].valueFrom: is not supported",
        ),
        ("spec.containers.0.imagePullPolicy", "Often", "spec.containers[0].imagePullPolicy: "),
        (
            "spec.containers.0.ports",
            [{"containerPort": 0}],
            "spec.containers[0].ports[0].containerPort: 0 is",
        ),
        ("spec.containers.0.ports", [{"containerPort": 1, "hostPort": 70000}], "ports[0].hostPort: 70000 is"),
        (
            "spec.containers.0.ports",
            [{"containerPort": 1, "protocol": "ICMP"}],
            'ports[0].protocol: "ICMP" is not one of TCP, UDP, SCTP',
        ),
        (
            "spec.containers.0.resources",
            {"limits": {"cpu": "lots"}},
            'spec.containers[0].resources.limits.cpu: "lots" is not a number of cores',
        ),
        ("spec.containers.0.resources", {"limits": {"memory": "1Zi"}}, "resources.limits.memory: "),
        (
            "spec.containers.0.resources",
            {"limits": {"nvidia.com/gpu": 1}},
            "limits.nvidia.com/gpu: is not supp",
        ),
        (
            "spec.containers.0.volumeMounts",
            [{"name": "v", "mountPath": "/v"}],
            'spec.containers[0].volumeMounts[0].name: the pod has no volume "v"',
        ),
        ("spec.volumes", [{"name": "v"}], 'spec.volumes[0].name: volume "v" must be an emptyDir'),
        ("spec.volumes", [{"name": "v", "secret": {}}], "spec.volumes[0].name: "),
        (
            "spec.volumes",
            [{"name": "v", "emptyDir": {"medium": "Memory"}}],
            "emptyDir.medium: is not supported",
        ),
        ("spec.volumes", [{"name": "v", "hostPath": {"path": "rel"}}], 'path: "rel" is not an absolute path'),
        ("spec.hostname", 3, "spec.hostname: expected a string, got an integer"),
        ("spec.dnsPolicy", "Mine", 'spec.dnsPolicy: "Mine" is not ClusterFirst, Default or None'),
        ("spec.dnsConfig", {"nameservers": ["1.1.1.1"]}, "spec.dnsConfig: is used only with dnsPolicy"),
        ("spec.securityContext", {"fsGroup": 1}, "spec.securityContext.fsGroup: is not supported"),
        (
            "spec.securityContext",
            {"runAsNonRoot": True},
            "runAsNonRoot: is true, so runAsUser must say which",
        ),
        ("spec.securityContext", {"seccompProfile": {"type": "x"}}, "seccompProfile.type: "),
        (
            "spec.securityContext",
            {"seccompProfile": {"type": "Localhost"}},
            "seccompProfile.localhostProfile: ",
        ),
        ("spec.securityContext", {"supplementalGroupsPolicy": "x"}, "supplementalGroupsPolicy: "),
        ("spec.hostPID", "yes", "spec.hostPID: expected true or false, got a string"),
        ("spec.ephemeralContainers", [], "spec.ephemeralContainers: is not supported"),
        ("spec", None, "spec.containers: a pod needs at least one"),
    ],
)
def test_what_cannot_run_is_refused_with_its_path(path, value, message):
    with pytest.raises(ManifestError) as caught:
        plan_of(changed(path, value))
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected one document, got 0"),
        ("a: 1\n---\nb: 2", "expected one document, got 2"),
        ("a: [", "not YAML"),
        ("- a", "manifest: expected a mapping, got a list"),
    ],
)
def test_what_is_no_manifest(text, message):
    with pytest.raises(ManifestError, match=r"manifest") as caught:
        plan_of(text)
    assert message in caught.value.message


def test_a_sub_path_must_stay_in_its_volume():
    document = yaml.safe_load(FULL)
    for bad in ("../x", "/etc", "a/../../x"):
        document["spec"]["containers"][0]["volumeMounts"][0]["subPath"] = bad
        with pytest.raises(ManifestError, match="leaves the volume"):
            plan_of(yaml.safe_dump(document))


@pytest.mark.parametrize(
    ("text", "milli"), [("250m", 250), ("1", 1000), ("0.5", 500), ("1.5", 1500), (".1", 100), ("0.0001", 1)]
)
def test_cores(text, milli):
    assert milli_cores(text) == milli


@pytest.mark.parametrize(("milli", "shares"), [(0, 2), (1, 2), (250, 256), (1000, 1024), (10**9, 262144)])
def test_shares(milli, shares):
    assert cpu_shares(milli) == shares


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(B)", "$(B)"),
        ("$A $", "$A $"),
        ("$(", "$("),
        ("$(A", "$(A"),
    ],
)
def test_expansion(text, expanded):
    assert expand(text, {"A": "1"}) == expanded


@given(st.text().filter(lambda text: "$" not in text))
def test_text_without_references_stays(text):
    assert expand(text, {"A": "1"}) == text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(["spec", "metadata", "spec.containers.0", "spec.volumes", "spec.containers.0.ports"]),
)
def test_any_wrong_document_ends_in_a_manifest_error(value, path):
    try:
        plan_of(changed(path, value))
    except ManifestError:
        pass
