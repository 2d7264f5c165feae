"""Forks before and while a service runs; prints what the child saw."""

import asyncio
import gc
import os
import sys
import warnings

import centralita_testing  # noqa: F401 - its native module reaches loopback alone

import centralita
from centralita.sync import Service

# A closed port: the session is about its pauses.
os.environ["CENTRALITA_STAND_IN_URL"] = "ws://127.0.0.1:9/ws/chat"
OPTIONS = {"store": centralita.MemoryStore(), "whatsapp_version": (2, 3000, 1_027_934_701)}
# Python itself warns of forks while threads run; here that is the point.
warnings.simplefilter("ignore", DeprecationWarning)


def in_the_child(work, end=sys.exit):
    """Runs `work` in a forked child, which then ends as programs end, and gives what it wrote."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        os.write(write, work().encode())
        os.close(write)
        end(0)
    os.close(write)
    text = b""
    while piece := os.read(read, 1_000):
        text += piece
    os.close(read)
    _, status = os.waitpid(pid, 0)
    return f"{text.decode()} exit={os.waitstatus_to_exitcode(status)}"


def outcome(call):
    try:
        return str(call())
    except centralita.CentralitaError as error:
        return f"{type(error).__name__}/{isinstance(error, centralita.InvalidStateError)}"


def start_and_count():
    with Service(**OPTIONS) as wa:
        return str(len(wa.running_sessions()))


# Before anything was started a fork is harmless: a server that preloads the application.
print("before:", in_the_child(start_and_count), flush=True)


def with_sync():
    with Service(**OPTIONS) as wa:
        session = wa.create_session("ventas")
        events = wa.events()

        def use_the_parents():
            calls = [wa.running_sessions, lambda: wa.manager.get_statistics(), session.record, start_and_count]
            seen = " ".join(outcome(call) for call in calls)
            gc.collect()
            return seen

        print("sync:", in_the_child(use_the_parents), flush=True)
        print("parent:", len(wa.running_sessions()), wa.manager.get_statistics().total_sessions, flush=True)
        events.close()


async def with_async():
    async with centralita.Service(**OPTIONS) as wa:
        await wa.create_session("ventas")
        stream = wa.events()

        def use_the_parents():
            seen = [
                outcome(wa.running_sessions),
                outcome(wa.events),
                outcome(lambda: asyncio.new_event_loop().run_until_complete(wa.manager.get_statistics())),
                outcome(start_and_count),
            ]
            stream.close()
            gc.collect()
            return " ".join(seen)

        # A child that closed the loop would take the parent's file descriptors out of the epoll that they share.
        print("async:", in_the_child(use_the_parents, os._exit), flush=True)
        print("parent:", len(wa.running_sessions()), flush=True)


with_sync()
asyncio.run(with_async())
