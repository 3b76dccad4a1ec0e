"""The nodes are restarted one after the other under load: to change `auth.jwt_secret`, or to replace the program.

Clients do what the contract says: they connect again and send again. None gets an error but a 503 or a broken connection, and
none misses a message or gets one twice.
"""

import http.client
import json
import os
import time

from nodes import SECRET, Writer, join, running, tell
from presence import Guest
from service import Wrong, check, until
from websocket import Ended

WRITERS = 6
LISTENERS = 6
SESSIONS = ["session-of-all-writers"] + [f"session-of-writer-{number}" for number in range(WRITERS)]

NEXT_SECRET = "the next secret of all nodes with more than 32 bytes"

# How long a writer uses a token before it asks some node for another one.
TOKEN_SECONDS = 1


class TokenWriter(Writer):
    """A visitor whose server asks any node for tokens, and who writes to any node with them."""

    token, made = None, 0

    def write(self, session, text, client_id):
        """With a token that is not older than it may be."""
        while not self.token or time.monotonic() - self.made > TOKEN_SECONDS:
            self.made = time.monotonic()
            self.token = self.mint()
        super().write(session, text, client_id)

    def mint(self):
        """A token of some node; nothing when it does not answer."""
        node = (self.number + len(self.acknowledged)) % len(self.cluster.nodes)
        try:
            client = self.cluster.client(node, self.cluster.secret_key, timeout=4)
            status, told = client.ask("POST", "/api/chat/token", {"userId": "user-of-all-writers", "role": "visitor"})
        except (OSError, http.client.HTTPException, ValueError):
            return None
        check(status in (200, 503), f"a token is answered {status}: {told}")
        return told["token"] if status == 200 else None

    def say(self, node, session, text, client_id):
        return self.cluster.say(node, session, text, key=self.token, clientMessageId=client_id)


class Listener(Guest):
    """Staff with a socket, which gets what it missed when it connects again, or reads it."""

    def __init__(self, cluster, node):
        super().__init__(cluster, node, cluster.secret_key, 1)
        self.pid = self.offset = None
        # In the order in which it heard or read them.
        self.heard, self.known = [], set()
        self.was_read, self.twice = set(), 0
        self.connects = self.recoveries = 0

    def auth(self):
        return {"recovery": True, **({"pid": self.pid, "offset": self.offset} if self.offset else {})}

    def arrive(self, socket):
        if self.pid is not None and socket.welcome["pid"] == self.pid:
            self.recoveries += 1
        elif self.pid is not None:
            self.read()
        self.connects += 1
        self.pid = socket.welcome["pid"]

    def read(self):
        """It does not get what it missed: the secret that its place was signed with was forgotten, for example."""
        try:
            for session in SESSIONS:
                for message in self.cluster.client(self.node, self.credential, timeout=4).history(session):
                    self.note(session, message["id"])
                    self.was_read.add(message["id"])
        except (OSError, http.client.HTTPException, ValueError, Wrong) as error:
            raise Ended(str(error)) from error

    def hear_message(self, session, id):
        """One that its socket got: again only if it has read it just now."""
        self.twice += id in self.known and id not in self.was_read
        self.note(session, id)

    def note(self, session, id):
        """A message that it did not have."""
        if id not in self.known:
            self.known.add(id)
            self.heard.append((session, id))

    def hear(self, packet):
        if packet.startswith("42"):
            name, content, *offset = json.loads(packet[2:])
            self.offset = offset[0] if offset else self.offset
            if name == "meta_message_created":
                self.hear_message(content["message"]["sessionId"], content["message"]["id"])


def restart(cluster, **options):
    """Each node in turn stops as an operator stops it, and starts again."""
    slowest = 0
    for number, name in enumerate(cluster.names):
        since = time.monotonic()
        cluster.nodes[number].stop()
        cluster.start(number, **options)
        until(f"{name} is ready", lambda number=number: cluster.client(number).ask("GET", "/readyz")[0] == 200)
        slowest = max(slowest, time.monotonic() - since)
    return slowest


def rotate(cluster):
    """Every node accepts the next secret, then each signs with it, then the one before is forgotten."""
    steps = [
        {"AUTH__JWT_SECRET": SECRET, "AUTH__JWT_PREVIOUS_SECRETS": NEXT_SECRET},
        {"AUTH__JWT_SECRET": NEXT_SECRET, "AUTH__JWT_PREVIOUS_SECRETS": SECRET},
        {"AUTH__JWT_SECRET": NEXT_SECRET},
    ]
    slowest = 0
    for number, settings in enumerate(steps):
        if number == 2:
            # Nobody has a token that was signed with the first.
            time.sleep(2 * TOKEN_SECONDS + 4)
        cluster.settings = {**cluster.settings, **settings}
        if number == 2:
            del cluster.settings["AUTH__JWT_PREVIOUS_SECRETS"]
        slowest = max(slowest, restart(cluster))
    return slowest


def compare(cluster, writers, listeners):
    """Each listener heard every message once, in the order of its session."""
    sessions = {session for writer in writers for session, _, _ in writer.acknowledged}
    histories = {session: [one["id"] for one in cluster.client(0, cluster.secret_key).history(session)] for session in sessions}
    count = sum(map(len, histories.values()))
    acknowledged = {id for writer in writers for _, id, _ in writer.acknowledged}
    check(acknowledged == {id for ids in histories.values() for id in ids}, "what is stored is not what was acknowledged")
    for listener in listeners:
        until("a listener has everything", lambda listener=listener: len(listener.heard) >= count)
        for session, ids in histories.items():
            heard = [id for of, id in listener.heard if of == session]
            check(heard == ids, f"a listener of {session} heard {len(heard)} of {len(ids)} messages, or not in order")
        check(not listener.twice, f"a listener heard {listener.twice} messages twice")
    return count


def under_load(what, work, older=None):
    """Does something while clients write and listen."""
    with running(settings={"SERVER__DRAIN_SECONDS": os.environ.get("AMOIQ_CLUSTER_DRAIN", "1")}, program_path=older) as cluster:
        listeners = [Listener(cluster, number % len(cluster.nodes)) for number in range(LISTENERS)]
        for listener in listeners:
            listener.start()
        until("all listen", lambda: all(listener.socket for listener in listeners))
        writers = [TokenWriter(cluster, number) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        time.sleep(1)
        slowest = work(cluster)
        time.sleep(1)
        join(writers)
        count = compare(cluster, writers, listeners)
        check(all(listener.is_alive() for listener in listeners), "a listener gave up")
        connects = sum(listener.connects for listener in listeners)
        tell(
            f"{what} node by node: {count} messages, no error, none unread; {connects} connects of {LISTENERS} listeners, "
            f"{sum(listener.recoveries for listener in listeners)} of them recovered; the slowest restart {slowest:.1f} s"
        )


def run():
    """The secret changes. With AMOIQ_OLDER, another build of the program, that one is replaced by this instead."""
    older = os.environ.get("AMOIQ_OLDER")
    if older:
        under_load("another build was replaced", restart, older)
    else:
        under_load("the secret changed", rotate)
