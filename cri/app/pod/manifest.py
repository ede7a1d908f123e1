"""From a Kubernetes Pod manifest to what the CRI server is asked. Pure.

What is understood is a pod's own running: containers, init containers, commands, environment, resources,
ports, security contexts, volumes of the kinds emptyDir and hostPath, name resolution. What steers a cluster
has no effect and is accepted; what would change how containers run and is not understood is refused.
Where this differs from Kubernetes: nothing restarts a container, whatever restartPolicy says; an image
without imagePullPolicy is pulled only if it is absent; dnsPolicy ClusterFirst means the host's resolv.conf.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import yaml

from api.wire import criv1 as cri
from cri.app.pod import plan
from cri.app.pod.expansion import expand
from cri.app.pod.fields import Fields, ManifestError
from cri.app.pod.resources import resources
from cri.app.pod.security import PodSecurity, container_context, pod_security, sandbox_context
from cri.app.pod.volumes import Volume, mounts, volumes

if TYPE_CHECKING:
    from pathlib import Path

LONGEST_HOSTNAME = 63
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", re.ASCII)
_IGNORED_METADATA = ("creationTimestamp", "generation", "managedFields", "ownerReferences", "resourceVersion")
_IGNORED_SPEC = (
    *("affinity", "automountServiceAccountToken", "enableServiceLinks", "nodeName", "nodeSelector", "os"),
    *(
        "preemptionPolicy",
        "priority",
        "priorityClassName",
        "restartPolicy",
        "schedulerName",
        "serviceAccount",
    ),
    *("serviceAccountName", "tolerations", "topologySpreadConstraints"),
)
_IGNORED_CONTAINER = ("terminationMessagePath", "terminationMessagePolicy")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_HIGHEST_PORT = 65535


def read_manifest(text: str, uid: str, directory: Path) -> plan.PodPlan:
    """Read one Pod from YAML or JSON.

    `uid` names this instance of the pod; below `directory` its log files and volumes will be. Raises
    ManifestError naming the field that is missing, wrong or not supported.
    """
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        raise ManifestError(f"manifest: not YAML: {error}") from error
    if len(documents) != 1:
        raise ManifestError(f"manifest: expected one document, got {len(documents)}")
    fields = Fields(documents[0])
    if (fields.text("apiVersion"), fields.text("kind")) != ("v1", "Pod"):
        raise fields.wrong("kind", "expected a Pod of apiVersion v1")
    metadata, spec = fields.table("metadata"), fields.table("spec")
    fields.ignore(["status"])
    fields.finish()
    return _pod(metadata, spec, uid, directory)


def _pod(metadata: Fields, spec: Fields, uid: str, directory: Path) -> plan.PodPlan:
    name, namespace = metadata.text("name"), metadata.text("namespace", "default")
    if not _NAME.fullmatch(name):
        raise metadata.wrong("name", f'"{name}" is not a lower-case DNS name')
    if not _NAME.fullmatch(namespace):
        raise metadata.wrong("namespace", f'"{namespace}" is not a lower-case DNS name')
    metadata.ignore(["uid"])
    identity = {plan.POD_NAME: name, plan.POD_NAMESPACE: namespace, plan.POD_UID: uid}
    paths = plan.PodPaths(directory / f"{namespace}_{name}_{uid}")
    security = pod_security(spec)
    available = volumes(spec, paths)
    grace = spec.integer("terminationGracePeriodSeconds", plan.DEFAULT_GRACE_SECONDS)
    aliases = _host_aliases(spec)
    reader = _ContainerReader(identity, security, available, paths, grace)
    init = tuple(reader.read(each) for each in spec.tables("initContainers"))
    containers = tuple(reader.read(each) for each in spec.tables("containers"))
    if not containers:
        raise spec.wrong("containers", "a pod needs at least one")
    host_network = security.namespaces.network == cri.NODE
    sandbox = cri.PodSandboxConfig(
        metadata=cri.PodSandboxMetadata(name=name, namespace=namespace, uid=uid, attempt=0),
        hostname="" if host_network else spec.text("hostname", name)[:LONGEST_HOSTNAME],
        log_directory=str(paths.logs),
        dns_config=_dns(spec),
        port_mappings=reader.ports,
        labels={**metadata.mapping("labels"), **identity},
        annotations={**metadata.mapping("annotations"), plan.DIRECTORY: str(paths.directory)},
        linux=cri.LinuxPodSandboxConfig(
            security_context=sandbox_context(security, privileged=reader.any_privileged),
            sysctls=security.sysctls,
        ),
    )
    runtime_handler = spec.text("runtimeClassName", "")
    spec.ignore(_IGNORED_SPEC)
    metadata.ignore(_IGNORED_METADATA)
    spec.ignore(["hostname"])
    spec.finish()
    metadata.finish()
    return plan.PodPlan(
        name=name,
        namespace=namespace,
        runtime_handler=runtime_handler,
        sandbox=sandbox,
        init_containers=init,
        containers=containers,
        paths=paths,
        directories=tuple(volume.create for volume in available.values() if volume.create is not None),
        host_aliases=aliases,
        host_network=host_network,
        images=_images((*init, *containers)),
    )


class _ContainerReader:
    """Reads the containers of one pod, collecting what concerns the pod as a whole."""

    def __init__(
        self,
        identity: dict[str, str],
        security: PodSecurity,
        available: dict[str, Volume],
        paths: plan.PodPaths,
        grace_seconds: int,
    ) -> None:
        self.ports: list[cri.PortMapping] = []
        self.any_privileged = False
        self._identity = identity
        self._security = security
        self._available = available
        self._paths = paths
        self._grace_seconds = grace_seconds
        self._names: set[str] = set()

    def read(self, fields: Fields) -> plan.ContainerPlan:
        """One entry of `containers` or `initContainers`."""
        name = fields.text("name")
        if not _NAME.fullmatch(name) or name in self._names:
            raise fields.wrong("name", f'"{name}" is taken or not a lower-case DNS label')
        self._names.add(name)
        image = fields.text("image")
        policy = fields.text("imagePullPolicy", "IfNotPresent")
        if policy not in _PULL_POLICIES:
            raise fields.wrong("imagePullPolicy", f'"{policy}" is not one of {", ".join(_PULL_POLICIES)}')
        context = container_context(fields.table("securityContext"), self._security)
        self.any_privileged |= context.privileged
        variables = _environment(fields)
        self.ports += [port for port in map(_port, fields.tables("ports")) if port is not None]
        config = cri.ContainerConfig(
            metadata=cri.ContainerMetadata(name=name, attempt=0),
            image=cri.ImageSpec(image=image, user_specified_image=image),
            command=[expand(each, variables) for each in fields.texts("command")],
            args=[expand(each, variables) for each in fields.texts("args")],
            working_dir=fields.text("workingDir", ""),
            envs=[cri.KeyValue(key=key, value=value.encode()) for key, value in variables.items()],
            mounts=[*mounts(fields, self._available), *self._etc_hosts()],
            labels={**self._identity, plan.CONTAINER_NAME: name},
            annotations={plan.GRACE_PERIOD: str(self._grace_seconds)},
            log_path=f"{name}/0.log",
            stdin=fields.boolean("stdin", default=False),
            stdin_once=fields.boolean("stdinOnce", default=False),
            tty=fields.boolean("tty", default=False),
            linux=cri.LinuxContainerConfig(
                resources=resources(fields.table("resources")), security_context=context
            ),
        )
        fields.ignore(_IGNORED_CONTAINER)
        fields.finish()
        return plan.ContainerPlan(name, image, policy, config)

    def _etc_hosts(self) -> list[cri.Mount]:
        """/etc/hosts is the client's business in CRI, except where the pod is on the host's network."""
        if self._security.namespaces.network == cri.NODE:
            return []
        return [cri.Mount(container_path="/etc/hosts", host_path=str(self._paths.etc_hosts))]


def etc_hosts(pod: plan.PodPlan, address: str) -> str:
    """The text of /etc/hosts for the containers of a pod that has got its address."""
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    lines.append(f"{address}\t{pod.sandbox.hostname}")
    lines += [f"{ip}\t{' '.join(names)}" for ip, names in pod.host_aliases]
    return "\n".join(lines) + "\n"


def _environment(container: Fields) -> dict[str, str]:
    variables: dict[str, str] = {}
    for fields in container.tables("env"):
        name = fields.text("name")
        variables[name] = expand(fields.text("value", ""), variables)
        fields.finish()
    return variables


def _port(fields: Fields) -> cri.PortMapping | None:
    fields.ignore(["name"])
    protocol = fields.text("protocol", "TCP")
    if protocol not in _PROTOCOLS:
        raise fields.wrong("protocol", f'"{protocol}" is not one of {", ".join(_PROTOCOLS)}')
    container_port, host_port = fields.integer("containerPort", 0), fields.integer("hostPort", 0)
    host_ip = fields.text("hostIP", "")
    for name, number, lowest in (("containerPort", container_port, 1), ("hostPort", host_port, 0)):
        if not lowest <= number <= _HIGHEST_PORT:
            raise fields.wrong(name, f"{number} is not a port")
    fields.finish()
    if not host_port:
        return None
    return cri.PortMapping(
        protocol=cri.Protocol.Value(protocol),
        container_port=container_port,
        host_port=host_port,
        host_ip=host_ip,
    )


def _dns(spec: Fields) -> cri.DNSConfig | None:
    policy = spec.text("dnsPolicy", "ClusterFirst")
    if policy not in {"ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"}:
        raise spec.wrong("dnsPolicy", f'"{policy}" is not ClusterFirst, Default or None')
    fields = spec.table("dnsConfig")
    if policy != "None":
        if spec.has("dnsConfig"):
            raise spec.wrong("dnsConfig", 'is used only with dnsPolicy "None" here')
        return None
    options = []
    for option in fields.tables("options"):
        name, value = option.text("name"), option.text("value", "")
        options.append(f"{name}:{value}" if value else name)
        option.finish()
    config = cri.DNSConfig(
        servers=fields.texts("nameservers"), searches=fields.texts("searches"), options=options
    )
    fields.finish()
    return config


def _host_aliases(spec: Fields) -> tuple[tuple[str, tuple[str, ...]], ...]:
    aliases = []
    for fields in spec.tables("hostAliases"):
        aliases.append((fields.text("ip"), tuple(fields.texts("hostnames"))))
        fields.finish()
    return tuple(aliases)


def _images(containers: tuple[plan.ContainerPlan, ...]) -> tuple[tuple[str, str], ...]:
    policies: dict[str, str] = {}
    for container in containers:
        known = policies.get(container.image)
        policies[container.image] = (
            "Always" if "Always" in {known, container.pull_policy} else container.pull_policy
        )
    return tuple(policies.items())
