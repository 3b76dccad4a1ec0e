//! A crowd of widgets, with the widget's own options: what happens to them, and how often they try.

import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';

import { ask, connect, newSession, open, until } from './client.mjs';
import { Service, WIDGET } from './service.mjs';

/** The widget's: after five failed tries it is dead until the page is loaded again. */
const OPTIONS = {
  transports: ['websocket'],
  query: { tenantId: 'demo' },
  auth: { apiKey: WIDGET },
  reconnectionAttempts: 5,
  reconnectionDelay: 1000,
  reconnectionDelayMax: 5000,
};

/** The most tries a second of each, on average. */
const PACE = 0.12;

/** A client is held for at most 15 s and returns up to 1.5 s later; the rest is for a slow machine. */
const RETURN_MS = 30_000;

/** How long a crowd on a slow machine takes to be let in. */
const ENTRY_MS = 60_000;

class Crowd {
  #since = performance.now();
  #returns = 0;
  #refused = 0;
  #dead = 0;
  #sockets;

  constructor(t, url, size, transports = OPTIONS.transports) {
    this.#sockets = Array.from({ length: size }, (_, number) => {
      // Some clients name their session when they connect, the widget only with its first message.
      const auth = number % 2 ? { ...OPTIONS.auth, sessionId: newSession() } : OPTIONS.auth;
      const socket = open(t, url, { ...OPTIONS, auth, transports });
      socket.io.on('reconnect_attempt', () => (this.#returns += 1));
      socket.io.on('reconnect_failed', () => (this.#dead += 1));
      // This uses an attempt up. (A poll that breaks off is a `connect_error` too, and uses none up.)
      socket.io.on('reconnect_error', () => (this.#refused += 1));
      socket.on('connect_error', () => {
        if (!socket.active) this.#dead += 1;
      });
      return socket;
    });
  }

  get connected() {
    return this.#sockets.filter((socket) => socket.connected).length;
  }

  /** How often each tried in a second, the first time included. */
  get pace() {
    const tries = this.#sockets.length + this.#returns;
    return tries / this.#sockets.length / ((performance.now() - this.#since) / 1000);
  }

  /** Waits until all are connected. */
  async isIn(patienceMs) {
    await until('all of the crowd are in', () => this.connected === this.#sockets.length, patienceMs);
  }

  /** Each sends a message; returns the answers. */
  async say(text) {
    const answers = await Promise.all(
      this.#sockets.map((socket, number) =>
        socket.timeout(ENTRY_MS).emitWithAck('message', { text, clientMessageId: `${number}: ${text}` }),
      ),
    );
    return [...new Set(answers.map((answer) => (answer.success ? 'success' : answer.code)))];
  }

  /** None gave up, none was refused, and they did not try too often. */
  assertPatient(t) {
    const seconds = Math.round((performance.now() - this.#since) / 1000);
    console.log(`${t.name}: ${seconds} s, ${this.connected} of ${this.#sockets.length} in,`,
      `${this.pace.toFixed(4)} tries a second each, ${this.#refused} refused, ${this.#dead} gave up`);
    assert.equal(this.#dead, 0, `${this.#dead} of ${this.#sockets.length} gave up`);
    assert.equal(this.#refused, 0, 'a refusal uses up one of five attempts');
    assert.ok(this.pace <= PACE, `each tried ${this.pace} times a second`);
  }
}

/** A crowd comes while a limit of connections is reached, and all are in when there is room again. */
export async function comesWhileItIsFull(t, { limit, size, seconds, transports }) {
  const limits = { 'realtime.connections_per_ip': 0, [`realtime.${limit}`]: size };
  const service = await Service.start({ settings: limits });
  t.after(() => service.close());
  const guests = [];
  for (let number = 0; number < size; number += 1) guests.push(await connect(t, service.url, OPTIONS));
  const crowd = new Crowd(t, service.url, size, transports);
  await pause(seconds * 1000);
  assert.equal(crowd.connected, 0, 'there is no room for them');
  crowd.assertPatient(t);
  guests.forEach((guest) => guest.disconnect());
  await crowd.isIn(RETURN_MS);
  crowd.assertPatient(t);
}

/** A crowd comes while the store accepts no writes: they are let in at once, and get an error when they send. */
export async function comesWithoutWrites(t, { size, seconds }) {
  const service = await Service.start({ settings: { 'realtime.connections_per_ip': 0 } });
  t.after(() => service.close());
  const witness = await connect(t, service.url, OPTIONS);
  const sessionId = newSession();
  const send = () => ask(witness, 'message', { text: 'Is anybody there?', sessionId });
  assert.equal((await send()).success, true);
  service.limitWrites(true);
  await until('the store takes no writes', async () => (await send()).code === 'STORE_UNAVAILABLE');
  const crowd = new Crowd(t, service.url, size);
  await crowd.isIn(ENTRY_MS);
  assert.deepEqual(await crowd.say('Is anybody there?'), ['STORE_UNAVAILABLE']);
  await pause(seconds * 1000);
  assert.equal(crowd.connected, size, 'nobody is sent away');
  crowd.assertPatient(t);
  service.limitWrites(false);
  await until('the store takes writes', async () => (await send()).success);
  assert.deepEqual(await crowd.say('And now?'), ['success']);
  assert.equal(crowd.connected, size);
}
