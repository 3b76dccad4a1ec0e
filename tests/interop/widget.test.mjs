//! The widget as the reference describes it, byte for byte on the wire, with the limits as shipped.
//!
//! Its tab has two roles: fresh, or reconnected after the service closed its transport. It never asks for
//! an acknowledgement and never says who it is before its first message.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, test } from 'node:test';

import { connect, heard, isThere, messagesOf, newSession, open, until } from './client.mjs';
import { Proxy } from './proxy.mjs';
import { AS_SHIPPED, SECRET, Service, WIDGET } from './service.mjs';

const HOST = 'https://widget.example';
const SITE = 'https://shop.example';

const service = await Service.start({ settings: { ...AS_SHIPPED, 'server.widget_origins': HOST } });
after(() => service.close());

/** The widget's options for socket.io-client; the waits between attempts are the client's defaults. */
const OPTIONS = {
  transports: ['websocket'],
  query: { tenantId: 'demo' },
  auth: { apiKey: WIDGET },
  reconnectionAttempts: 5,
  reconnectionDelay: 1000,
  reconnectionDelayMax: 5000,
};

const AGENT = { transports: ['websocket'], query: { tenantId: 'demo' }, auth: { token: SECRET, role: 'admin' } };

const TEXTS = {
  'plain words': 'Hello, I need help',
  'emoji of several code points': '👩‍👩‍👧‍👦 👍🏽 🇩🇪 ☕️',
  'quotes and backslashes': `"double" 'single' \\ \\n \\u0041 \`back\``,
  'line ends of all kinds': 'one\ntwo\r\nthree\rfour\u2028five\u2029six\tseven',
  'markup that stays text': '<script>alert("1 & 2")</script>&amp;<!--',
  'blanks around it': '  \n in the middle \t ',
  'controls and marks': '\u0001\u001f\u007f\ufeff e\u0301 \u202eabc\u202c \u200b',
  'scripts from right to left': 'שלום مرحبا 你好 नमस्ते',
  'what looks like a packet': '42["message",{"text":"x"}]\u001e2',
};

/** A tab: the session that the browser keeps, and what a message carries. */
function tab(sessionId = newSession()) {
  return {
    sessionId,
    message: (text) => ({
      type: 'message',
      text,
      tenantId: 'demo',
      timestamp: new Date().toISOString(),
      sessionId,
      fingerprint: 'a1b2c3d4e5f6g7h8',
      domain: 'shop.example',
      origin: SITE,
      url: `${SITE}/cart?item=1`,
      referrer: 'https://google.com',
      siteId: 'site-123',
      userId: 'user-456',
      userInfo: { name: 'John Doe', email: 'john@example.com', phone: '+1234567890' },
    }),
  };
}

/** Its tick: it gets its own event with the same text, from the user, within 30 s of its clock. */
function ticks(messages, sent) {
  return messages.filter(
    ({ text, sender, timestamp }) =>
      text === sent.text &&
      sender === 'user' &&
      Math.abs(Date.parse(timestamp) - Date.parse(sent.timestamp)) < 30_000,
  );
}

async function say(socket, messages, message) {
  socket.emit('message', message);
  await until('the tick', () => ticks(messages, message).length > 0);
}

function fetchHistory(sessionId, more = {}) {
  const query = new URLSearchParams({ tenantId: 'demo', sessionId, ...more });
  return service.request('GET', `/api/chat/messages?${query}`, {
    key: WIDGET,
    headers: {
      'Content-Type': 'application/json',
      'X-Tenant-ID': 'demo',
      'X-Website-Origin': SITE,
      'X-Website-Domain': 'shop.example',
      Origin: HOST,
    },
  });
}

test('the browser\'s preflight for the history is answered without a key', async () => {
  const names = 'authorization,content-type,x-tenant-id,x-website-domain,x-website-origin';
  for (const [method, path] of [['GET', '/api/chat/messages'], ['POST', '/webchat/message']]) {
    const headers = {
      Origin: HOST,
      'Access-Control-Request-Method': method,
      'Access-Control-Request-Headers': names,
    };
    const { status, headers: answer } = await service.request('OPTIONS', path, { headers });
    assert.ok(status === 200 || status === 204, `${status}`);
    assert.ok([HOST, '*'].includes(answer['access-control-allow-origin']));
    const allowed = answer['access-control-allow-headers'].toLowerCase().split(/, */);
    assert.deepEqual(names.split(',').filter((name) => !allowed.includes(name)), []);
    assert.ok(answer['access-control-allow-methods'].includes(method));
  }
});

test('the history of a visitor who has not written yet is empty', async () => {
  const { status, json, headers } = await fetchHistory(newSession(), { userId: 'user-456' });
  assert.equal(status, 200);
  assert.deepEqual(json.messages, []);
  assert.ok([HOST, '*'].includes(headers['access-control-allow-origin']));
});

test('it sends nothing but its tenant and its key when it connects', async (t) => {
  const socket = open(t, service.url, OPTIONS);
  await once(socket.io.engine, 'open');
  const { url } = socket.io.engine.transport.ws;
  assert.equal(url, `ws://127.0.0.1:${service.port}/socket.io/?tenantId=demo&EIO=4&transport=websocket`);
  await until('it is connected', () => socket.connected);
});

for (const [what, text] of Object.entries(TEXTS)) {
  test(`a fresh tab gets its tick for ${what}`, async (t) => {
    const socket = await connect(t, service.url, OPTIONS);
    const messages = messagesOf(socket);
    const { sessionId, message } = tab();
    const sent = message(text);
    await say(socket, messages, sent);
    assert.equal(messages.length, 1);
    assert.deepEqual(Buffer.from(messages[0].text), Buffer.from(text));
    assert.deepEqual([messages[0].sessionId, messages[0].userId], [sessionId, 'user-456']);
    const { json } = await fetchHistory(sessionId, { userId: 'user-456' });
    assert.deepEqual(json.messages.map(({ text }) => text), [text]);
    assert.equal(json.messages[0].deliveryStatus, 'delivered');
  });
}

test('a tab shows its history in the order in which it was written', async (t) => {
  const socket = await connect(t, service.url, OPTIONS);
  const messages = messagesOf(socket);
  const { sessionId, message } = tab();
  for (const text of ['one', 'two', 'three']) await say(socket, messages, message(text));
  await service.post({ text: 'answer', sessionId });
  const { json } = await fetchHistory(sessionId);
  assert.deepEqual(json.messages.map(({ text }) => text), ['one', 'two', 'three', 'answer']);
  assert.deepEqual(json.messages.map(({ sender }) => sender), ['user', 'user', 'user', 'agent']);
});

test('three messages at once each get their one tick', async (t) => {
  const socket = await connect(t, service.url, OPTIONS);
  const messages = messagesOf(socket);
  const { message } = tab();
  const sent = ['a', 'b', 'c'].map(message);
  sent.forEach((one) => socket.emit('message', one));
  await until('all are back', () => messages.length >= 3);
  assert.deepEqual(sent.map((one) => ticks(messages, one).length), [1, 1, 1]);
  assert.deepEqual(messages.map(({ text }) => text), ['a', 'b', 'c']);
});

test('a tab that never writes stays connected and gets nothing', async (t) => {
  const idle = await connect(t, service.url, OPTIONS);
  const everything = [];
  idle.onAny((...args) => everything.push(args));
  const other = await connect(t, service.url, OPTIONS);
  await say(other, messagesOf(other), tab().message('somebody else'));
  // It gets what it sends, which came after the other's message: so it did not get that one.
  await say(idle, messagesOf(idle), tab().message('now I write'));
  // The widget of the reference's day ignores the events about conversations.
  const known = everything.filter(([name]) => !name.startsWith('conversation:'));
  assert.deepEqual(known.map(([name, { message }]) => [name, message.text]), [['meta_message_created', 'now I write']]);
});

test('a message that is refused is an error event, and the tab continues', async (t) => {
  const socket = await connect(t, service.url, OPTIONS);
  const [errors, messages] = [heard(socket, 'error'), messagesOf(socket)];
  const { message } = tab();
  socket.emit('message', message(' '));
  await until('the error', () => errors.length > 0);
  await say(socket, messages, message('with words'));
  assert.deepEqual([errors.length, messages.length], [1, 1]);
});

test('a tab that reconnects has a new id, sends nothing until it writes, and gets its tick', async (t) => {
  const proxy = await Proxy.before(t, service);
  const socket = await connect(t, proxy.url, OPTIONS);
  const messages = messagesOf(socket);
  const overseen = messagesOf(await connect(t, service.url, AGENT));
  const { sessionId, message } = tab();
  await say(socket, messages, message('before'));
  const firstId = socket.id;
  proxy.cut();
  const [reason] = await once(socket, 'disconnect');
  assert.match(reason, /^transport (close|error)$/);

  // While it is away it writes over HTTP, and the answer names its session.
  const headers = { 'X-Tenant-ID': 'demo', 'X-Website-Origin': SITE, Origin: HOST };
  const body = message('meanwhile');
  const { status, json } = await service.request('POST', '/webchat/message', { key: WIDGET, headers, body });
  assert.deepEqual([status, json.success, json.sessionId], [200, true, sessionId]);

  proxy.open();
  await until('it is back', () => isThere(socket));
  assert.notEqual(socket.id, firstId);
  await service.post({ text: 'nobody of the session is bound here', sessionId });
  // The service answers a sender whether or not the rooms have kept up. When it sends out what came after,
  // it has sent this to everybody.
  await until('the agent has heard it', () => overseen.some(({ text }) => text.startsWith('nobody')));
  await service.post({ text: 'elsewhere', sessionId: newSession() });
  await until('the agent has heard the next', () => overseen.at(-1)?.text === 'elsewhere');
  await say(socket, messages, message('after'));
  assert.deepEqual(messages.map(({ text }) => text), ['before', 'after']);
  await service.post({ text: 'an answer', sessionId });
  await until('it hears its session again', () => messages.at(-1)?.text === 'an answer');
  const { json: history } = await fetchHistory(sessionId);
  assert.deepEqual(history.messages.map(({ seq }) => seq), [1, 2, 3, 4, 5]);
});
