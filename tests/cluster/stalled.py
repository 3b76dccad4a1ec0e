"""A node is stopped, or cut off, at each step of an append: the others' messages do not wait for it.

An append is three messages to the database: its values, its execution, its end. The way of one node to the database stops in
the middle of each, and after each; then either everything of that node is lost on the way, or its process stands still. Of the
others' messages, 99 of a hundred have to be acknowledged within 5 s, and nobody may wait longer for a lock of the database.
When the node goes on, its message is stored once.
"""

import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from contention import Sender, p99
from database import Way
from nodes import running, tell
from service import check, until

# The messages of an append over a connection that has made one before: bind, execute, sync.
STEPS = b"BES"

# The values of an append are the only ones of this size.
LARGE_BYTES = 4_000

# How long the node is stalled: longer than any limit of its connections.
STALLED_SECONDS = 7

PATIENCE_SECONDS = 5
SENDERS = 4


class StallingWay(Way):
    """A way that stops at a step of an append, and tells."""

    def __init__(self, port):
        super().__init__(port)
        # Where to stop: at which message, and whether in its middle. And what to do then.
        self.place = None
        self.stall = None
        self.is_stalled = threading.Event()

    def _forward(self, source, target):
        passed, has_kind = 0, False
        try:
            while message := read_message(source, has_kind):
                is_next = len(message) > LARGE_BYTES if passed == 0 else True
                is_step = has_kind and is_next and message[0] == STEPS[passed]
                has_kind = True
                place = self.place
                if is_step and place and place[0] == passed:
                    self.place = None
                    part = len(message) // 2 if place[1] else len(message)
                    target.sendall(message[:part])
                    self.stall()
                    self.is_stalled.set()
                    self.is_open.wait()
                    message = message[part:]
                self.is_open.wait()
                target.sendall(message)
                passed = (passed + 1) % len(STEPS) if is_step else passed
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def read_message(source, has_kind):
    """One message of a client; the first has no kind."""
    head = take(source, 5 if has_kind else 4)
    return head and head + take(source, int.from_bytes(head[-4:], "big") - 4)


def take(source, count):
    """So many bytes; none when it ends."""
    taken = b""
    while len(taken) < count:
        more = source.recv(count - len(taken))
        if not more:
            return b""
        taken += more
    return taken


class LockWaits(threading.Thread):
    """The longest time for which anybody waited for a lock of the database."""

    QUESTION = "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - waitstart)), 0) FROM pg_locks WHERE NOT granted"

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.longest, self.is_over = server, 0.0, threading.Event()

    def run(self):
        while not self.is_over.wait(0.2):
            self.longest = max(self.longest, float(self.server.ask(self.QUESTION)))


def stall(cluster, way, place, is_stopped):
    """Stalls the last node at a place while it appends. Tells the times of the others' messages meanwhile."""
    number = len(cluster.nodes) - 1
    process = cluster.nodes[number].process
    way.stall = (lambda: process.send_signal(signal.SIGSTOP)) if is_stopped else way.cut
    way.is_stalled.clear()
    # Of each step one message: a name that no other place has.
    session, text = "session-that-is-stalled", f"{place} {is_stopped} " + LARGE_BYTES * "x"
    client_id = f"stalled-{place[0]}-{place[1]}-{is_stopped}"
    cluster.say(number, session, "before")
    way.place = place
    with ThreadPoolExecutor() as pool:
        appending = pool.submit(cluster.say, number, session, text, clientMessageId=client_id)
        check(way.is_stalled.wait(10), "no append came by")
        waits = LockWaits(cluster.database.primary)
        waits.start()
        senders = [
            Sender(cluster.nodes[node].address, cluster.widget_key, f"session-{one}-of-node-{node}", f"{client_id}-{node}-{one}")
            for node in range(number)
            for one in range(SENDERS)
        ]
        end = time.monotonic() + STALLED_SECONDS
        for done in [pool.submit(sender.work, end, 0.02) for sender in senders]:
            done.result()
        waits.is_over.set()
        waits.join()
        process.send_signal(signal.SIGCONT)
        way.heal()
        appending.result()
    until("it is acknowledged", lambda: cluster.say(number, session, text, clientMessageId=client_id)[0] == 200)
    history = cluster.client(0, cluster.secret_key).history(session)
    check([one["text"] for one in history].count(text) == 1, f"stalled at {place}: it is not stored once")
    return [one for sender in senders for one in sender.seconds], waits.longest


def run():
    """AMOIQ_CLUSTER_STALLS (3) of the twelve ways to stall, those that stop after a message first."""
    places = [(step, is_within) for is_within in (False, True) for step in range(len(STEPS))]
    ways = [(place, is_stopped) for half in (0, 1) for turn, place in enumerate(places) for is_stopped in [(turn + half) % 2 == 0]]
    ways = ways[: int(os.environ.get("AMOIQ_CLUSTER_STALLS", "3"))]
    with running(way_of_last=StallingWay) as cluster:
        way = next(way for way in cluster.ways[-1] if way.to == cluster.database.primary.port)
        for place, is_stopped in ways:
            times, longest = stall(cluster, way, place, is_stopped)
            where = f"{'within' if place[1] else 'after'} {('values', 'execution', 'end')[place[0]]}"
            tell(
                f"a node is {'stopped' if is_stopped else 'cut off'} {where} of an append: {len(times)} messages of others, "
                f"99 % within {1000 * p99(times):.0f} ms, the slowest {1000 * max(times):.0f} ms; "
                f"longest wait for a lock {longest:.1f} s"
            )
            check(p99(times) <= PATIENCE_SECONDS, "the others wait")
            check(longest <= PATIENCE_SECONDS, "somebody waits for a lock")
