"""Two nodes write one session as fast as they can, while every node has sessions of its own that are written.

In the session nothing is lost or doubled, and `seq` has no gap. The times of the others' messages are printed, with the two
writers and without them; none of the slowest percent may take more than 5 s.
"""

import http.client
import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor

from nodes import running, tell
from service import Client, check

SESSION = "session-that-two-nodes-write"

# Connections of each of the two nodes that write it.
WRITERS = 4

# Sessions of each node that are written beside it, and how long each of them waits between two messages.
OTHERS = 4
PAUSE_SECONDS = 0.2

# How long the slowest percent of the others may take.
PATIENCE_SECONDS = 5


class Sender:
    """Writes messages to a session at one node, one after the other."""

    def __init__(self, address, key, session, name):
        self.address, self.key, self.session, self.name = address, key, session, name
        self.client = None
        self.texts, self.seconds = [], []

    def send(self):
        """Sends the next message until it is acknowledged."""
        text = f"{self.name} {len(self.texts)}"
        body = {"text": text, "sessionId": self.session, "clientMessageId": text.replace(" ", "-")}
        since = time.monotonic()
        while True:
            self.client = self.client or Client(self.address, self.key)
            try:
                status, told = self.client.ask("POST", "/webchat/message", body)
            except (OSError, http.client.HTTPException):
                self.client, status, told = None, 0, None
            if status == 200:
                break
            check(status in (0, 503), f"a message is answered {status}: {told}")
            time.sleep(0.05)
        self.seconds.append(time.monotonic() - since)
        self.texts.append(text)

    def work(self, until, pause_seconds):
        """Sends until a time by the monotonic clock, which all processes share."""
        while time.monotonic() < until:
            self.send()
            time.sleep(pause_seconds)


def work(senders, until, pause_seconds):
    """Lets senders, each described by its arguments, send at the same time: their texts and times."""
    senders = [Sender(*arguments) for arguments in senders]
    with ThreadPoolExecutor(len(senders)) as pool:
        for done in [pool.submit(sender.work, until, pause_seconds) for sender in senders]:
            done.result()
    return [text for sender in senders for text in sender.texts], [one for sender in senders for one in sender.seconds]


def p99(seconds):
    """The time that one of a hundred exceeds."""
    return sorted(seconds)[len(seconds) * 99 // 100]


def run():
    """AMOIQ_CLUSTER_SECONDS (5) without the two writers, and as long with them, on AMOIQ_CLUSTER_NODES (3) nodes."""
    seconds, count = int(os.environ.get("AMOIQ_CLUSTER_SECONDS", "5")), int(os.environ.get("AMOIQ_CLUSTER_NODES", "3"))
    names = tuple("abcdefghijklmnopqrstuvwxyz"[:count])
    # Processes of their own: the senders may not wait for each other's interpreter.
    with running(names) as cluster, multiprocessing.get_context("spawn").Pool(3) as pool:
        addresses, key = [node.address for node in cluster.nodes], cluster.widget_key

        def senders(name, address, sessions):
            return [(address, key, session, f"{name}-{place}") for place, session in enumerate(sessions)]

        def others(name):
            end = time.monotonic() + seconds
            of_node = [
                senders(f"{name}-{node}", addresses[node], [f"session-{place}-of-node-{node}" for place in range(OTHERS)])
                for node in range(count)
            ]
            return pool.apply_async(work, (sum(of_node, []), end, PAUSE_SECONDS))

        # The sessions and everything else exist before it is measured.
        first_of_all = [one for node in range(count) for one in senders(f"first-{node}", addresses[node], [SESSION])]
        work(first_of_all, 0.1 + time.monotonic(), 0)
        first = len(cluster.client(0, cluster.secret_key).history(SESSION))
        _, alone = others("alone").get()
        end = time.monotonic() + seconds
        fast = [pool.apply_async(work, (senders(f"fast-{node}", addresses[node], [SESSION] * WRITERS), end, 0)) for node in (0, 1)]
        _, beside = others("beside").get()
        texts = [text for done in fast for text in done.get()[0]]
        histories = [cluster.client(node, cluster.secret_key).history(SESSION) for node in range(count)]
        check(all(history == histories[0] for history in histories), "the nodes serve the session differently")
        check([one["seq"] for one in histories[0]] == list(range(1, len(histories[0]) + 1)), "`seq` has gaps")
        stored = [one["text"] for one in histories[0][first:]]
        check(sorted(stored) == sorted(texts), f"{len(texts)} messages are acknowledged, {len(stored)} are stored")
        check(all(stored.count(text) == 1 for text in texts[:: max(1, len(texts) // 100)]), "a message is stored twice")
        slow = [p99(alone), p99(beside)]
        tell(
            f"two of {count} nodes write one session: {len(texts)} messages in {seconds} s, no gap, none lost or doubled; of the "
            f"other sessions' messages 99 % took {1000 * slow[0]:.0f} ms before and {1000 * slow[1]:.0f} ms beside them, "
            f"{slow[1] / slow[0]:.1f} times as long"
        )
        check(slow[1] <= PATIENCE_SECONDS, "the others wait for the two")
