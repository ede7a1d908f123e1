"""A network list carried out: which plugins run, in which order, and what each is told.

Section 3 of the CNI specification. ADD goes through the list, each plugin getting the result of the one
before; DEL goes through it backwards, and DEL and CHECK give every plugin the final result of ADD. STATUS and
GC are about the network, not about a container, and exist from version 1.1.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from cri.network.documents import JsonError, JsonObject, decode_object
from cri.network.errors import UNKNOWN_CONTAINER, PluginFailed, PluginTimedOut
from cri.network.invocation import Parameters, PluginInvoker
from cri.network.result_document import ResultError, parse_result, render_result, result_version
from cri.network.runtime_config import runtime_config

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cri.errors import CriError
    from cri.network.attachment import Attachment
    from cri.network.configuration import NetworkList, Plugin

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ListExecution:
    """One network list, ready to be carried out."""

    network: NetworkList
    invoker: PluginInvoker

    async def add(self, attachment: Attachment) -> JsonObject:
        """Attach; returns the last plugin's result. Raises PluginFailed or PluginTimedOut.

        Nothing is undone here: whoever called ADD calls DEL.
        """
        result: JsonObject | None = None
        for plugin in self.network.plugins:
            config = self._config(plugin, attachment, result)
            output = await self.invoker.call(plugin.type, "ADD", _parameters(attachment), config)
            result = self._result(plugin, output)
        return {} if result is None else result

    async def delete(self, attachment: Attachment, network_namespace: str) -> None:
        """Detach; `network_namespace` is empty when it is gone. Raises PluginFailed or PluginTimedOut.

        Stops at the first failure, because the earlier plugins' work (an address) must not be released while
        a later one's (a port mapping to that address) is still there.
        """
        previous = self._previous(attachment) if self.network.has_check else None
        parameters = _parameters(attachment, network_namespace)
        for plugin in reversed(self.network.plugins):
            config = self._config(plugin, attachment, previous)
            try:
                await self.invoker.call(plugin.type, "DEL", parameters, config)
            except PluginFailed as error:
                if not _nothing_to_delete(error, network_namespace):
                    raise
                log.info("CNI plugin had nothing to delete", plugin=plugin.type, error=error.text)

    async def check(self, attachment: Attachment) -> None:
        """Ask every plugin whether the attachment is intact. Raises PluginFailed or PluginTimedOut.

        A no-op where the list disables it or its version has no CHECK.
        """
        if self.network.disable_check or not self.network.has_check:
            return
        previous = self._previous(attachment)
        for plugin in self.network.plugins:
            config = self._config(plugin, attachment, previous)
            await self.invoker.call(plugin.type, "CHECK", _parameters(attachment), config)

    async def status(self, timeout_seconds: float) -> None:
        """Ask every plugin whether it could ADD now. Raises what the first that says no says.

        A no-op where the list's version has no STATUS.
        """
        if not self.network.has_status:
            return
        for plugin in self.network.plugins:
            await self.invoker.call(
                plugin.type, "STATUS", Parameters(), self._network_config(plugin), timeout_seconds
            )

    async def collect_garbage(self, valid: Iterable[tuple[str, str]]) -> list[CriError]:
        """Tell every plugin which (container ID, interface) pairs are still attached; it drops the rest.

        Everybody's attachments must be in `valid`, other runtimes' on the same network included. Returns the
        errors, since one plugin's failure does not stop the others. A no-op where the list disables it or its
        version has no GC.
        """
        if self.network.disable_gc or not self.network.has_status:
            return []
        attachments: JsonObject = {
            # Both spellings: plugins built with the first libcni 1.2 read the second.
            key: [{"containerID": container_id, "ifname": interface} for container_id, interface in valid]
            for key in ("cni.dev/valid-attachments", "cni.dev/attachments")
        }
        errors: list[CriError] = []
        for plugin in self.network.plugins:
            config = self._network_config(plugin) | attachments
            try:
                await self.invoker.call(plugin.type, "GC", Parameters(), config)
            except (PluginFailed, PluginTimedOut) as error:
                errors.append(error)
        return errors

    def _network_config(self, plugin: Plugin) -> JsonObject:
        return plugin.document | {"name": self.network.name, "cniVersion": self.network.cni_version}

    def _config(self, plugin: Plugin, attachment: Attachment, previous: JsonObject | None) -> JsonObject:
        """What goes to stdin. `capabilities` stays in, as with libcni, because meta-plugins read it."""
        config = self._network_config(plugin)
        if previous is not None:
            config["prevResult"] = previous
        if chosen := runtime_config(plugin, attachment.capabilities):
            config["runtimeConfig"] = chosen
        return config

    def _result(self, plugin: Plugin, output: bytes) -> JsonObject:
        """The plugin's result as it printed it, but in the list's version, which the next plugin reads."""
        try:
            document = {} if output.strip() == b"null" else decode_object(output)
            return _in_version(document, self.network.cni_version)
        except (JsonError, ResultError) as error:
            shown = f"it printed {len(output)} bytes" if output else "it printed nothing"
            raise PluginFailed(plugin.type, "ADD", f"its result is unusable: {error}; {shown}") from None

    def _previous(self, attachment: Attachment) -> JsonObject | None:
        """ADD's final result; DEL does without if it cannot be understood any more."""
        if attachment.result is None:
            return None
        try:
            return _in_version(attachment.result, self.network.cni_version)
        except ResultError as error:
            log.warning("stored CNI result is unusable", network=self.network.name, error=str(error))
            return None


def _in_version(document: JsonObject, version: str) -> JsonObject:
    """Check a result and write it in `version`; unchanged, unknown keys included, if it already is."""
    parsed = parse_result(document, version)
    if result_version(document, version) == version:
        return document | {"cniVersion": version}
    return render_result(parsed, version)


def _parameters(attachment: Attachment, network_namespace: str | None = None) -> Parameters:
    return Parameters(
        container_id=attachment.container_id,
        network_namespace=attachment.network_namespace if network_namespace is None else network_namespace,
        interface=attachment.interface,
        arguments=attachment.arguments,
    )


def _nothing_to_delete(error: PluginFailed, network_namespace: str) -> bool:
    """Whether a failed DEL only says that everything is gone already.

    The specification wants success then, but older plugins fail on a namespace or device that is not there;
    containerd and CRI-O excuse the same.
    """
    if error.code == UNKNOWN_CONTAINER:
        return True
    if error.code is None:
        return False
    text = f"{error.text} {error.details}".lower()
    if "executable file not found" in text:
        return False  # the plugin lacks a program of its own, such as iptables: its work is still there
    return "not found" in text or (not network_namespace and "no such file or directory" in text)
