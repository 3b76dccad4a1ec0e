//! socket.io-client as applications use it, and the few waits that the tests share.
//!
//! The client is outside the repository, where `run` installed it. Nothing here waits for a fixed
//! time: a condition is checked until it holds or its deadline passes.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import { after } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

assert.ok(process.env.AMOIQ_INTEROP_MODULES, 'AMOIQ_INTEROP_MODULES is missing: start tests/interop/run');
const { io } = createRequire(process.env.AMOIQ_INTEROP_MODULES)('socket.io-client');

/** The transports of a client. */
export const WAYS = {
  websocket: { transports: ['websocket'] },
  polling: { transports: ['polling'] },
  'polling, then websocket': { transports: ['polling', 'websocket'] },
};

const PATIENCE_MS = 15_000;

/** All of them: one that stays open would keep a file from ending when a test fails half-way. */
const sockets = [];
after(() => sockets.forEach((socket) => socket.disconnect()));

/** Waits until a condition holds, and returns its result. */
export async function until(what, condition, patienceMs = PATIENCE_MS) {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    const result = await condition();
    if (result) return result;
    assert.ok(performance.now() < deadline, `waited ${patienceMs} ms in vain until ${what}`);
    await pause(5);
  }
}

/** A client that starts to connect. It disconnects when the test ends. */
export function open(t, url, options) {
  const socket = io(url, { forceNew: true, reconnectionDelay: 20, reconnectionDelayMax: 100, ...options });
  sockets.push(socket);
  t.after(() => socket.disconnect());
  return socket;
}

/** A client that is connected, and upgraded if it was to upgrade. */
export async function connect(t, url, options) {
  const socket = open(t, url, options);
  let refusal;
  socket.once('connect_error', (error) => (refusal = error));
  await until('the client is connected', () => {
    if (refusal) throw refusal;
    return isThere(socket);
  });
  return socket;
}

/** Whether a client is connected, on the transport that it ends with. */
export function isThere(socket) {
  const [first, second] = socket.io.opts.transports;
  const last = first === 'polling' && second ? second : first;
  return socket.connected && socket.io.engine.transport.name === last;
}

/** Why a client is refused. */
export async function refused(t, url, options) {
  const socket = open(t, url, options);
  let refusal;
  socket.once('connect_error', (error) => (refusal = error));
  await until('the client is refused', () => {
    assert.ok(!socket.connected, 'the client was let in');
    return refusal;
  });
  assert.equal(socket.active, false, 'a refusal is final for the client');
  return refusal;
}

/** Every event of a name that a client gets from now on: the first argument of each. */
export function heard(socket, name) {
  const all = [];
  socket.on(name, (argument) => all.push(argument));
  return all;
}

/** The messages that a client gets from now on. */
export function messagesOf(socket) {
  const all = [];
  socket.on('meta_message_created', ({ message }) => all.push(message));
  return all;
}

/** Emits and waits for the acknowledgement. */
export function ask(socket, event, ...payload) {
  return socket.timeout(PATIENCE_MS).emitWithAck(event, ...payload);
}

/** A session's id as the widget makes them. */
export function newSession() {
  return `session-${Date.now()}-${randomBytes(12).toString('hex')}`;
}

/** Checks that something has the shape of an error; returns its details. */
export function assertProblem(problem, code) {
  assert.equal(problem?.code, code, JSON.stringify(problem));
  assert.deepEqual(Object.keys(problem).sort(), ['code', 'details', 'error']);
  assert.equal(typeof problem.error, 'string');
  assert.notEqual(problem.error, '');
  assert.equal(Object.prototype.toString.call(problem.details), '[object Object]');
  return problem.details;
}

/** Whole numbers from one to another, both included. */
export function range(from, to) {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}
