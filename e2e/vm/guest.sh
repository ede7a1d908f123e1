#!/usr/bin/env bash
# In the virtual machine: run the tests, say how they ended. The last line is what run.sh looks for.
set -uo pipefail
export PATH=/project/vm-bin:/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PYTHONPATH=/project
export HOME=/root LANG=C.UTF-8 XDG_CACHE_HOME=/root/.cache
export E2E_PATIENCE=10
# The console would fold and colour.
export COLUMNS=120 TERM=dumb NO_COLOR=1

readonly TESTS=(
  e2e/test_systemd.py e2e/test_service.py e2e/test_apparmor.py e2e/test_resources.py e2e/test_stats.py
  e2e/test_security.py e2e/test_sandbox_config.py e2e/test_mounts.py e2e/test_containers.py e2e/test_pods.py
)
cd /project
mkdir -p /root/.cache/cri-shim
[[ ! -d vm-cache ]] || cp -r vm-cache/. /root/.cache/cri-shim/

echo "kernel $(uname -r), cgroup $(stat -fc %T /sys/fs/cgroup), systemd $(systemctl --version | sed -n '1s/systemd //p')"
echo "containerd $(containerd --version | cut -d' ' -f3), $(runc --version | head -1), AppArmor $(cat /sys/module/apparmor/parameters/enabled)"
mapfile -t arguments < <(grep . vm-arguments)
if [[ ${arguments[0]:-} == critest ]]; then
  python3 -m e2e.critest "${arguments[@]:1}"
  status=$?
elif ((${#arguments[@]})); then
  python3 -m pytest -q --timeout=600 "${arguments[@]}"
  status=$?
else
  python3 -m pytest -q --timeout=600 "${TESTS[@]}"
  status=$?
  # A runc that maps the ids of mounts, where run.sh found one.
  if [[ -d /root/.cache/cri-shim/containerd/2.1 ]]; then
    export E2E_CONTAINERD=2.1
    python3 -m pytest -q --timeout=600 e2e/test_user_namespaces.py || status=1
  fi
  if command -v critest > /dev/null; then
    python3 -m e2e.critest || status=1
  fi
fi
echo "tests in the virtual machine ended with $status"
exit "$status"
