"""Three nodes on one PostgreSQL, under load, while one of them or the database is killed, stopped, cut off or failed over.

After each fault all nodes have to work again within 15 s, and say of each visitor what is true; when only the database was
away, nobody may have been said to be offline meanwhile. In the end nothing acknowledged is lost or stored twice, every
node serves the same history, and the webhook endpoint got each message, in the order of its session, and nothing else.

Each fault is chosen by a number, which it prints: AMOIQ_CLUSTER_SEED (5) by default, and the following ones.
"""

import os
import random
import signal
import threading
import time
from collections import Counter

from nodes import Writer, join, running, tell
from presence import Presence
from service import check, until

WRITERS = 6
WHOLE_SECONDS = 15

# How long a fault lasts: longer than a lease.
FAULT_SECONDS = 20

# After how long those who only pass leave.
PASSING_SECONDS = 1


def kill(cluster, number):
    """A node is killed, and started again after its leases went to others."""
    cluster.nodes[number].kill()
    time.sleep(FAULT_SECONDS / 2)
    since = time.monotonic()
    cluster.start(number)
    return since


def stop(cluster, number):
    """A node is stopped, and wakes after others took its leases."""
    cluster.nodes[number].process.send_signal(signal.SIGSTOP)
    time.sleep(FAULT_SECONDS)
    cluster.nodes[number].process.send_signal(signal.SIGCONT)
    return time.monotonic()


def cut_off(cluster, number):
    """Nothing passes between a node and the database."""
    for way in cluster.ways[number]:
        way.cut()
    time.sleep(FAULT_SECONDS)
    for way in cluster.ways[number]:
        way.heal()
    return time.monotonic()


def hang_database(cluster, _):
    """The database answers nobody."""
    cluster.database.primary.pause(True)
    time.sleep(FAULT_SECONDS)
    cluster.database.primary.pause(False)
    return time.monotonic()


def crash_database(cluster, _):
    """The database crashes and starts again."""
    cluster.database.primary.crash()
    time.sleep(2)
    cluster.database.primary.start()
    return time.monotonic()


def fail_over(cluster, _):
    """The machine of the database dies, and its standby takes over."""
    cluster.database.primary.crash()
    time.sleep(3)
    cluster.database.promote()
    return time.monotonic()


OF_DATABASE = (hang_database, crash_database, fail_over)
FAULTS = (kill, stop, cut_off, *OF_DATABASE)


def await_whole(cluster, since, mark):
    """Waits until every node acknowledges, and the endpoint gets what each acknowledged, within 15 s of `since`."""
    sent = set()

    def acknowledges(number):
        status, told = cluster.say(number, f"session-of-node-{cluster.names[number]}", mark)
        if status == 200:
            sent.add(told["messageId"])
        return status == 200

    for number, name in enumerate(cluster.names):
        until(f"node {name} acknowledges", lambda number=number: acknowledges(number), WHOLE_SECONDS)
    until("the endpoint gets it", lambda: sent <= {one.message_id for one in cluster.receiver.taken()}, WHOLE_SECONDS)
    took = time.monotonic() - since
    check(took <= WHOLE_SECONDS, f"whole again only after {took:.1f} s")
    return took


def compare(cluster, writers, more_sessions):
    """Compares what was acknowledged with what every node serves and the endpoint got."""
    acknowledged = [one for writer in writers for one in writer.acknowledged]
    sessions = {session for session, _, _ in acknowledged} | more_sessions
    due = {id for _, id, _ in acknowledged}

    def missing():
        return due - {one.message_id for one in cluster.receiver.taken()}

    end = time.monotonic() + WHOLE_SECONDS
    while missing() and time.monotonic() < end:
        time.sleep(0.1)
    check(not missing(), f"acknowledged, and not delivered: {len(missing())} of {len(due)}, {sorted(missing())[:3]}")
    taken = [one.message_id for one in cluster.receiver.taken()]
    first_taken = {message: place for place, message in reversed(list(enumerate(taken)))}
    served = {}
    for session in sorted(sessions):
        histories = [cluster.client(number, cluster.secret_key).history(session) for number in range(len(cluster.nodes))]
        check(all(history == histories[0] for history in histories), f"the nodes serve {session} differently")
        check([one["seq"] for one in histories[0]] == list(range(1, len(histories[0]) + 1)), f"{session} has gaps")
        ids = [message["id"] for message in histories[0]]
        check(len(set(ids)) == len(ids), f"{session} has a message twice")
        texts = [message["text"] for message in histories[0]]
        check(session.startswith("session-of-node") or len(set(texts)) == len(texts), f"{session} has a text twice")
        places = [first_taken.get(id, -1) for id in ids]
        check(-1 not in places, f"{session}: not delivered: {[id for id in ids if id not in first_taken][:3]}")
        check(places == sorted(places), f"{session} was delivered out of order")
        served[session] = ids
    for writer in writers:
        for session in {session for session, _, _ in writer.acknowledged}:
            own = [id for of, id, _ in writer.acknowledged if of == session]
            kept = [id for id in served[session] if id in set(own)]
            check(kept == own, f"{session}: acknowledged in another order, or lost")
    extra = set(taken) - {id for ids in served.values() for id in ids}
    check(not extra, f"delivered, and in no history: {sorted(extra)[:3]}")
    tell(f"{len(acknowledged)} acknowledged messages are served by every node, once each, and were delivered in order")


def one_fault(cluster, writers, presence, number):
    """A fault that a number chooses, and everything that has to hold after it. Tells what it was and how long it took."""
    fault = FAULTS[number % len(FAULTS)]
    node = random.Random(number).randrange(len(cluster.nodes))
    presence.come(f"who-passes-{number}")
    began = time.monotonic()
    going = threading.Timer(PASSING_SECONDS, presence.go)
    going.start()
    since = fault(cluster, node)
    going.join()
    took = await_whole(cluster, since, f"fault {number}")
    told = presence.settle(since, WHOLE_SECONDS)
    if fault in OF_DATABASE:
        presence.check_nobody_left(began)
    check(all(writer.wrong is None for writer in writers), f"a writer: {[writer.wrong for writer in writers]}")
    if fault is fail_over:
        cluster.database.add_standby()
    count = sum(len(writer.acknowledged) for writer in writers)
    place = "" if fault in OF_DATABASE else f" of {cluster.names[node]}"
    tell(f"fault {number}, {fault.__name__}{place}: whole after {took:.1f} s, presence after {told:.1f} s, {count} acknowledged")
    return fault.__name__, max(took, told)


def run():
    """AMOIQ_CLUSTER_ROUNDS (2) faults."""
    rounds, seed = int(os.environ.get("AMOIQ_CLUSTER_ROUNDS", "2")), int(os.environ.get("AMOIQ_CLUSTER_SEED", "5"))
    with running() as cluster:
        writers = [Writer(cluster, number) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        await_whole(cluster, time.monotonic(), "start")
        presence = Presence(cluster)
        done = [one_fault(cluster, writers, presence, number) for number in range(seed, seed + rounds)]
        join(writers)
        await_whole(cluster, time.monotonic(), "end")
        presence.close()
        more = presence.sessions | {f"session-of-node-{name}" for name in cluster.names}
        compare(cluster, writers, more)
        for node in cluster.nodes:
            node.stop()
        kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(kind for kind, _ in done).items())
        tell(f"{rounds} faults ({kinds}), from {seed}; whole again after at most {max(took for _, took in done):.1f} s")
