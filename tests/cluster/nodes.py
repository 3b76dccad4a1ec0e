"""Several real nodes on one PostgreSQL, with a tenant and an endpoint that remembers what it got."""

import http.client
import os
import shutil
import signal
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from database import Database, Way
from receiver import Receiver
from service import Client, Service, Wrong, answer, check, printed, until

SECRET = "a secret of all nodes with more than 32 bytes"


def tell(line):
    """A step that is done."""
    print(f"cluster: {line}", flush=True)


class Node(Service):
    """A node. Faults make it write errors; it may not panic."""

    def _look(self):
        bad = [line for line in self.lines if "panicked at" in line]
        check(not bad, f"a node panicked: {''.join(bad)}")


class Cluster:
    """Everything that runs."""

    def __init__(self, folder, names, settings, way_of_last):
        self.folder, self.names = Path(folder), names
        (self.folder / "postgres").mkdir()
        os.chmod(self.folder, 0o711)
        self.database = Database(self.folder / "postgres")
        # Of each node, to both servers.
        self.ways = [[kind(port) for port in self.database.ports] for kind in [Way] * (len(names) - 1) + [way_of_last]]
        self.nodes = [None for _ in names]
        self.receiver = Receiver()
        # What all nodes are started with beside the usual.
        self.settings = {"AUTH__JWT_SECRET": SECRET, **settings}

    def start(self, number, program_path=None):
        """Starts a node, of the program under test or of another one."""
        hosts = ",".join(f"127.0.0.1:{way.port}" for way in self.ways[number])
        settings = {
            "CLUSTER__NODE": self.names[number],
            "STORE__BACKEND": "postgres",
            "STORE__URL": f"postgres://amoiq@{hosts}/postgres",
            "STORE__PATH": str(self.folder / self.names[number]),
            **self.settings,
        }
        self.nodes[number] = Node(self.folder / self.names[number], settings=settings, program_path=program_path)

    def client(self, number, key=None, timeout=10):
        """A connection to a node."""
        client = Client(self.nodes[number].address, key or self.widget_key)
        client.connection.timeout = timeout
        return client

    def say(self, number, session, text, key=None, **more):
        """Sends a message to a node, once: the status and the answer, 0 when none came."""
        body = {"text": text, "sessionId": session, **more}
        try:
            return self.client(number, key, timeout=4).ask("POST", "/webchat/message", body)
        except (OSError, http.client.HTTPException, ValueError):
            return 0, None

    def listed(self, number):
        """The sessions of those who are online as a node lists them; nothing when it does not answer."""
        try:
            status, told = self.client(number, self.secret_key, timeout=4).ask("GET", "/api/chat/online-users")
        except (OSError, http.client.HTTPException, ValueError):
            return None
        return {user["sessionId"] for user in told["users"]} if status == 200 else None

    def prepare(self, program_path):
        """Starts all nodes, and makes a tenant with keys and an endpoint."""
        for number in range(len(self.nodes)):
            self.start(number, program_path)
        data = self.folder / self.names[0]
        printed(data, "tenant", "create", "acme")
        self.widget_key, self.secret_key = (
            answer(data, "key", "create", "--tenant", "acme", "--kind", kind)["key"] for kind in ("widget", "secret")
        )
        answer(data, "webhook", "create", self.receiver.url, "--tenant", "acme")
        probe = "/api/chat/messages?sessionId=session-that-is-not"
        for number in range(len(self.nodes)):
            # Nodes hear of a key as they follow the log.
            until("every node knows the key", lambda number=number: self.client(number).ask("GET", probe)[0] != 401)

    def close(self):
        """Ends everything."""
        for way in (way for ways in self.ways for way in ways):
            way.heal()
        for node in self.nodes:
            if node:
                node.process.send_signal(signal.SIGCONT)
                node.close()
        self.receiver.close()
        self.database.close()


@contextmanager
def running(names=("a", "b", "c"), settings=(), way_of_last=Way, program_path=None):
    """A cluster in a temporary folder, which says what its nodes wrote last when something is wrong."""
    folder = tempfile.mkdtemp(prefix="amoiq-cluster-")
    cluster = Cluster(folder, names, dict(settings), way_of_last)
    try:
        cluster.prepare(program_path)
        yield cluster
    except Wrong as wrong:
        for name, node in zip(names, cluster.nodes):
            print(f"== the last lines of {name}\n{''.join(node.lines[-15:] if node else [])}", flush=True)
        raise SystemExit(f"cluster: WRONG: {wrong}") from wrong
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)


class Writer(threading.Thread):
    """Writes to a session of its own and to one that all share, each message until some node acknowledges it."""

    def __init__(self, cluster, number, pause_seconds=0.03):
        super().__init__(daemon=True)
        self.cluster, self.number, self.pause_seconds = cluster, number, pause_seconds
        self.is_over = threading.Event()
        # (session, id, text) in the order in which they were acknowledged.
        self.acknowledged = []
        self.wrong = None

    def run(self):
        try:
            count = 0
            while not self.is_over.is_set():
                session = f"session-of-writer-{self.number}" if count % 4 else "session-of-all-writers"
                self.write(session, f"{self.number} {count}", f"c-{self.number}-{count}")
                count += 1
                self.is_over.wait(self.pause_seconds)
        except Exception as error:  # noqa: BLE001
            self.wrong = repr(error)

    def write(self, session, text, client_id):
        """Until it is acknowledged."""
        node = self.number
        while True:
            status, told = self.say(node % len(self.cluster.nodes), session, text, client_id)
            if status == 200:
                self.acknowledged.append((session, told["messageId"], text))
                return
            check(status in (0, 503), f"a message is answered {status}: {told}")
            node += 1
            time.sleep(0.1)

    def say(self, node, session, text, client_id):
        """Sends it once."""
        return self.cluster.say(node, session, text, clientMessageId=client_id)


def join(writers):
    """Ends writers."""
    for writer in writers:
        writer.is_over.set()
    for writer in writers:
        writer.join(60)
        check(not writer.is_alive() and writer.wrong is None, f"a writer: {writer.wrong}")
