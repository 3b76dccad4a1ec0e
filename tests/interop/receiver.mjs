//! Customers' systems that receive messages: a server that keeps what it gets, and the programs that
//! the documentation shows.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';

import { SECRET } from './service.mjs';

/** Lets the service deliver to this machine, and try again at once. */
export const LOCAL = { 'webhooks.allowed_networks': '127.0.0.0/8', 'webhooks.schedule_ms': '0,50,100,200,400' };

/** Accepts every delivery and keeps it as it came. It ends with the test. */
export class Receiver {
  deliveries = [];
  #server;

  static async start(t) {
    const receiver = new Receiver();
    receiver.#server = http.createServer(async (request, response) => {
      let body = '';
      for await (const chunk of request.setEncoding('utf8')) body += chunk;
      receiver.deliveries.push({ headers: request.headers, body });
      response.writeHead(204).end();
    });
    receiver.#server.listen(0, '127.0.0.1');
    await once(receiver.#server, 'listening');
    t.after(() => {
      receiver.#server.closeAllConnections();
      receiver.#server.close();
    });
    return receiver;
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}/hook`;
  }

  /** The deliveries of a session. */
  of(sessionId) {
    return this.deliveries.filter(({ body }) => JSON.parse(body).data.sessionId === sessionId);
  }
}

/** A new endpoint of the demo tenant, deleted with the test: its id and its secret. */
export async function endpoint(t, service, url) {
  const { status, json } = await service.request('POST', '/api/webhooks', { key: SECRET, body: { url } });
  assert.equal(status, 201, JSON.stringify(json));
  t.after(() => service.request('DELETE', `/api/webhooks/${json.id}`, { key: SECRET }));
  return json;
}

/** A listening program and its output. It ends with the test. */
export async function program(t, command, file, environment, cwd) {
  const child = spawn(command, [file], {
    cwd,
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said = { text: '' };
  t.after(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  });
  const patience = AbortSignal.timeout(20_000);
  await new Promise((resolve, reject) => {
    const hear = (chunk) => {
      said.text += chunk;
      if (said.text.includes('listening on')) resolve();
    };
    child.stdout.setEncoding('utf8').on('data', hear);
    child.stderr.setEncoding('utf8').on('data', hear);
    child.once('error', reject);
    child.once('close', () => reject(new Error(`it ended: ${said.text}`)));
    patience.onabort = () => reject(new Error(`it does not listen: ${said.text}`));
  });
  return said;
}

/** A port that nobody listens on. */
export async function freePort() {
  const server = http.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}
