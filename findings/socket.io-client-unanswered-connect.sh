#!/usr/bin/env bash
# socket.io-client: a connection that closes before CONNECT is answered counts as a success of reconnecting.
#
# `reconnectionAttempts` is documented as "the number of reconnection attempts before giving up", and the delay grows
# "for each attempt". So one would expect that a server which opens connections and closes them without ever answering
# CONNECT is given up after so many tries, like one that refuses them. It is not: an opened Engine.IO connection sets
# the attempts and the delay back, so the client returns for ever, at the shortest delay, and the application gets
# `disconnect` events without a `connect`, and no `connect_error`.
#
# For users of this project: a client that cannot be served is held for 5 to 15 s and then closed instead of refused, so
# that it does not give up (Connect in docs/API.md, docs/decisions/0014-held-connections.md).
#
# Needs node 18 or newer and npm. The server is engine.io's own. Exits 1 when the client behaves otherwise.
set -euo pipefail
command -v npm >/dev/null || { echo 'npm is missing'; exit 2; }
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
npm install --silent --no-audit --no-fund --ignore-scripts socket.io-client@4.8.4 engine.io@6.6.5 >/dev/null
cat >finding.mjs <<'NODE'
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { attach } from 'engine.io';
import { io } from 'socket.io-client';

const ATTEMPTS = 3, ROUNDS = 12, MOST_MS = 20_000;
const version = (name) => JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version;
console.log(`socket.io-client ${version('socket.io-client')}, engine.io ${version('engine.io')}, node ${process.version}`);

/** A client that may try again three times, until it gives up or was closed often enough. */
async function client(port) {
  const seen = { tries: 1, connect: 0, disconnect: 0, connect_error: 0, 'gave up': false };
  const socket = io(`http://127.0.0.1:${port}`, {
    transports: ['websocket'],
    reconnectionAttempts: ATTEMPTS,
    reconnectionDelay: 20,
    reconnectionDelayMax: 1000,
  });
  for (const event of ['connect', 'disconnect', 'connect_error']) socket.on(event, () => (seen[event] += 1));
  socket.io.on('reconnect_attempt', () => (seen.tries += 1));
  await new Promise((resolve) => {
    socket.io.on('reconnect_failed', () => resolve((seen['gave up'] = true)));
    socket.on('disconnect', () => seen.disconnect === ROUNDS && resolve());
    setTimeout(resolve, MOST_MS);
  });
  socket.disconnect();
  return seen;
}

async function against(what, prepare) {
  const server = createServer();
  prepare(server);
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const seen = await client(server.address().port);
  server.close();
  console.log(`${what}: ${JSON.stringify(seen)}`);
  return seen;
}

const refusing = await against('the handshake is refused with 503', (server) => {
  server.on('upgrade', (_, socket) => socket.end('HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n'));
});
const closing = await against('the connection is closed when CONNECT comes', (server) => {
  attach(server, { path: '/socket.io/' }).on('connection', (socket) => socket.on('message', () => socket.close(true)));
});

const asExpected = refusing['gave up'] && refusing.tries === ATTEMPTS + 1 && refusing.connect_error === refusing.tries;
const asFound = !closing['gave up'] && closing.disconnect === ROUNDS && closing.connect + closing.connect_error === 0;
console.log(asExpected && asFound ? 'as described' : 'NOT as described');
process.exit(asExpected && asFound ? 0 : 1);
NODE
node finding.mjs
