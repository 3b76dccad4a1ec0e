#!/usr/bin/env bash
# Varnish: a server behind it is not told that the client of a passed request has gone away.
#
# nginx and Caddy close their connection to the server when the client hangs up while it waits, and HAProxy does with
# `option abortonclose`. Varnish has no such option: it waits for the answer, however long that takes, and drops it.
#
# For users of this project: behind Varnish a visitor over polling who closed the page stays online until the heartbeat
# ends, 45 s. See Behind a proxy in docs/operations/reference.md.
#
# Needs varnish (Debian: `apt-get install varnish`) and python3. Exits 1 when Varnish behaves otherwise.
set -euo pipefail
PATH=$PATH:/usr/sbin
command -v varnishd >/dev/null || { echo 'varnishd is missing'; exit 2; }
varnishd -V 2>&1 | head -n 1
exec python3 - <<'PYTHON'
import os, pathlib, select, socket, subprocess, sys, tempfile, threading, time

WATCHED_S = 6


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


asked = threading.Event()
noticed = threading.Event()


def serve_slowly(listener):
    """Takes one request that never gets an answer, and watches whether it is given up."""
    connection, _ = listener.accept()
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(4096)
    asked.set()
    if select.select([connection], [], [], WATCHED_S)[0] and connection.recv(4096) == b"":
        noticed.set()


# Not in memory: what varnish compiles has to be executable there.
with tempfile.TemporaryDirectory(dir="/tmp") as place:
    os.chmod(place, 0o755)
    listener = socket.create_server(("127.0.0.1", 0))
    server = threading.Thread(target=serve_slowly, args=(listener,), daemon=True)
    server.start()
    port = free_port()
    vcl = pathlib.Path(place, "pass.vcl")
    vcl.write_text(f"""vcl 4.1;
        backend slow {{ .host = "127.0.0.1"; .port = "{listener.getsockname()[1]}"; }}
        sub vcl_recv {{ return (pass); }}""")
    command = ["varnishd", "-F", "-j", "none", "-n", f"{place}/run", "-a", f"127.0.0.1:{port}", "-f", str(vcl)]
    varnish = subprocess.Popen(command + ["-s", "malloc,16m"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            if socket.socket().connect_ex(("127.0.0.1", port)) == 0:
                break
            time.sleep(0.1)
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert asked.wait(20), "the request was not passed on"
        client.close()
        server.join()
    finally:
        varnish.terminate()
        varnish.wait()

print(f"a client asked, and hung up while the server worked; the server's connection was watched for {WATCHED_S} s")
print(f"the server was told:      {'yes' if noticed.is_set() else 'no'}")
sys.exit(noticed.is_set())
PYTHON
