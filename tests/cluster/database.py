"""A PostgreSQL with a synchronous standby in a temporary folder, which can be stopped, killed, started again and failed over,
and the ways to it.

Standard library only. As root the servers run as `nobody`: PostgreSQL refuses root.
"""

import glob
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

PATIENCE_SECONDS = 60


def programs():
    """The folder of PostgreSQL's programs; Debian has them outside of PATH."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[-2]))
    if found:
        return found[-1]
    inside = shutil.which("initdb")
    return os.path.dirname(inside) if inside else sys.exit("PostgreSQL 15 or newer is not installed")


def free_port():
    """A port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(what, condition):
    """Waits until a condition holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_SECONDS} s in vain until {what}"
        time.sleep(0.1)


class Server:
    """A server with PostgreSQL's own defaults: every commit is flushed."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir()
        self.port = free_port()
        self.process = None
        self.user = ["setpriv", "--reuid=nobody", "--clear-groups"] if os.getuid() == 0 else []
        if self.user:
            shutil.chown(self.folder, "nobody")

    def initialise(self):
        """Makes an empty database."""
        self._run("initdb", "-D", f"{self.folder}/data", "-U", "amoiq", "-E", "UTF8", "--locale=C", "-A", "trust")

    def copy(self, primary):
        """Becomes a standby of another server, with the name `standby`."""
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        source = f"host=127.0.0.1 port={primary.port} user=amoiq application_name=standby"
        self._run("pg_basebackup", "-D", f"{self.folder}/data", "-d", source, "-R", "-X", "stream", "-c", "fast")
        # The copy has the primary's settings: once it is promoted it would wait for itself.
        with open(self.folder / "data" / "postgresql.auto.conf", "a", encoding="utf-8") as settings:
            settings.write("synchronous_standby_names = ''\n")

    def start(self):
        """Starts it and waits until it takes connections."""
        options = ["-p", str(self.port), "-h", "127.0.0.1", "-k", str(self.folder)]
        settings = ["-c", "wal_retrieve_retry_interval=500ms", "-c", "max_connections=300"]
        command = [f"{programs()}/postgres", "-D", f"{self.folder}/data", *options, *settings]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen([*self.user, *command], stdout=log, stderr=log, cwd=self.folder)
        ready = [f"{programs()}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        wait_until("a database starts", lambda: subprocess.run(ready, check=False).returncode == 0)

    def ask(self, statement):
        """What a statement answers, as text."""
        address = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "amoiq", "-d", "postgres"]
        command = [f"{programs()}/psql", "-XtAq", *address, "-c", statement]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True).stdout.strip()

    def crash(self):
        """Ends all of it at once, as a crash of its machine would but for the disk."""
        self._signal(signal.SIGKILL)
        self.process.wait(PATIENCE_SECONDS)

    def pause(self, is_paused):
        """Stops every process of it where it is, or lets them go on."""
        self._signal(signal.SIGSTOP if is_paused else signal.SIGCONT)

    def close(self):
        """Ends it for good."""
        if self.process and self.process.poll() is None:
            self.pause(False)
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()

    def _run(self, name, *arguments):
        command = [*self.user, f"{programs()}/{name}", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder)

    def _signal(self, number):
        """To its first process, so that it starts no more, and to all that it has started."""
        os.kill(self.process.pid, signal.SIGSTOP if number == signal.SIGKILL else number)
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False)
        for pid in [self.process.pid, *map(int, listed.stdout.split())]:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass


class Database:
    """A primary and its standby, which has every commit before it is answered."""

    def __init__(self, folder):
        self.primary, self.standby = (Server(Path(folder) / name) for name in ("one", "two"))
        self.primary.initialise()
        self.primary.start()
        self.add_standby()

    @property
    def ports(self):
        """Of both servers."""
        return sorted((self.primary.port, self.standby.port))

    def add_standby(self):
        """Copies the primary, and makes every commit wait for the copy."""
        self.standby.copy(self.primary)
        self.standby.start()
        self.primary.ask("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        self.primary.ask("SELECT pg_reload_conf()")
        state = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
        wait_until("the standby is synchronous", lambda: self.primary.ask(state) == "1")

    def promote(self):
        """Makes a primary of the standby. The one before has to be dead; it is the next standby, once it is added."""
        assert self.primary.process.poll() is not None, "two primaries"
        self.primary, self.standby = self.standby, self.primary
        assert self.primary.ask("SELECT pg_promote()") == "t", "not promoted"

    def close(self):
        """Ends both."""
        for server in (self.primary, self.standby):
            server.close()


class Way:
    """The way of one node to a server, which can become a black hole: nothing passes and nothing is closed."""

    def __init__(self, port):
        self.to = port
        self.is_open = threading.Event()
        self.is_open.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def heal(self):
        """Lets everything pass again, what waited too."""
        self.is_open.set()

    def cut(self):
        """Lets nothing pass any more."""
        self.is_open.clear()

    def _accept(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client):
        self.is_open.wait()
        try:
            server = socket.create_connection(("127.0.0.1", self.to))
        except OSError:
            client.close()
            return
        for source, target, passing in ((client, server, self._forward), (server, client, self._pass)):
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=passing, args=(source, target), daemon=True).start()

    def _forward(self, source, target):
        self._pass(source, target)

    def _pass(self, source, target):
        try:
            while data := source.recv(65536):
                self.is_open.wait()
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
