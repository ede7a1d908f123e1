"""Every field of a pod's and a container's configuration has a test that shows it honoured or refused.

A field that is new in the protocol and missing here fails, and so does a row whose test is gone.
"""

from __future__ import annotations

import ast
from pathlib import Path

from api.wire import criv1

ROOT = Path(__file__).parents[2]

#: Test by field, as path::name; inside of tests/oci the folder is left out.
COVERED = {
    "PodSandboxConfig.metadata": "test_oci_sandbox.py::test_hostname_and_annotations",
    "PodSandboxConfig.hostname": "test_oci_sandbox.py::test_hostname_and_annotations",
    "PodSandboxConfig.log_directory": "e2e/test_pods.py::test_the_log_directory_is_made",
    "PodSandboxConfig.dns_config": "e2e/test_pods.py::test_hostname_resolver_and_shared_memory_are_the_pods_own",
    "PodSandboxConfig.port_mappings": "e2e/test_network.py::test_a_host_port_leads_to_the_pod_until_it_stops",
    "PodSandboxConfig.labels": "e2e/test_pods.py::test_status_gives_back_what_was_asked",
    "PodSandboxConfig.annotations": "test_oci_sandbox.py::test_hostname_and_annotations",
    "PodSandboxConfig.linux": "test_oci_sandbox.py::test_the_sandbox_has_the_smallest_share",
    "PodSandboxMetadata.name": "test_oci_sandbox.py::test_hostname_and_annotations",
    "PodSandboxMetadata.uid": "test_oci_sandbox.py::test_hostname_and_annotations",
    "PodSandboxMetadata.namespace": "test_oci_sandbox.py::test_hostname_and_annotations",
    "PodSandboxMetadata.attempt": "e2e/test_pods.py::test_status_gives_back_what_was_asked",
    "DNSConfig.servers": "e2e/test_pods.py::test_hostname_resolver_and_shared_memory_are_the_pods_own",
    "DNSConfig.searches": "e2e/test_pods.py::test_hostname_resolver_and_shared_memory_are_the_pods_own",
    "DNSConfig.options": "e2e/test_pods.py::test_hostname_resolver_and_shared_memory_are_the_pods_own",
    "PortMapping.protocol": "e2e/test_network.py::test_plugins_are_told_the_pod_and_its_ports",
    "PortMapping.container_port": "e2e/test_network.py::test_plugins_are_told_the_pod_and_its_ports",
    "PortMapping.host_port": "e2e/test_network.py::test_plugins_are_told_the_pod_and_its_ports",
    "PortMapping.host_ip": "e2e/test_network.py::test_plugins_are_told_the_pod_and_its_ports",
    "LinuxPodSandboxConfig.cgroup_parent": "test_oci_sandbox.py::test_paths",
    "LinuxPodSandboxConfig.security_context": "test_oci_namespaces.py::test_a_pod_on_the_host_shares_them",
    "LinuxPodSandboxConfig.sysctls": "test_oci_sandbox.py::test_a_pod_with_its_own_namespaces",
    "LinuxPodSandboxConfig.overhead": "e2e/test_resources.py::test_the_cgroup_of_a_pod_is_updated",
    "LinuxPodSandboxConfig.resources": "test_oci_sandbox.py::test_hostname_and_annotations",
    "LinuxSandboxSecurityContext.namespace_options": "test_oci_namespaces.py::test_a_pod_on_the_host_shares_them",
    "LinuxSandboxSecurityContext.selinux_options": "test_oci_confinement.py::test_labels_reach_the_specs",
    "LinuxSandboxSecurityContext.run_as_user": "test_oci_user.py::test_the_sandbox_leaves_the_images_groups_out",
    "LinuxSandboxSecurityContext.run_as_group": "test_oci_user.py::test_refusals_name_the_field",
    "LinuxSandboxSecurityContext.readonly_rootfs": "test_oci_mounts.py::test_the_sandbox_sees_its_files_read_only",
    "LinuxSandboxSecurityContext.supplemental_groups": (
        "test_oci_user.py::test_the_sandbox_leaves_the_images_groups_out"
    ),
    "LinuxSandboxSecurityContext.supplemental_groups_policy": "test_oci_user.py::test_refusals_name_the_field",
    "LinuxSandboxSecurityContext.privileged": (
        "test_oci_mounts.py::test_privileged_containers_and_their_pods_may_write_the_kernels"
    ),
    "LinuxSandboxSecurityContext.seccomp_profile_path": "test_oci_confinement.py::test_the_older_field",
    "LinuxSandboxSecurityContext.seccomp": "test_oci_confinement.py::test_the_sandbox_has_its_own",
    "LinuxSandboxSecurityContext.apparmor": "test_oci_confinement.py::test_the_sandbox_has_one_only_if_asked",
    "NamespaceOption.network": "test_oci_namespaces.py::test_modes_that_contradict_the_pod_are_refused",
    "NamespaceOption.pid": "test_oci_namespaces.py::test_pid_modes",
    "NamespaceOption.ipc": "test_oci_namespaces.py::test_modes_that_contradict_the_pod_are_refused",
    "NamespaceOption.target_id": "test_oci_namespaces.py::test_pid_modes",
    "NamespaceOption.userns_options": "test_oci_namespaces.py::test_user_namespaces_map_ids_and_files",
    "UserNamespace.mode": "test_oci_namespaces.py::test_mappings_that_are_not",
    "UserNamespace.uids": "test_oci_namespaces.py::test_mappings_that_are_not",
    "UserNamespace.gids": "test_oci_namespaces.py::test_mappings_that_are_not",
    "IDMapping.host_id": "test_oci_namespaces.py::test_mappings_that_are_supported",
    "IDMapping.container_id": "test_oci_namespaces.py::test_mappings_that_are_not",
    "IDMapping.length": "test_oci_namespaces.py::test_mappings_that_are_not",
    "SELinuxOption.user": "test_oci_confinement.py::test_malformed_options",
    "SELinuxOption.role": "test_oci_confinement.py::test_malformed_options",
    "SELinuxOption.type": "test_oci_confinement.py::test_labels_from_options",
    "SELinuxOption.level": "test_oci_confinement.py::test_labels_from_options",
    "SecurityProfile.profile_type": "test_oci_confinement.py::test_contradictions_are_refused",
    "SecurityProfile.localhost_ref": "test_oci_confinement.py::test_localhost",
    "Int64Value.value": "test_oci_user.py::test_ids",
    "LinuxContainerResources.cpu_period": "test_oci_resources.py::test_cpu_and_memory",
    "LinuxContainerResources.cpu_quota": "test_oci_resources.py::test_cpu_and_memory",
    "LinuxContainerResources.cpu_shares": "test_oci_resources.py::test_cpu_and_memory",
    "LinuxContainerResources.memory_limit_in_bytes": "test_oci_resources.py::test_cpu_and_memory",
    "LinuxContainerResources.oom_score_adj": (
        "test_oci_sandbox.py::test_values_are_raised_where_they_cannot_be_lowered"
    ),
    "LinuxContainerResources.cpuset_cpus": "test_oci_resources.py::test_cpu_and_memory",
    "LinuxContainerResources.cpuset_mems": "test_oci_resources.py::test_cpu_and_memory",
    "LinuxContainerResources.hugepage_limits": "test_oci_resources.py::test_huge_pages_replace_by_size",
    "LinuxContainerResources.unified": "test_oci_resources.py::test_unified_files_on_v2",
    "LinuxContainerResources.memory_swap_limit_in_bytes": (
        "test_oci_resources.py::test_swap_follows_the_limit_only_where_it_is_accounted"
    ),
    "HugepageLimit.page_size": "test_oci_resources.py::test_huge_pages_replace_by_size",
    "HugepageLimit.limit": "test_oci_resources.py::test_huge_pages_replace_by_size",
    "ContainerConfig.metadata": "test_oci_container.py::test_annotations",
    "ContainerConfig.image": "e2e/test_containers.py::test_the_image_gives_what_the_request_leaves_out",
    "ContainerConfig.command": "test_oci_process.py::test_command_and_args_override_entrypoint_and_cmd",
    "ContainerConfig.args": "test_oci_process.py::test_command_and_args_override_entrypoint_and_cmd",
    "ContainerConfig.working_dir": "test_oci_process.py::test_the_directory_is_the_requests_then_the_images",
    "ContainerConfig.envs": "test_oci_process.py::test_the_environment_is_layered_and_later_values_win_in_place",
    "ContainerConfig.mounts": "test_oci_mounts.py::test_a_requested_mount_replaces_ours",
    "ContainerConfig.devices": "test_oci_devices.py::test_a_device_gets_a_node_and_a_rule",
    "ContainerConfig.labels": "e2e/test_containers.py::test_status_tells_what_was_asked_and_what_runs",
    "ContainerConfig.annotations": "test_oci_container.py::test_annotations",
    "ContainerConfig.log_path": "e2e/test_logs.py::test_without_a_log_path_nothing_is_written_and_the_container_runs",
    "ContainerConfig.stdin": "e2e/test_containers.py::test_standard_input_stays_open_without_an_attacher",
    "ContainerConfig.stdin_once": "tests/container/test_container_attach.py::test_the_end_of_input",
    "ContainerConfig.tty": "e2e/test_logs.py::test_a_terminal_is_one_stream",
    "ContainerConfig.linux": "test_oci_resources.py::test_an_update_leaves_the_old_spec_for_the_way_back",
    "ContainerConfig.CDI_devices": "test_oci_cdi.py::test_all_edits_reach_the_spec",
    "ContainerConfig.stop_signal": "e2e/test_containers.py::test_the_stop_signal_of_the_request_is_sent",
    "ContainerMetadata.name": "test_oci_container.py::test_annotations",
    "ContainerMetadata.attempt": "e2e/test_containers.py::test_status_tells_what_was_asked_and_what_runs",
    "ImageSpec.image": "test_oci_mounts.py::test_image_volumes",
    "ImageSpec.image_ref": "e2e/test_mounts.py::test_an_image_is_a_volume",
    "ImageSpec.user_specified_image": "e2e/test_containers.py::test_status_tells_what_was_asked_and_what_runs",
    "KeyValue.key": "test_oci_process.py::test_impossible_variables_are_refused_without_telling_the_value",
    "KeyValue.value": "test_oci_process.py::test_values_that_are_not_utf8_are_kept_from_breaking_the_spec",
    "Mount.container_path": "test_oci_mounts.py::test_impossible_paths",
    "Mount.host_path": "test_oci_mounts.py::test_impossible_paths",
    "Mount.readonly": "e2e/test_containers.py::test_mounts_readonly_and_writable",
    "Mount.propagation": "test_oci_mounts.py::test_propagation",
    "Mount.uidMappings": "e2e/test_user_namespaces.py::test_volumes_are_seen_with_their_true_owners",
    "Mount.gidMappings": "e2e/test_user_namespaces.py::test_volumes_are_seen_with_their_true_owners",
    "Mount.recursive_read_only": "e2e/test_mounts.py::test_read_only_reaches_to_the_bottom_only_when_asked",
    "Mount.selinux_relabel": "e2e/test_security.py::test_without_selinux_labels_change_nothing",
    "Mount.image": "test_oci_mounts.py::test_image_volumes",
    "Mount.image_sub_path": "e2e/test_mounts.py::test_a_part_of_an_image",
    "Device.container_path": "test_oci_devices.py::test_a_device_gets_a_node_and_a_rule",
    "Device.host_path": "test_oci_devices.py::test_a_directory_keeps_its_shape",
    "Device.permissions": "e2e/test_devices.py::test_permissions_are_kept_by_the_kernel",
    "LinuxContainerConfig.resources": "test_oci_resources.py::test_an_update_leaves_the_old_spec_for_the_way_back",
    "LinuxContainerConfig.security_context": "test_oci_confinement.py::test_no_new_privs",
    "LinuxContainerSecurityContext.capabilities": "test_oci_capabilities.py::test_all_then_individual_ones",
    "LinuxContainerSecurityContext.privileged": "test_oci_devices.py::test_a_privileged_container_has_all_devices",
    "LinuxContainerSecurityContext.namespace_options": "test_oci_namespaces.py::test_pid_modes",
    "LinuxContainerSecurityContext.selinux_options": "test_oci_confinement.py::test_labels_reach_the_specs",
    "LinuxContainerSecurityContext.run_as_user": "test_oci_user.py::test_ids",
    "LinuxContainerSecurityContext.run_as_username": "test_oci_user.py::test_ids",
    "LinuxContainerSecurityContext.readonly_rootfs": "test_oci_mounts.py::test_files_are_read_only_with_the_root",
    "LinuxContainerSecurityContext.supplemental_groups": "test_oci_user.py::test_ids",
    "LinuxContainerSecurityContext.apparmor_profile": "test_oci_confinement.py::test_the_older_field",
    "LinuxContainerSecurityContext.seccomp_profile_path": "test_oci_confinement.py::test_the_older_field",
    "LinuxContainerSecurityContext.no_new_privs": "e2e/test_security.py::test_no_new_privileges",
    "LinuxContainerSecurityContext.run_as_group": "test_oci_user.py::test_refusals_name_the_field",
    "LinuxContainerSecurityContext.masked_paths": "test_oci_confinement.py::test_the_request_says_which",
    "LinuxContainerSecurityContext.readonly_paths": "test_oci_confinement.py::test_the_request_says_which",
    "LinuxContainerSecurityContext.seccomp": "e2e/test_security.py::test_seccomp_runtime_default_refuses_what_it_must",
    "LinuxContainerSecurityContext.apparmor": "test_oci_confinement.py::test_a_loaded_profile",
    "LinuxContainerSecurityContext.supplemental_groups_policy": (
        "e2e/test_security.py::test_groups_of_the_image_count_only_with_policy_merge"
    ),
    "Capability.add_capabilities": "test_oci_capabilities.py::test_names_in_any_spelling",
    "Capability.drop_capabilities": "test_oci_capabilities.py::test_names_in_any_spelling",
    "Capability.add_ambient_capabilities": (
        "e2e/test_security.py::test_ambient_capabilities_reach_a_user_who_is_not_root"
    ),
    "CDIDevice.name": "e2e/test_devices.py::test_the_edits_of_a_cdi_device_are_made",
}

#: Fields that ask for nothing of a container beyond being kept and given back.
WITHOUT_A_TEST = {
    "ImageSpec.annotations": "of the image request; kept in the record",
    "ImageSpec.runtime_handler": "chooses the snapshotter of a pull; a container has its sandbox's",
}


def configuration_fields() -> set[str]:
    """Every field that a pod's or a container's configuration can have on Linux."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting = [criv1.PodSandboxConfig.DESCRIPTOR, criv1.ContainerConfig.DESCRIPTOR]
    while waiting:
        message = waiting.pop()
        if message.name in seen or message.GetOptions().map_entry:
            continue
        seen.add(message.name)
        for field in message.fields:
            if field.name == "windows":
                continue
            found.add(f"{message.name}.{field.name}")
            if field.message_type is not None:
                waiting.append(field.message_type)
    return found


def test_every_field_has_a_row():
    rows = COVERED.keys() | WITHOUT_A_TEST.keys()
    missing, unknown = configuration_fields() - rows, rows - configuration_fields()
    assert not missing, f"fields without a row: {sorted(missing)}"
    assert not unknown, f"rows for fields that do not exist: {sorted(unknown)}"
    assert not COVERED.keys() & WITHOUT_A_TEST.keys()


def test_every_row_names_a_test():
    for field, reference in COVERED.items():
        file, name = located(reference)
        assert file.exists(), f"{field}: there is no {file}"
        names = {
            node.name
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert name in names, f"{field}: there is no {reference}"


def test_every_named_test_has_to_do_with_its_field():
    """The field is spelt out beside the test, or in what builds configurations for it."""
    for field, reference in COVERED.items():
        file, _ = located(reference)
        builder = (
            ROOT / "e2e/harness/cri.py" if file.is_relative_to(ROOT / "e2e") else file.parent / "conftest.py"
        )
        spelt = file.read_text() + builder.read_text()
        assert field.partition(".")[2] in spelt, f"{field}: {reference} does not mention it"


def located(reference: str) -> tuple[Path, str]:
    """The file and the name of a test."""
    path, _, name = reference.partition("::")
    return ROOT / path if "/" in path else ROOT / "tests" / "oci" / path, name
