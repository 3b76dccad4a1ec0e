//! Many writers at once, and clients that change their transport meanwhile: one order for all.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { WAYS, ask, connect, isThere, messagesOf, newSession, open, range, until } from './client.mjs';
import { Proxy } from './proxy.mjs';
import { SECRET, Service, WIDGET } from './service.mjs';

const service = await Service.start();
after(() => service.close());

const query = { tenantId: 'demo' };
const seqs = (messages) => messages.map(({ seq }) => seq);

test('twenty sockets write into a session at once, and all get one order without gaps', async (t) => {
  const sessionId = newSession();
  const auth = { token: WIDGET, sessionId };
  const ways = Object.values(WAYS);
  const writers = await Promise.all(
    range(0, 19).map((number) => connect(t, service.url, { ...ways[number % ways.length], query, auth })),
  );
  const listeners = await Promise.all(
    ways.flatMap((transports) => [
      connect(t, service.url, { ...transports, query, auth }),
      connect(t, service.url, { ...transports, query, auth: { token: SECRET, role: 'admin' } }),
    ]),
  );
  const all = [...writers, ...listeners].map(messagesOf);
  const answers = await Promise.all(
    writers.flatMap((socket, writer) =>
      range(1, 10).map((number) => ask(socket, 'message', { text: `${writer}.${number}` })),
    ),
  );
  assert.deepEqual(answers.filter(({ success }) => !success), []);
  await until('all have heard all', () => all.every((messages) => messages.length >= 200));
  const stored = await service.history(sessionId);
  assert.deepEqual(seqs(stored), range(1, 200));
  const order = stored.map(({ id, seq, text }) => ({ id, seq, text }));
  for (const messages of all) {
    assert.deepEqual(messages.map(({ id, seq, text }) => ({ id, seq, text })), order);
  }
  for (const writer of range(0, 19)) {
    const own = order.filter(({ text }) => text.startsWith(`${writer}.`)).map(({ text }) => text);
    assert.deepEqual(own, range(1, 10).map((number) => `${writer}.${number}`), 'each in its own order');
  }
});

test('clients that upgrade while 200 messages flow get each once and in order', async (t) => {
  const sessionId = newSession();
  const proxy = await Proxy.before(t, service);
  proxy.hold();
  const auth = { token: WIDGET, sessionId };
  const clients = range(1, 4).map(() => {
    const socket = open(t, proxy.url, { transports: ['polling', 'websocket'], query, auth });
    const client = { socket, messages: messagesOf(socket), atUpgrade: 0 };
    socket.io.engine.once('upgrade', () => (client.atUpgrade = client.messages.length));
    return client;
  });
  await until('all are there, polling', () => clients.every(({ socket }) => socket.connected));
  const writer = await connect(t, service.url, { ...WAYS.websocket, query, auth });
  const heardAtLeast = (count) => clients.every(({ messages }) => messages.length >= count);

  // In the first half they poll; then the websockets are let through while the flow continues.
  const flow = (async () => {
    for (const number of range(1, 200)) {
      if (number === 100) proxy.release();
      await ask(writer, 'message', { text: `${number}` });
    }
  })();
  await until('all have upgraded', () => clients.every(({ socket }) => isThere(socket)));
  await flow;
  await until('all have heard all', () => heardAtLeast(200));
  for (const { messages, atUpgrade, socket } of clients) {
    assert.deepEqual(seqs(messages), range(1, 200));
    assert.ok(atUpgrade > 0 && atUpgrade < 200, `it upgraded after ${atUpgrade} messages`);
    assert.equal(socket.io.engine.transport.name, 'websocket');
  }
});

test('messages that a client writes while it upgrades keep their order', async (t) => {
  const proxy = await Proxy.before(t, service);
  for (const round of range(1, 5)) {
    proxy.hold();
    const sessionId = newSession();
    const socket = open(t, proxy.url, { transports: ['polling', 'websocket'], query, auth: { token: WIDGET } });
    const messages = messagesOf(socket);
    await until('it is there, polling', () => socket.connected);
    const texts = range(1, 60).map((number) => `${round}.${number}`);
    for (const [index, text] of texts.entries()) {
      if (index === 20) proxy.release();
      socket.emit('message', { text, sessionId });
      // Every few messages the client has to wait, so that some are sent at each stage of the upgrade.
      if (index % 3 === 0) await until('one comes back', () => messages.length > index - 6);
    }
    await until('all are back', () => messages.length >= texts.length && isThere(socket));
    assert.deepEqual(messages.map(({ text }) => text), texts);
  }
});

test('an upgrade that never comes leaves a client on polling, and nothing is lost', async (t) => {
  const proxy = await Proxy.before(t, service);
  proxy.hold();
  const auth = { token: WIDGET, sessionId: newSession() };
  const socket = open(t, proxy.url, { transports: ['polling', 'websocket'], query, auth });
  const messages = messagesOf(socket);
  await until('it is there, polling', () => socket.connected);
  const answers = await Promise.all(range(1, 50).map((number) => ask(socket, 'message', { text: `${number}` })));
  assert.deepEqual(answers.filter(({ success }) => !success), []);
  await until('all are back', () => messages.length >= 50);
  assert.deepEqual(messages.map(({ text }) => text), range(1, 50).map(String));
  assert.equal(socket.io.engine.transport.name, 'polling');
});
