"""A process without core dumps, in a process of its own: nothing here can be undone."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, resource, signal, subprocess
from cri.linux.core_dumps import forbid_core_dumps
from cri.linux.syscalls import is_dumpable
assert is_dumpable()
forbid_core_dumps()
assert not is_dumpable()
assert resource.getrlimit(resource.RLIMIT_CORE)[0] == 0
open('/proc/self/fd/0').close()
os.readlink('/proc/self/ns/net')
print(subprocess.run(['sh', '-c', 'ulimit -c'], capture_output=True, text=True, check=True).stdout, end='', flush=True)
os.kill(os.getpid(), signal.SIGABRT)
"""


def test_neither_the_process_nor_its_children_leave_a_core():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.stdout == "0\n", done.stderr
    assert done.returncode == -6
