//! Clients that ask for what they missed, of every kind that may: what they are, and what they got.

import assert from 'node:assert/strict';

import { ask, connect, isThere, newSession, until } from './client.mjs';
import { SECRET, WIDGET } from './service.mjs';

const query = { tenantId: 'demo' };

/** The kinds: what each connects with for a session. */
export const KINDS = {
  'an admin': async () => ({ token: SECRET, role: 'admin' }),
  'a visitor with an anonymous token': async (service, sessionId) => ({
    token: (await service.anonymous(sessionId)).token,
  }),
  'a visitor who names the session': async (_, sessionId) => ({ token: WIDGET, sessionId }),
  'a visitor bound by the first message': async () => ({ token: WIDGET }),
};

/** One such client, behind a proxy that can break its connection. */
export class Listener {
  service;
  proxy;
  socket;
  sessionId = newSession();
  /** What it got of its session, in order. */
  messages = [];
  /** The arguments of every event, whatever session it is of. */
  calls = [];

  /** Connects one of a kind; afterwards it receives its session. */
  static async of(t, kind, { service, proxy, transports, ...options }) {
    const listener = new Listener();
    Object.assign(listener, { service, proxy });
    const auth = { recovery: true, ...(await KINDS[kind](service, listener.sessionId)) };
    listener.socket = await connect(t, proxy.url, { ...transports, query, auth, ...options });
    listener.socket.on('meta_message_created', (...args) => {
      listener.calls.push(args);
      if (args[0].message.sessionId === listener.sessionId) listener.messages.push(args[0].message);
    });
    if (kind === 'a visitor bound by the first message') await listener.say('I begin');
    return listener;
  }

  get texts() {
    return this.messages.map(({ text }) => text);
  }

  /** Writes something in its session, and waits for it. */
  async say(text) {
    const { messageId } = await ask(this.socket, 'message', { text, sessionId: this.sessionId });
    await until('it hears itself', () => this.messages.at(-1)?.id === messageId);
  }

  /** Somebody else writes something in its session. */
  tell(text) {
    return this.service.post({ text, sessionId: this.sessionId });
  }

  /** Somebody else writes something in its session, and it gets it. */
  async hear(text) {
    const { messageId } = await this.tell(text);
    await until(`it hears ${text}`, () => this.messages.at(-1)?.id === messageId);
  }

  /** Loses its connection, and reconnects after something has happened. */
  async away(happens = async () => {}, cut = () => this.proxy.cut()) {
    cut();
    await until('it is away', () => !this.socket.connected);
    await happens();
    this.proxy.open();
    await until('it is back', () => isThere(this.socket));
  }

  /** Checks that it has got each message of its session from one on, once and in order. */
  async assertWhole(from = 1) {
    const stored = (await this.service.history(this.sessionId)).slice(from - 1);
    await until('it has heard the last one', () => this.messages.at(-1)?.id === stored.at(-1)?.id);
    assert.deepEqual(
      this.messages.map(({ seq, id }) => [seq, id]),
      stored.map(({ seq, id }) => [seq, id]),
    );
  }
}
