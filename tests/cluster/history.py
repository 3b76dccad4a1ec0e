"""What one node has acknowledged is in the next history of every other node."""

import os
import random

from nodes import running, tell
from service import check

# Some sessions are known to the node that is read, others are new.
SESSIONS = 20


def run():
    """AMOIQ_CLUSTER_READS (200) times, with nodes and sessions chosen by chance."""
    tries = int(os.environ.get("AMOIQ_CLUSTER_READS", "200"))
    dice = random.Random(1)
    with running() as cluster:
        visitors, readers = ([cluster.client(node, key) for node in range(3)] for key in (None, cluster.secret_key))
        for number in range(tries):
            writes, reads = dice.sample(range(3), 2)
            session = f"session-that-is-new-{number}" if number % 4 == 0 else f"session-that-is-read-{dice.randrange(SESSIONS)}"
            said = visitors[writes].must("POST", "/webchat/message", {"text": f"{number}", "sessionId": session})
            page = readers[reads].must("GET", f"/api/chat/messages?sessionId={session}&limit=1")
            names = cluster.names[reads], cluster.names[writes]
            is_there = page["messages"][-1]["id"] == said["messageId"]
            check(is_there, f"try {number}: {names[0]} does not have what {names[1]} acknowledged")
        tell(f"{tries} times a node had what another one had just acknowledged")
