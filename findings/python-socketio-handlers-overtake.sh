#!/usr/bin/env bash
# python-socketio: the handlers of one client's events run at the same time, so a later event overtakes an earlier one.
#
# Events of a socket come in order, and one would expect their handlers to be called in that order, one after the other,
# as in socket.io-client. Client runs each in a thread of its own and AsyncClient each in a task of its own: a handler
# that takes longer, or awaits something, is overtaken by those of later events.
#
# For users of this project: the sample for Python queues events in a handler that does not await, and handles the queue in
# order; elsewhere `seq` gives the order (Socket in docs/API.md).
#
# Needs python3 (3.10 or newer) with venv. The server is python-socketio's own. Exits 1 when it behaves otherwise.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check \
  python-socketio==5.18.1 python-engineio==4.15.1 aiohttp==3.14.5 requests==2.32.5 websocket-client==1.9.0
"$place/venv/bin/python" - <<'PYTHON'
import asyncio
import importlib.metadata
import platform
import sys
import threading
import time

import socketio
from aiohttp import web

EVENTS = list(range(10))
print("python-socketio", importlib.metadata.version("python-socketio"), "on python", platform.python_version())


async def serve(started):
    """Sends every client ten events, in order."""
    server = socketio.AsyncServer(async_mode="aiohttp")

    @server.event
    async def begin(sid):
        for number in EVENTS:
            await server.emit("event", number, to=sid)

    application = web.Application()
    server.attach(application)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    started.append(site._server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


started = []
threading.Thread(target=lambda: asyncio.run(serve(started)), daemon=True).start()
while not started:
    time.sleep(0.01)
url = f"http://127.0.0.1:{started[0]}"


def pause_of(number):
    """The earlier an event comes, the longer its handler takes."""
    return (len(EVENTS) - number) * 0.02


def with_threads():
    order, client = [], socketio.Client()

    @client.on("event")
    def heard(number):
        time.sleep(pause_of(number))
        order.append(number)

    client.connect(url, transports=["websocket"], wait_timeout=10)
    client.emit("begin")
    deadline = time.monotonic() + 10
    while len(order) < len(EVENTS) and time.monotonic() < deadline:
        time.sleep(0.01)
    client.disconnect()
    return order


async def with_tasks(awaits):
    order, client = [], socketio.AsyncClient()

    @client.on("event")
    async def heard(number):
        if awaits:
            await asyncio.sleep(pause_of(number))
        order.append(number)

    await client.connect(url, transports=["websocket"], wait_timeout=10)
    await client.emit("begin")
    deadline = time.monotonic() + 10
    while len(order) < len(EVENTS) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    await client.disconnect()
    return order


threads, tasks = with_threads(), asyncio.run(with_tasks(True))
queued = asyncio.run(with_tasks(False))
print("sent:                                    ", EVENTS)
print("Client, handlers that take a while:      ", threads)
print("AsyncClient, handlers that await:        ", tasks)
print("AsyncClient, handlers that do not await: ", queued)
complete = all(sorted(order) == EVENTS for order in (threads, tasks, queued))
sys.exit(not (complete and threads != EVENTS and tasks != EVENTS and queued == EVENTS))
PYTHON
