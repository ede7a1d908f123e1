"""Scenarios of tasks, their output and execs."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from api.containerd import (
    Client,
)
from tests.double.agreement.notebook import Notebook
from tests.double.agreement.workload import (
    container,
    exec_process,
    streams,
)


async def task_life(client: Client, book: Notebook) -> None:
    tasks = client.tasks
    await book.outcome("create without record", tasks.create("life", mounts=[]))
    await book.outcome("get without record", tasks.get("life"))
    async with container(client, "life", ["/bin/sleep", "1000"]) as mounts:
        await book.outcome("get without task", tasks.get("life"))
        await book.outcome("delete without task", tasks.delete("life"))
        pid = await tasks.create("life", mounts=mounts)
        await book.outcome("create again", tasks.create("life", mounts=mounts))
        created = await tasks.get("life")
        book.note(
            "created", (created.status.name, created.pid == pid, created.exit_status, created.exited_at)
        )
        await book.outcome("pause created", tasks.pause("life"))
        book.note("start", await tasks.start("life") == pid)
        await book.outcome("start again", tasks.start("life"))
        book.note("listed", [(task.container_id, task.status.name) for task in await tasks.list()])
        await book.outcome("delete running", tasks.delete("life"))
        book.note("pids", await tasks.pids("life") == [pid])
        await book.outcome("resume running", tasks.resume("life"))
        await book.outcome("pause", tasks.pause("life"))
        book.note("paused", (await tasks.get("life")).status.name)
        await book.outcome("pause again", tasks.pause("life"))
        await book.outcome("resume", tasks.resume("life"))
        book.note("metrics of", [metric.container_id for metric in await tasks.metrics("id==life")])
        book.note("no metrics", await tasks.metrics("id==other"))
        await book.outcome("signal 0", tasks.kill("life", 0))
        await book.outcome("kill", tasks.kill("life", signal.SIGKILL))
        ended = await tasks.wait("life")
        book.note("exit", (ended.status, ended.at > 0))
        stopped = await tasks.get("life")
        book.note(
            "stopped",
            (stopped.status.name, stopped.exit_status, stopped.exited_at == ended.at, stopped.pid == pid),
        )
        await book.outcome("kill again", tasks.kill("life", signal.SIGKILL))
        await book.outcome("exec in stopped", exec_process(client, "life", "e", ["/bin/echo"]))
        await book.outcome("wait again", tasks.wait("life"), value=False)
        deleted = await tasks.delete("life")
        book.note("deleted", (deleted.pid == pid, deleted.status, deleted.at == ended.at))
        await book.outcome("delete again", tasks.delete("life"))
        await tasks.create("life", mounts=mounts)
        deleted = await tasks.delete("life")
        book.note("deleted created", deleted.status)
        await tasks.create("life", mounts=mounts)
        await book.outcome("kill created", tasks.kill("life", signal.SIGKILL))
        book.note("exit of created", (await tasks.wait("life")).status)
        await book.outcome("start killed", tasks.start("life"))


async def output(client: Client, book: Notebook) -> None:
    tasks = client.tasks
    async with container(client, "out", ["/bin/cat"]) as mounts, streams() as (paths, read):
        await book.outcome("stdout alone", tasks.create("out", mounts=mounts, stdout=paths["stdout"]))
        await book.outcome(
            "missing fifos", tasks.create("out", mounts=mounts, stdout="/nowhere/o", stderr="/nowhere/e")
        )
        await tasks.create(
            "out", mounts=mounts, stdin=paths["stdin"], stdout=paths["stdout"], stderr=paths["stderr"]
        )
        process = await tasks.get("out")
        book.note("names", (process.stdout == paths["stdout"], process.terminal))
        await tasks.start("out")
        await asyncio.to_thread(Path(paths["stdin"]).write_bytes, b"hello\n")
        await tasks.close_io("out")
        book.note("exit", (await tasks.wait("out")).status)
        book.note(
            "output", (await asyncio.to_thread(read, "stdout"), await asyncio.to_thread(read, "stderr"))
        )
        await tasks.delete("out")


async def execs(client: Client, book: Notebook) -> None:
    tasks = client.tasks
    async with container(client, "exe", ["/bin/sleep", "1000"]) as mounts:
        await tasks.create("exe", mounts=mounts)
        await tasks.start("exe")
        await book.outcome("no id", exec_process(client, "exe", "", ["/bin/echo"]))
        await book.outcome("unknown", tasks.get("exe", "none"))
        async with streams() as (paths, read):
            outputs = {name: paths[name] for name in ("stdout", "stderr")}
            await exec_process(client, "exe", "e", ["/bin/echo", "hi"], **outputs)
            await book.outcome("again", exec_process(client, "exe", "e", ["/bin/echo"]))
            added = await tasks.get("exe", "e")
            book.note("added", (added.status.name, added.pid, added.exec_id))
            await book.outcome("kill before start", tasks.kill("exe", 9, exec_id="e"))
            book.note("start", await tasks.start("exe", "e") > 0)
            book.note("exit", (await tasks.wait("exe", "e")).status)
            book.note("output", await asyncio.to_thread(read, "stdout"))
            await book.outcome("kill after exit", tasks.kill("exe", 9, exec_id="e"))
            await book.outcome("start after exit", tasks.start("exe", "e"))
            deleted = await tasks.delete_process("exe", "e")
            book.note("deleted", (deleted.status, deleted.pid > 0))
            await book.outcome("delete again", tasks.delete_process("exe", "e"))
        await exec_process(client, "exe", "f", ["/bin/sleep", "1000"])
        await tasks.start("exe", "f")
        book.note("pids", len(await tasks.pids("exe")))
        await book.outcome("delete running", tasks.delete_process("exe", "f"))
        await tasks.kill("exe", 9, exec_id="f")
        book.note("killed", (await tasks.wait("exe", "f")).status)
        await tasks.delete_process("exe", "f")
        await exec_process(client, "exe", "g", ["/bin/sleep", "1000"])
        await book.outcome("delete not started", tasks.delete_process("exe", "g"), value=False)
        await exec_process(client, "exe", "h", ["/bin/nonexistent"])
        await book.outcome("start what is not there", tasks.start("exe", "h"))
        book.note("not started", (await tasks.get("exe", "h")).status.name)
        await book.outcome("delete failed", tasks.delete_process("exe", "h"), value=False)
        await exec_process(client, "exe", "i", ["/bin/sleep", "1000"])
        await tasks.start("exe", "i")
        await tasks.kill("exe", 9)
        book.note("dies with init", (await tasks.wait("exe", "i")).status)
        await tasks.wait("exe")
        await book.outcome("deleted with exec", tasks.delete("exe"), value=False)
