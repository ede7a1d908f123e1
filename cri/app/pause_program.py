"""The smallest process for a sandbox container: it waits, reaps orphans, and ends when asked.

As the first process of a pod's PID namespace it must collect what is re-parented to it, and a signal without
a handler does nothing to it; so SIGTERM, SIGINT and SIGCHLD are blocked and then taken one at a time with
sigtimedwait(2). On x86-64 it is a static ELF file of less than 300 bytes, assembled here, which starts within
a millisecond; on other machines a shell loop does the same (see `PAUSE_SCRIPT`).
"""

from __future__ import annotations

import struct

BASE = 0x400000
HEADERS = 64 + 56
"""One ELF header and one program header (elf(5)), both of fixed size; the code follows them."""

PAUSE_SCRIPT = "trap 'exit 0' TERM INT; while :; do sleep 86400 & wait $!; done"
"""For `sh -c`: the shell's own wait reaps children, and a trap interrupts it."""

SIGINT, SIGTERM, SIGCHLD = 2, 15, 17
SIGNAL_SET = struct.pack("<Q", sum(1 << (number - 1) for number in (SIGINT, SIGTERM, SIGCHLD)))

# x86-64 system call numbers and the encodings of what is used: `mov eax, imm32` and so on.
RT_SIGPROCMASK, RT_SIGTIMEDWAIT, WAIT4, EXIT_GROUP = 14, 128, 61, 231
SYSCALL = b"\x0f\x05"
ZERO_EDI, ZERO_ESI, ZERO_EDX, ZERO_R10D = b"\x31\xff", b"\x31\xf6", b"\x31\xd2", b"\x45\x31\xd2"
TEST_EAX = b"\x85\xc0"
JUMP, JUMP_IF_EQUAL, JUMP_IF_GREATER = 0xEB, 0x74, 0x7F


class _Assembler:
    """Bytes with labels: short jumps and RIP-relative addresses are filled in at the end."""

    def __init__(self) -> None:
        self._code = bytearray()
        self._labels: dict[str, int] = {}
        self._holes: list[tuple[int, int, str]] = []

    def label(self, name: str) -> None:
        self._labels[name] = len(self._code)

    def emit(self, *parts: bytes) -> None:
        for part in parts:
            self._code += part

    def call_number(self, number: int) -> None:
        self.emit(b"\xb8" + struct.pack("<I", number))  # mov eax, number

    def jump(self, condition: int, target: str) -> None:
        self.emit(bytes((condition, 0)))
        self._holes.append((len(self._code) - 1, 1, target))

    def address(self, opcode: bytes, target: str) -> None:
        self.emit(opcode, bytes(4))
        self._holes.append((len(self._code) - 4, 4, target))

    def finished(self) -> bytes:
        for place, width, target in self._holes:
            distance = self._labels[target] - (place + width)
            self._code[place : place + width] = distance.to_bytes(width, "little", signed=True)
        return bytes(self._code)


def _code() -> bytes:
    set_size = b"\x41\xba" + struct.pack("<I", len(SIGNAL_SET))  # mov r10d, 8
    program = _Assembler()
    program.call_number(RT_SIGPROCMASK)
    program.emit(ZERO_EDI)  # SIG_BLOCK
    program.address(b"\x48\x8d\x35", "signals")  # lea rsi, [rip + signals]
    program.emit(ZERO_EDX, set_size, SYSCALL)
    program.label("wait")
    program.call_number(RT_SIGTIMEDWAIT)
    program.address(b"\x48\x8d\x3d", "signals")  # lea rdi, [rip + signals]
    program.emit(ZERO_ESI, ZERO_EDX, set_size, SYSCALL)
    for number, target in ((SIGCHLD, "reap"), (SIGTERM, "end"), (SIGINT, "end")):
        program.emit(b"\x83\xf8" + bytes((number,)))  # cmp eax, number
        program.jump(JUMP_IF_EQUAL, target)
    program.jump(JUMP, "wait")
    program.label("reap")
    program.call_number(WAIT4)
    program.emit(b"\xbf\xff\xff\xff\xff", ZERO_ESI)  # mov edi, -1: any child
    program.emit(b"\xba\x01\x00\x00\x00", ZERO_R10D, SYSCALL)  # mov edx, WNOHANG
    program.emit(TEST_EAX)
    program.jump(JUMP_IF_GREATER, "reap")
    program.jump(JUMP, "wait")
    program.label("end")
    program.call_number(EXIT_GROUP)
    program.emit(ZERO_EDI, SYSCALL)
    program.label("signals")
    program.emit(SIGNAL_SET)
    return program.finished()


def pause_program(machine: str) -> bytes | None:
    """The ELF file for a kernel machine name (uname -m), or None where only the script serves."""
    if machine != "x86_64":
        return None
    code = _code()
    size = HEADERS + len(code)
    elf_header = (
        b"\x7fELF\x02\x01\x01"
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, BASE + HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    )  # executable, x86-64, entry after the headers, one program header at 64, no sections
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, BASE, BASE, size, size, 0x1000)  # PT_LOAD, read and execute
    return elf_header + load + code
