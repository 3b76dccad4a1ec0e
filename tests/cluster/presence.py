"""Visitors and agents of several nodes, and whether every node says of each visitor what is true."""

import json
import threading
import time

from service import check, until
from websocket import Ended, WebSocket

# A node pings every 25 s.
SILENCE_SECONDS = 50


class Guest(threading.Thread):
    """Somebody with a socket, who connects again when it breaks: to the next node, or to the same."""

    def __init__(self, cluster, node, credential, moves):
        super().__init__(daemon=True)
        self.cluster, self.node, self.credential, self.moves = cluster, node, credential, moves
        self.is_over = threading.Event()
        self.socket = None

    def run(self):
        while not self.is_over.is_set():
            socket = None
            try:
                socket = WebSocket(self.cluster.nodes[self.node].address, {"token": self.credential, **self.auth()}, timeout=5)
                socket.patience(SILENCE_SECONDS)
                self.socket = socket
                self.arrive(socket)
                while not self.is_over.is_set():
                    self.hear(socket.packet())
            except Ended:
                self.node = (self.node + self.moves) % len(self.cluster.nodes)
            finally:
                self.socket = None
                if socket:
                    socket.close()
            self.is_over.wait(0.2)

    def leave(self):
        """Goes, for good."""
        self.is_over.set()
        socket = self.socket
        if socket:
            socket.close()

    def auth(self):
        """What it connects with beside its credential."""
        return {}

    def arrive(self, socket):
        """It has connected."""

    def hear(self, packet):
        """Something came."""


class Visitor(Guest):
    """A visitor with a session, who writes once, or is silent."""

    def __init__(self, cluster, node, session, writes):
        super().__init__(cluster, node, cluster.widget_key, 1)
        self.session = session
        self.has_to_write = writes

    @property
    def is_there(self):
        """Whether it is connected, and has written what it had to."""
        return self.socket is not None and not self.has_to_write

    def auth(self):
        return {"sessionId": self.session}

    def arrive(self, socket):
        if self.has_to_write:
            message = {"text": f"of {self.session}", "clientMessageId": self.session}
            socket.send("420" + json.dumps(["message", message]))

    def hear(self, packet):
        if packet.startswith("430"):
            self.has_to_write = not json.loads(packet[3:])[0].get("success")


class Agent(Guest):
    """Staff on one node, who hears who comes and goes."""

    def __init__(self, cluster, node):
        super().__init__(cluster, node, cluster.secret_key, 0)
        # The sessions that are online, as its socket tells; nothing while it does not know.
        self.online = None
        # When which session was said to be offline.
        self.departures = []

    def arrive(self, socket):
        self.online = None
        socket.emit("get_online_users", {})

    def hear(self, packet):
        if not packet.startswith("42"):
            return
        name, content, *_ = json.loads(packet[2:])
        if name == "online_users_list":
            self.online = {user["sessionId"] for user in content["users"]}
        elif name == "user_online" and self.online is not None:
            self.online.add(content["sessionId"])
        elif name == "user_offline":
            self.departures.append((time.monotonic(), content["sessionId"]))
            if self.online is not None:
                self.online.discard(content["sessionId"])


class Presence:
    """On each node an agent and two visitors who stay, one of them silent; others come and go."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.agents = [Agent(cluster, node) for node in range(len(cluster.nodes))]
        self.staying = self._visitors("who-stays")
        self.passing = []
        # Of everybody who wrote.
        self.sessions = set()
        for guest in self.agents + self.staying:
            guest.start()
        self.settle(time.monotonic())

    def _visitors(self, name):
        nodes = range(len(self.cluster.nodes))
        one = lambda node, kind: Visitor(self.cluster, node, f"session-{name}-{kind}-{node}", kind == "writes")  # noqa: E731
        return [one(node, kind) for node in nodes for kind in ("writes", "silent")]

    def come(self, name):
        """Somebody comes to each node."""
        self.passing = self._visitors(name)
        for visitor in self.passing:
            visitor.start()
        self.settle(time.monotonic())

    def go(self):
        """Those go again."""
        for visitor in self.passing:
            visitor.leave()
        self.passing = []

    def settle(self, since, patience_seconds=15):
        """Waits until every node lists who is there, and nobody else, and has told its agent the same."""
        there = self.staying + self.passing
        self.sessions |= {visitor.session for visitor in there if "writes" in visitor.session}
        due = {visitor.session for visitor in there}
        wrong = {}

        def is_right():
            wrong.clear()
            wrong.update({visitor.session: "is not connected" for visitor in there if not visitor.is_there})
            for agent in self.agents:
                if agent.online != due:
                    wrong[f"the agent of {agent.node}"] = sorted((agent.online or set()) ^ due)
            for node in range(len(self.cluster.nodes)):
                listed = self.cluster.listed(node)
                if listed != due:
                    wrong[f"the list of {node}"] = sorted((listed or set()) ^ due)
            time.sleep(0.05)
            return not wrong

        left = max(0.1, since + patience_seconds - time.monotonic())
        try:
            until("every node knows who is online", is_right, left)
        except Exception as error:
            raise type(error)(f"{error}: {wrong}") from error
        return time.monotonic() - since

    def check_nobody_left(self, since):
        """Nobody of those who stay may have been said to be offline."""
        staying = {visitor.session for visitor in self.staying}
        said = [(agent.node, session) for agent in self.agents for at, session in agent.departures if at >= since]
        flapped = [one for one in said if one[1] in staying]
        check(not flapped, f"said to be offline, and never left: {flapped}")

    def close(self):
        """All go."""
        for guest in self.agents + self.staying + self.passing:
            guest.leave()
