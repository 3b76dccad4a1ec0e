//! Three nodes behind the proxies of deploy/cluster: who stays where, who is asked, and what clients notice when a node
//! drains, dies or is not ready. Each node has a log of its own, because this is about connections; with AMOIQ_TEST_POSTGRES they
//! share one in that database.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import { WAYS, ask, connect, isThere, messagesOf, newSession, open, range, until } from '../interop/client.mjs';
import { Service } from '../interop/service.mjs';
import { request } from './request.mjs';
import { CLUSTER_PROXIES, ProxyServer } from './servers.mjs';

const WIDGET = 'wk_clustered_000000000';
const TENANTS = `[[tenants]]\nid = 'clustered'\nwidget_keys = ['${WIDGET}']\n`;

/** Their names, as in the configurations. */
const NODES = ['a', 'b', 'c'];

/** Requests that one address may make at one node. */
const REQUESTS = 100;

const SETTINGS = {
  'server.trusted_proxies': '127.0.0.1/32',
  'rate_limit.http_per_minute': REQUESTS,
  // Every new conversation begins with a session that does not exist.
  'rate_limit.session_misses_per_minute': 0,
};

/** Whether they share a log. */
const IS_SHARED = Boolean(process.env.AMOIQ_TEST_POSTGRES);

/** How long clients may take to reconnect. */
const BACK_MS = 30_000;

/** Clients that come one after another. */
const SOME = 9;

const VISITOR = { auth: { apiKey: WIDGET } };

/** A client that has connected, with what happens to it. */
class Visitor {
  drops = 0;

  static async connect(t, url, options) {
    return new Visitor(await connect(t, url, { ...VISITOR, ...options }));
  }

  constructor(socket) {
    this.socket = socket;
    this.messages = messagesOf(socket);
    socket.on('disconnect', () => (this.drops += 1));
  }

  /** The name of its node: the end of its sid. */
  get node() {
    return this.socket.io.engine.id.split('.').at(-1);
  }

  /** Sends a message and hears it. */
  async talk(text) {
    this.session ??= newSession();
    const answer = await ask(this.socket, 'message', { sessionId: this.session, text });
    assert.equal(answer.success, true, JSON.stringify(answer));
    await until('it is heard', () => this.messages.some((message) => message.text === text));
  }
}

/** A reader of its own address. */
function read(url, from, headers = {}) {
  return request(`${url}/api/chat/messages?sessionId=session-of-a-reader`, { key: WIDGET, from, headers });
}

for (const name of process.env.AMOIQ_PROXIES.split(' ').filter((name) => CLUSTER_PROXIES.includes(name))) {
  describe(`${name}, three nodes`, () => {
    const fact = (title, test, options = {}) => it(`${name}, three nodes: ${title}`, options, test);
    let nodes;
    let proxy;

    before(async () => {
      const log = { 'store.schema': `proxies_${name}`, 'auth.jwt_secret': 'a secret of all nodes, with more than 32 bytes' };
      const settings = { ...SETTINGS, ...(IS_SHARED ? log : {}) };
      const start = (node) => Service.start({ settings: { ...settings, 'cluster.node': node }, tenants: TENANTS });
      nodes = Object.fromEntries(await Promise.all(NODES.map(async (node) => [node, await start(node)])));
      proxy = await ProxyServer.start(name, Object.values(nodes), 60);
    });
    after(async () => {
      await proxy?.stop();
      await Promise.all(Object.values(nodes ?? {}).map((node) => node.close()));
    });

    /** Connects clients of every kind until each of these nodes has one of each. */
    async function everywhere(t, among) {
      const visitors = [];
      for (const options of Object.values(WAYS)) {
        const ofKind = [];
        await until('each node has one', async () => {
          ofKind.push(await Visitor.connect(t, proxy.url, options));
          return among.every((node) => ofKind.some((visitor) => visitor.node === node));
        });
        visitors.push(...ofKind);
      }
      return visitors;
    }

    /** Where new clients go. */
    async function newcomers(t) {
      const ways = Object.values(WAYS);
      const visitors = await Promise.all(
        range(1, SOME).map((number) => Visitor.connect(t, proxy.url, ways[number % ways.length])),
      );
      return visitors.map(({ node }) => node);
    }

    fact('polling clients and upgrades stay on their node, and every node has some', async (t) => {
      const visitors = await everywhere(t, NODES);
      for (const text of ['one', 'two', 'three']) {
        await Promise.all(visitors.map((visitor) => visitor.talk(text)));
      }
      for (const { drops, socket } of visitors) {
        assert.equal(drops, 0);
        assert.ok(isThere(socket));
      }
    });

    fact('a client is counted by its own address, whatever it claims', async () => {
      const claims = range(1, NODES.length * REQUESTS + 1).map((number) => `6.6.${number >> 8}.${number & 255}`);
      let isRefused = false;
      for (const claim of claims) {
        const { status } = await read(proxy.url, '127.0.0.7', { 'X-Forwarded-For': claim });
        assert.ok([200, 429].includes(status), `${status}`);
        isRefused ||= status === 429;
      }
      assert.ok(isRefused, 'more requests than all nodes allow');
      assert.equal((await read(proxy.url, '127.0.0.8')).status, 200);
    });

    fact('a node that drains gets no new clients and keeps its own, and nobody is refused when it stops', async (t) => {
      const visitors = await everywhere(t, NODES);
      const leaving = visitors.filter(({ node }) => node === 'a');
      const statuses = [];
      let isOver = false;
      const reader = (async () => {
        while (!isOver) {
          statuses.push((await read(proxy.url, '127.0.0.9')).status);
          await pause(100);
        }
      })();
      let hasEnded = false;
      const ending = nodes.a.end('SIGTERM').then(() => (hasEnded = true));
      const ready = await until('it drains', async () => {
        const answer = await nodes.a.request('GET', '/readyz', { agent: false });
        return answer.status === 503 && answer.json;
      });
      assert.equal(ready.status, 'draining');
      await until('the proxy noticed', async () => !(await newcomers(t)).includes('a'), 4_000);
      assert.ok(!(await newcomers(t)).includes('a'));
      await Promise.all(leaving.map((visitor) => visitor.talk('during the drain')));
      assert.ok(leaving.every(({ drops, node }) => drops === 0 && node === 'a'));
      assert.ok(!hasEnded);
      await ending;
      await until('all are on another node', () => visitors.every(({ socket }) => isThere(socket)), BACK_MS);
      assert.ok(visitors.every(({ node }) => node !== 'a'));
      assert.ok(visitors.every((visitor) => leaving.includes(visitor) || visitor.drops === 0));
      await Promise.all(visitors.map((visitor) => visitor.talk('after the drain')));
      isOver = true;
      await reader;
      assert.deepEqual([...new Set(statuses)], [200]);
      await nodes.a.restart();
      await until('it gets clients again', async () => (await newcomers(t)).includes('a'));
    });

    fact('a node that dies is left', async (t) => {
      const visitors = await everywhere(t, NODES);
      await nodes.b.end('SIGKILL');
      for (const _ of range(1, SOME)) assert.equal((await read(proxy.url, '127.0.0.10')).status, 200);
      await until('all are on another node', () => visitors.every(({ socket }) => isThere(socket)), BACK_MS);
      assert.ok(visitors.every(({ node }) => node !== 'b'));
      await Promise.all(visitors.map((visitor) => visitor.talk('after the death')));
      await nodes.b.restart();
      await until('it gets clients again', async () => (await newcomers(t)).includes('b'));
    });

    fact('a node that hangs gets no new clients, and delays requests by 15 s at the most', async (t) => {
      nodes.c.freeze(true);
      t.after(() => nodes.c.freeze(false));
      const readings = Promise.all(range(1, SOME).map(() => read(proxy.url, '127.0.0.13')));
      await until('new clients go elsewhere', async () => {
        const socket = open(t, proxy.url, { ...VISITOR, ...WAYS.websocket, reconnection: false });
        const since = performance.now();
        await until('it is let in, or not', () => socket.connected || performance.now() - since > 3_000);
        return socket.connected;
      });
      assert.ok(!(await newcomers(t)).includes('c'));
      const since = performance.now();
      // A proxy that noticed it first answers 502, 503 or 504 to whoever waits there.
      const statuses = new Set((await readings).map(({ status }) => status));
      assert.ok([...statuses].every((status) => [200, 502, 503, 504].includes(status)), `${[...statuses]}`);
      assert.ok(performance.now() - since < 20_000);
      assert.equal((await read(proxy.url, '127.0.0.13')).status, 200);
    });

    fact('while no node is ready, clients are let in and what can be read is read', async (t) => {
      for (const node of Object.values(nodes)) {
        node.limitWrites(true);
        const body = { sessionId: newSession(), text: 'lost' };
        assert.equal((await node.request('POST', '/webchat/message', { key: WIDGET, body })).status, 503);
        await until('it is not ready', async () => (await node.request('GET', '/readyz')).status === 503);
      }
      // As long as a proxy may take to notice.
      await pause(2_000);
      for (const options of Object.values(WAYS)) {
        const socket = open(t, proxy.url, { ...VISITOR, ...options, reconnection: false });
        await until('it is let in', () => isThere(socket));
      }
      assert.equal((await read(proxy.url, '127.0.0.11')).status, 200);
      for (const node of Object.values(nodes)) {
        node.limitWrites(false);
        await until('it is ready', async () => (await node.request('GET', '/readyz')).status === 200);
      }
      await until('writing works', async () => {
        const body = { sessionId: newSession(), text: 'kept' };
        const options = { method: 'POST', key: WIDGET, from: '127.0.0.12', body };
        return (await request(`${proxy.url}/webchat/message`, options)).status === 200;
      });
    }, { skip: IS_SHARED && 'the nodes write no log of their own' });
  });
}
