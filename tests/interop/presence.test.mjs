//! Who is online, in the events that an admin gets and in lists.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { WAYS, ask, assertProblem, connect, newSession, until } from './client.mjs';
import { BOT, SECRET, Service, WIDGET } from './service.mjs';

const query = { tenantId: 'demo' };
const page = { domain: 'shop.example', origin: 'https://shop.example', url: 'https://shop.example/cart' };

/** A service of its own, so that nobody else is online; and its admin, with all events that they get. */
async function given(t, way, graceMs) {
  const service = await Service.start({ settings: { 'presence.offline_grace_ms': graceMs } });
  t.after(() => service.close());
  const admin = await connect(t, service.url, {
    ...WAYS[way],
    query: { ...query, role: 'admin' },
    auth: { token: SECRET, role: 'admin' },
  });
  const told = [];
  for (const name of ['user_online', 'user_offline']) {
    admin.on(name, (user) => told.push({ name, ...user }));
  }
  const names = () => told.map(({ name, userId }) => `${name} ${userId}`);
  const visit = (options = {}) =>
    connect(t, service.url, {
      ...WAYS[way],
      ...options,
      query: { ...query, ...options.query },
      auth: { token: WIDGET, ...options.auth },
    });
  return { service, admin, told, names, visit };
}

for (const way of Object.keys(WAYS)) {
  test(`an admin is told who comes and who goes, over ${way}`, async (t) => {
    const { service, admin, told, names, visit } = await given(t, way, 50);
    const sessionId = newSession();
    const first = await visit({ auth: { sessionId, userId: 'user-1', ...page } });
    await until('the visitor is online', () => told.length === 1);
    const { name, connectedAt, ...user } = told[0];
    assert.equal(name, 'user_online');
    assert.match(connectedAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.deepEqual(user, { userId: 'user-1', sessionId, verified: false, ...page });

    // Three ways to ask, one answer.
    const lists = [];
    admin.on('online_users_list', (list) => lists.push(list));
    const answer = await ask(admin, 'get_online_users', { tenantId: 'demo' });
    const expected = { users: [{ ...user, connectedAt }], total: 1 };
    assert.deepEqual(answer, expected);
    assert.deepEqual(lists, [expected]);
    assert.deepEqual(await service.online(), expected);

    // Opening a second tab sends nothing; closing the last one does.
    const second = await visit({ auth: { sessionId, userId: 'user-1' } });
    first.disconnect();
    const other = await visit({ auth: { sessionId: newSession(), userId: 'user-2' } });
    await until('the other is online', () => told.length > 1);
    second.disconnect();
    await until('the visitor is offline', () => names().includes('user_offline user-1'));
    assert.deepEqual(names(), ['user_online user-1', 'user_online user-2', 'user_offline user-1']);
    other.disconnect();
    await until('nobody is online', () => names().includes('user_offline user-2'));
    assert.deepEqual(await service.online(), { users: [], total: 0 });
  });
}

test('a visitor who names a session takes the stranger\'s place', async (t) => {
  const { service, told, names, visit } = await given(t, 'websocket', 50);
  const socket = await visit({ extraHeaders: { Origin: page.origin, Referer: page.url } });
  await until('a stranger is online', () => told.length === 1);
  const [stranger] = told;
  assert.deepEqual([stranger.origin, stranger.url], [page.origin, page.url]);
  const sessionId = newSession();
  await ask(socket, 'message', { text: 'Hello', sessionId, userId: 'user-1', ...page, url: `${page.url}/2` });
  await until('both are told', () => told.length >= 3);
  assert.deepEqual(names().sort(), [
    `user_offline ${stranger.userId}`,
    `user_online ${stranger.userId}`,
    'user_online user-1',
  ].sort());
  const { users, total } = await service.online();
  assert.equal(total, 1);
  assert.deepEqual([users[0].userId, users[0].sessionId, users[0].url], ['user-1', sessionId, `${page.url}/2`]);
});

test('a change of page goes unnoticed', async (t) => {
  const { told, names, visit } = await given(t, 'websocket', 60_000);
  const sessionId = newSession();
  const auth = { sessionId, userId: 'user-1' };
  const before = await visit({ auth });
  await until('the visitor is online', () => told.length === 1);
  before.disconnect();
  await visit({ auth });
  // An admin's events come in order: after this one nothing else is in transit.
  await visit({ auth: { sessionId: newSession(), userId: 'user-2' } });
  await until('another visitor is online', () => names().includes('user_online user-2'));
  assert.deepEqual(names(), ['user_online user-1', 'user_online user-2']);
});

test('admins and agents are not listed, and visitors may not ask', async (t) => {
  const { service, told, visit } = await given(t, 'websocket', 50);
  const token = await service.mint({ userId: 'ann', role: 'agent' });
  await visit({ auth: { token } });
  const bot = await visit({ auth: { token: BOT } });
  const visitor = await visit({ auth: { sessionId: newSession(), userId: 'user-1' } });
  await until('the visitor is online', () => told.length > 0);
  assert.deepEqual((await service.online()).users.map(({ userId }) => userId), ['user-1']);
  for (const socket of [visitor, bot]) {
    assertProblem(await ask(socket, 'get_online_users', { tenantId: 'demo' }), 'FORBIDDEN');
  }
  const { status, json } = await service.request('GET', '/api/chat/online-users?tenantId=demo', { key: WIDGET });
  assert.equal(status, 403);
  assertProblem(json, 'FORBIDDEN');
});

test('after a crash nobody is online before they reconnect', async (t) => {
  const { service, told, admin, names, visit } = await given(t, 'websocket', 50);
  const options = { reconnectionDelay: 500, randomizationFactor: 0 };
  const visitor = await visit({ auth: { sessionId: newSession(), userId: 'user-1' }, ...options });
  await until('the visitor is online', () => told.length === 1);
  await service.end('SIGKILL');
  await until('both are cut off', () => !visitor.connected && !admin.connected);
  visitor.disconnect();
  await service.restart();
  assert.deepEqual(await service.online(), { users: [], total: 0 });
  await until('the admin is back', () => admin.connected);
  await visit({ auth: { sessionId: newSession(), userId: 'user-2' } });
  await until('who comes is online', () => names().includes('user_online user-2'));
  assert.deepEqual((await service.online()).users.map(({ userId }) => userId), ['user-2']);
});
