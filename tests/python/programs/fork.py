"""Forks while a service runs; prints what the child and a later start in the parent saw."""

import asyncio
import gc
import os
import sys

import centralita_testing  # noqa: F401 - its native module reaches loopback alone

import centralita


def in_the_child(work):
    """Runs `work` in a forked child and gives what it wrote."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        try:
            os.write(write, work().encode())
        finally:
            os.close(write)
            # Through the interpreter's own end, atexit included.
            sys.exit(0)
    os.close(write)
    text = b""
    while piece := os.read(read, 1_000):
        text += piece
    _, status = os.waitpid(pid, 0)
    return f"{text.decode()} exit={os.waitstatus_to_exitcode(status)}"


def start_and_count():
    async def main():
        async with centralita.Service(store=centralita.MemoryStore(), whatsapp_version=(2, 3000, 1_027_934_701)) as wa:
            return str(len(wa.running_sessions()))

    return asyncio.run(main())


def outcome(call):
    try:
        return str(call())
    except centralita.CentralitaError as error:
        return f"{type(error).__name__}/{isinstance(error, centralita.InvalidStateError)}"


# Before anything was started a fork is harmless: a server that preloads the application.
print("before:", in_the_child(start_and_count), flush=True)


async def main():
    async with centralita.Service(store=centralita.MemoryStore(), whatsapp_version=(2, 3000, 1_027_934_701)) as wa:
        await wa.create_session("ventas")
        stream = wa.events()

        def use_the_parents():
            seen = [
                outcome(lambda: wa.running_sessions()),
                outcome(lambda: asyncio.new_event_loop().run_until_complete(wa.manager.get_statistics())),
                outcome(wa.events),
                outcome(start_and_count),
            ]
            stream.close()
            gc.collect()
            return " ".join(seen)

        child = await asyncio.to_thread(in_the_child, use_the_parents)
        print("after:", child, flush=True)
        print("parent:", len(wa.running_sessions()), flush=True)


if len(sys.argv) > 1:
    asyncio.run(main())
