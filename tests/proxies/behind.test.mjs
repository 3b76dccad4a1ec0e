//! What visitors and operators find behind each proxy: every transport, ids, addresses, reloads and restarts.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import { WAYS, ask, connect, heard, isThere, messagesOf, newSession, open, range, until } from '../interop/client.mjs';
import { Service } from '../interop/service.mjs';
import { request as send } from './request.mjs';
import { ProxyServer, TIMEOUT_S } from './servers.mjs';

const WIDGET = 'wk_proxied_0000000000';
const SECRET = 'sk_proxied_0000000000';
const TENANTS = `[[tenants]]\nid = 'proxied'\nwidget_keys = ['${WIDGET}']\nsecret_keys = ['${SECRET}']\n`;

const SETTINGS = {
  // The proxy itself, and not the clients, which have other addresses of this machine.
  'server.trusted_proxies': '127.0.0.1/32',
  'rate_limit.http_per_minute': 1_000,
  // Every new conversation begins with a session that does not exist.
  'rate_limit.session_misses_per_minute': 0,
  'presence.offline_grace_ms': 200,
};

/** Sockets that one address may have at the service with the default heartbeat. */
const SOCKETS_PER_IP = 20;

/** Sockets that are open while the proxy reads its configuration again. */
const CROWD = 100;

/** Visitors who leave. */
const FEW = 5;

/** How long it may take until a visitor who left is offline: less than a heartbeat. */
const NOTICED_MS = 15_000;

/** How long clients may take to reconnect. */
const BACK_MS = 60_000;

const VISITOR = { auth: { apiKey: WIDGET } };

/** A request of a client with an address of its own. */
function request(url, options) {
  return send(url, { key: WIDGET, ...options });
}

/** How many requests a client's address has left. */
async function left(url, options) {
  const answer = await request(`${url}/api/chat/messages?sessionId=session-of-an-address`, options);
  assert.equal(answer.status, 200, answer.text);
  return Number(answer.headers['x-ratelimit-remaining']);
}

/** Sends a message; returns whether it was accepted. */
async function says(socket, text) {
  return (await ask(socket, 'message', { sessionId: newSession(), text })).success;
}

/** A visitor over polling, who waits for events; returns a function that ends that silently. */
async function waitForNews(url, userId) {
  const poll = async (sid, body) => {
    const path = `${url}/socket.io/?EIO=4&transport=polling${sid ? `&sid=${sid}` : ''}`;
    const answer = await fetch(path, body && { method: 'POST', body });
    assert.equal(answer.status, 200);
    return answer.text();
  };
  const { sid } = JSON.parse((await poll()).slice(1));
  await poll(sid, `40${JSON.stringify({ apiKey: WIDGET, userId })}`);
  assert.match(await poll(sid), /^40/);
  const waiting = http.get(`${url}/socket.io/?EIO=4&transport=polling&sid=${sid}`, { agent: false });
  waiting.on('error', () => {});
  const [wire] = await once(waiting, 'socket');
  return () => wire.destroy();
}

for (const name of process.env.AMOIQ_PROXIES.split(' ')) {
  describe(name, () => {
    const fact = (title, test) => it(`${name}: ${title}`, test);
    /** Heartbeats come faster than the proxy's time-outs end, as they do in the configurations. */
    let quick;
    let proxy;
    /** The defaults of both. */
    let usual;
    let patient;

    before(async () => {
      const settings = { ...SETTINGS, 'realtime.ping_interval_ms': 1_000 };
      [quick, usual] = await Promise.all([
        Service.start({ settings, tenants: TENANTS }),
        Service.start({
          settings: { ...SETTINGS, 'realtime.connections_per_ip': SOCKETS_PER_IP },
          tenants: TENANTS,
        }),
      ]);
      [proxy, patient] = await Promise.all([
        ProxyServer.start(name, quick),
        ProxyServer.start(name, usual, 60),
      ]);
    });
    after(async () => {
      await Promise.all([proxy, patient].map((server) => server?.stop()));
      await Promise.all([quick, usual].map((service) => service?.close()));
    });

    describe('while all is well', { concurrency: true }, () => {
      for (const [way, options] of Object.entries(WAYS)) {
        fact(`${way}: messages are accepted and received, and the connection outlives the time-out`, async (t) => {
          const socket = await connect(t, proxy.url, { ...VISITOR, ...options });
          const messages = messagesOf(socket);
          let pings = 0;
          let drops = 0;
          socket.io.on('ping', () => (pings += 1));
          socket.on('disconnect', () => (drops += 1));
          const since = performance.now();
          assert.equal(await says(socket, 'one'), true);
          await until('it was asked often', () => pings > 2 * TIMEOUT_S, BACK_MS);
          assert.ok(performance.now() - since > 1_500 * TIMEOUT_S);
          assert.equal(await says(socket, 'two'), true);
          await until('both are heard', () => messages.length === 2);
          assert.equal(drops, 0);
          assert.ok(isThere(socket));
        });
      }

      fact('an id with slashes, percent signs and letters of any kind is the same id', async () => {
        const session = `a/b%2Fc ?&#é-${newSession()}`;
        const said = { method: 'POST', body: { sessionId: session, text: 'hello' } };
        assert.equal((await request(`${proxy.url}/webchat/message`, said)).status, 200);
        const path = `/api/chat/sessions/${encodeURIComponent(session)}/close`;
        const closed = await request(`${proxy.url}${path}`, { method: 'POST', key: SECRET });
        assert.equal(closed.status, 200, closed.text);
        assert.equal(JSON.parse(closed.text).sessionId, session);
        const read = await request(`${proxy.url}/api/chat/messages?sessionId=${encodeURIComponent(session)}`);
        assert.equal(JSON.parse(read.text).messages.length, 1);
      });

      fact('a client is counted by its own address, whatever it claims', async () => {
        const first = await left(proxy.url, { from: '127.0.0.7' });
        for (const forged of ['6.6.6.6', '127.0.0.1', '"[2001:db8::1]:443"', 'rubbish', ',']) {
          for (const header of ['X-Forwarded-For', 'Forwarded', 'X-Real-IP']) {
            const headers = { [header]: header === 'Forwarded' ? `for=${forged}` : forged };
            assert.ok((await left(proxy.url, { from: '127.0.0.7', headers })) < first, `${header}: ${forged}`);
          }
        }
        assert.equal(await left(proxy.url, { from: '127.0.0.8' }), first);
      });

      fact('a websocket is counted by the address of its client, whatever that claims', async (t) => {
        const dial = (localAddress, forged) => {
          const extraHeaders = { 'X-Forwarded-For': forged };
          return open(t, patient.url, { ...VISITOR, ...WAYS.websocket, localAddress, extraHeaders });
        };
        const crowd = range(1, SOCKETS_PER_IP).map((number) => dial('127.0.0.9', `6.6.6.${number}`));
        await until('all are there', () => crowd.every((socket) => socket.connected), BACK_MS);
        const oneMore = dial('127.0.0.9', '6.6.6.99');
        let isSentAway = false;
        oneMore.io.once('close', () => (isSentAway = true));
        const other = dial('127.0.0.10', '6.6.6.1');
        await until('another address gets in', () => other.connected);
        await until('one more is sent away', () => isSentAway || oneMore.connected, BACK_MS);
        assert.ok(!oneMore.connected);
      });

      fact('HEAD is GET without the body, and no answer may be cached', async () => {
        const session = newSession();
        const path = `${proxy.url}/api/chat/messages?sessionId=${session}`;
        assert.equal((await request(path, { method: 'HEAD' })).status, 200);
        const count = async () => JSON.parse((await request(path)).text).messages.length;
        assert.equal(await count(), 0);
        await request(`${proxy.url}/webchat/message`, { method: 'POST', body: { sessionId: session, text: 'x' } });
        assert.equal(await count(), 1);
      });

      fact('a poll longer than the time-out ends, and the client reconnects', async (t) => {
        const hurried = await ProxyServer.start(name, usual);
        t.after(() => hurried.stop());
        const socket = await connect(t, hurried.url, { ...VISITOR, ...WAYS.polling });
        const drops = heard(socket, 'disconnect');
        if (hurried.hasNoTimeout) {
          // Nothing cuts it: the heartbeat, after 25 s, ends the poll.
          await once(socket.io, 'ping', { signal: AbortSignal.timeout(BACK_MS) });
          assert.deepEqual(drops, []);
        } else {
          await until('it was cut', () => drops.length > 0, BACK_MS);
        }
        await until('it is there', () => socket.connected, BACK_MS);
        assert.equal(await says(socket, 'still here'), true);
      });

      fact('a polling visitor who left is soon offline', async (t) => {
        const admin = { auth: { token: SECRET, role: 'admin' }, ...WAYS.websocket };
        const staff = await connect(t, usual.url, admin);
        const [online, offline] = [heard(staff, 'user_online'), heard(staff, 'user_offline')];
        const users = range(1, FEW).map((number) => `left-${number}-${newSession()}`);
        const all = (list) => users.every((userId) => list.some((user) => user.userId === userId));
        const some = (list) => users.some((userId) => list.some((user) => user.userId === userId));
        const vanish = await Promise.all(users.map((userId) => waitForNews(patient.url, userId)));
        await until('they are online', () => all(online));
        // Nothing shows when a poll has reached the service; if it is given up before, the service never learns of it.
        await pause(500);
        vanish.forEach((end) => end());
        if (patient.noticesWhoLeft) {
          await until('one of them is offline', () => some(offline), NOTICED_MS);
        } else {
          await pause(2_000);
          assert.ok(!some(offline), 'it is noticed: say so in docs/operations/reference.md');
        }
      });
    });

    fact(`a reload with ${CROWD} sockets loses none of them for good`, async (t) => {
      const crowd = range(1, CROWD).map(() => open(t, proxy.url, { ...VISITOR, ...WAYS.websocket }));
      await until('all are there', () => crowd.every((socket) => socket.connected), BACK_MS);
      let drops = 0;
      crowd.forEach((socket) => socket.on('disconnect', () => (drops += 1)));
      await proxy.reload();
      if (proxy.isCutByReload) await until('all are cut', () => drops >= CROWD, BACK_MS);
      await until('all are there', () => crowd.every((socket) => socket.connected), BACK_MS);
      const taken = await Promise.all(crowd.map((socket) => says(socket, 'after the reload')));
      assert.ok(taken.every(Boolean));
      if (!proxy.isCutByReload) assert.equal(drops, 0);
    });

    fact('during a restart the service is unavailable, and everybody reconnects', async (t) => {
      const clients = await Promise.all(
        Object.values(WAYS).map((options) => connect(t, proxy.url, { ...VISITOR, ...options })),
      );
      await quick.end('SIGTERM');
      await until('nobody is there', () => clients.every((socket) => !socket.connected), BACK_MS);
      const meanwhile = await request(`${proxy.url}/healthz`);
      assert.ok([502, 503].includes(meanwhile.status), `${meanwhile.status}`);
      await quick.restart();
      await until('all are there', () => clients.every(isThere), BACK_MS);
      for (const socket of clients) assert.equal(await says(socket, 'after the restart'), true);
    });
  });
}
