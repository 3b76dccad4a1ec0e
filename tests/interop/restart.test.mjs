//! What clients experience when the service stops, dies and starts again.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { test } from 'node:test';

import { WAYS, ask, connect, isThere, messagesOf, newSession, until } from './client.mjs';
import { Proxy } from './proxy.mjs';
import { KINDS, Listener } from './recovering.mjs';
import { SECRET, Service, WIDGET } from './service.mjs';

const query = { tenantId: 'demo' };

/** Within this the widget has to be back: it gives up after 12 s at the earliest. */
const RETURN_MS = 10_000;

async function given(t, options) {
  const service = await Service.start(options);
  t.after(() => service.close());
  return service;
}

/** One client of every kind over every transport; each has got something of its session. */
async function everybody(t, service, proxy) {
  const all = [];
  for (const [way, transports] of Object.entries(WAYS)) {
    for (const kind of Object.keys(KINDS)) {
      const listener = await Listener.of(t, kind, { service, proxy, transports });
      await listener.hear('before');
      all.push({ name: `${kind}, over ${way}`, listener });
    }
  }
  return all;
}

/** Writes into a session until the service is gone; unanswered messages are sent again afterwards. */
function flow(service, sessionId) {
  let open = null;
  const write = async (number) => {
    open = { text: `${number}`, sessionId, clientMessageId: `flow-${number}` };
    await service.post(open);
    open = null;
    return write(number + 1);
  };
  const broken = write(1).catch(() => {});
  return async () => {
    await broken;
    if (open) await service.post(open);
  };
}

for (const signal of ['SIGTERM', 'SIGKILL']) {
  test(`nobody misses anything or gets it twice over a restart by ${signal}`, async (t) => {
    const service = await given(t);
    const proxy = await Proxy.before(t, service);
    const all = await everybody(t, service, proxy);
    const flows = all.map(({ listener }) => flow(service, listener.sessionId));
    await until('all hear their flow', () => all.every(({ listener }) => listener.messages.length > 5));
    await service.end(signal);
    await until('all are away', () => all.every(({ listener }) => !listener.socket.connected));
    proxy.cut();
    await service.restart();
    await Promise.all(flows.map((finish) => finish()));
    for (const { listener } of all) await listener.tell('while nobody was there');
    proxy.open();
    await until('all are back', () => all.every(({ listener }) => isThere(listener.socket)));
    for (const { name, listener } of all) {
      await t.test(`${name} recovers after ${signal}`, async () => {
        assert.equal(listener.socket.recovered, true);
        await listener.hear('after');
        await listener.assertWhole();
      });
    }
  });

  test(`two restarts by ${signal} with nothing between are as good as none`, async (t) => {
    const service = await given(t);
    const proxy = await Proxy.before(t, service);
    const all = [];
    for (const kind of Object.keys(KINDS)) {
      all.push(await Listener.of(t, kind, { service, proxy, transports: WAYS.websocket }));
    }
    for (const text of ['after the first', 'after the second']) {
      await service.end(signal);
      proxy.cut();
      await service.restart();
      for (const { service, sessionId } of all) await service.post({ text, sessionId });
      proxy.open();
      await until('all are back', () => all.every(({ socket }) => isThere(socket)));
      assert.deepEqual(all.map(({ socket }) => socket.recovered), all.map(() => true));
    }
    for (const listener of all) await listener.assertWhole();
  });
}

test('after a restart a client is not bound to a session that it did not recover', async (t) => {
  const service = await given(t, { settings: { 'realtime.recovery_seconds': 1 } });
  const proxy = await Proxy.before(t, service);
  const kind = 'a visitor bound by the first message';
  const listener = await Listener.of(t, kind, { service, proxy, transports: WAYS.websocket });
  const left = performance.now();
  await listener.away(() => until('the window is over', () => performance.now() - left > 1_500));
  assert.equal(listener.socket.recovered, false);
  await service.end('SIGTERM');
  await service.restart();
  await until('it is back', () => isThere(listener.socket));
  await listener.tell('for who is bound');
  await listener.say('I write again');
  assert.deepEqual(listener.texts, ['I begin', 'I write again']);
});

test('a widget is back within 10 s of a restart, and gets its tick', async (t) => {
  const service = await given(t);
  const options = {
    transports: ['websocket'],
    query,
    auth: { apiKey: WIDGET },
    reconnectionAttempts: 5,
    reconnectionDelay: 1000,
    reconnectionDelayMax: 5000,
  };
  const tabs = await Promise.all(Array.from({ length: 10 }, () => connect(t, service.url, options)));
  const seen = tabs.map(messagesOf);
  const sessions = tabs.map(newSession);
  const say = async (text) => {
    tabs.forEach((tab, number) => tab.emit('message', { type: 'message', text, sessionId: sessions[number] }));
    await until('each has its tick', () => seen.every((messages) => messages.at(-1)?.text === text));
  };
  await say('before');
  const gone = tabs.map((tab) => once(tab, 'disconnect'));
  await service.end('SIGTERM');
  for (const [reason] of await Promise.all(gone)) {
    assert.equal(reason, 'transport close', 'the client comes back by itself from this one alone');
  }
  const started = performance.now();
  await service.restart();
  await until('all are back', () => tabs.every(isThere), RETURN_MS);
  await say('after');
  assert.ok(performance.now() - started < RETURN_MS, 'within the time');
  assert.deepEqual(seen.map((messages) => messages.map(({ text }) => text)), tabs.map(() => ['before', 'after']));
});

test('what was acknowledged before a kill is there after it', async (t) => {
  const service = await given(t);
  const sessionId = newSession();
  const socket = await connect(t, service.url, { ...WAYS.websocket, query, auth: { token: WIDGET, sessionId } });
  const taken = [];
  const writing = (async () => {
    for (let number = 1; socket.connected; number += 1) {
      const clientMessageId = `mine-${number}`;
      const answer = await socket.timeout(500).emitWithAck('message', { text: `${number}`, clientMessageId });
      taken.push(answer.messageId);
    }
  })().catch(() => {});
  await until('some are taken', () => taken.length > 20);
  await service.end('SIGKILL');
  await writing;
  await service.restart();
  const stored = (await service.history(sessionId)).map(({ id }) => id);
  assert.deepEqual(stored.slice(0, taken.length), taken);
  assert.ok(stored.length <= taken.length + 1, 'one at the most was on its way');
});

test('an admin and polling clients reconnect after a restart as well', async (t) => {
  const service = await given(t);
  const admin = { query: { ...query, role: 'admin' }, auth: { token: SECRET, role: 'admin' } };
  const clients = await Promise.all(
    Object.values(WAYS).map((transports) => connect(t, service.url, { ...transports, ...admin })),
  );
  const seen = clients.map(messagesOf);
  const gone = clients.map((client) => once(client, 'disconnect'));
  await service.end('SIGTERM');
  for (const [reason] of await Promise.all(gone)) assert.match(reason, /^transport (close|error)$/);
  await service.restart();
  await until('all are back', () => clients.every(isThere));
  await service.post({ text: 'after', sessionId: newSession() });
  await until('all hear', () => seen.every((messages) => messages.length === 1));
  const answer = await ask(clients[0], 'get_online_users', { tenantId: 'demo' });
  assert.equal(answer.total, 0);
});

test('a service that stops lets nobody in, and ends without an error', async (t) => {
  const service = await given(t);
  // A client that is disconnected while others try to connect, over connections that they have open already.
  await connect(t, service.url, { ...WAYS.websocket, query, auth: { token: WIDGET } });
  const visitors = Array.from({ length: 4 }, () => new http.Agent({ keepAlive: true, maxSockets: 1 }));
  t.after(() => visitors.forEach((agent) => agent.destroy()));
  const knock = async (agent) => {
    const { status } = await service.request('GET', '/socket.io/?EIO=4&transport=polling', { agent });
    return status;
  };
  assert.deepEqual(await Promise.all(visitors.map(knock)), [200, 200, 200, 200]);
  const deadline = performance.now() + 1_000;
  const ended = service.end('SIGTERM');
  const knocks = visitors.map(async (agent) => {
    let last = 200;
    while (last !== 'gone') {
      const next = await knock(agent).catch(() => 'gone');
      assert.ok(next === 'gone' || next === 503 || (next === 200 && last === 200), `${next} after ${last}`);
      assert.ok(next !== 200 || performance.now() < deadline, 'it still lets clients in');
      last = next;
    }
  });
  await Promise.all([ended, ...knocks]);
  await service.restart();
});
