//! `join:session` and `leave:session`, and unknown events.

import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';

import { WAYS, ask, assertProblem, connect, heard, messagesOf, newSession, until } from './client.mjs';
import { BOT, SECRET, Service, WIDGET } from './service.mjs';

const service = await Service.start();
after(() => service.close());

const query = { tenantId: 'demo' };
// What was written just before somebody joined may still be in transit, and reach them too.
const texts = (messages) => messages.map(({ text }) => text).filter((text) => text !== 'before');

for (const [way, transports] of Object.entries(WAYS)) {
  const as = (t, token, auth) =>
    connect(t, service.url, { ...transports, query, auth: { token, ...auth } });

  describe(`over ${way}`, { concurrency: true }, () => {
    test(`a bot receives a session from when it joins to when it leaves, over ${way}`, async (t) => {
      const [sessionId, other] = [newSession(), newSession()];
      for (const session of [sessionId, other]) await service.post({ text: 'before', sessionId: session });
      const bot = await as(t, BOT);
      const seen = messagesOf(bot);
      assert.deepEqual(await ask(bot, 'join:session', { sessionId }), { success: true, sessionId });
      assert.deepEqual(await ask(bot, 'join:session', { sessionId }), { success: true, sessionId });
      await service.post({ text: 'while it is there', sessionId });
      await until('it hears', () => texts(seen).length > 0);
      assert.deepEqual(await ask(bot, 'leave:session', { sessionId }), { success: true, sessionId });
      await service.post({ text: 'after', sessionId });
      // What it gets of another session was written after what it does not get of this one.
      await ask(bot, 'join:session', { sessionId: other });
      await service.post({ text: 'the other', sessionId: other });
      await until('it hears the other', () => texts(seen).includes('the other'));
      assert.deepEqual(texts(seen), ['while it is there', 'the other']);
    });

    test(`a visitor who joins a session is bound to it, over ${way}`, async (t) => {
      const [sessionId, other] = [newSession(), newSession()];
      await service.post({ text: 'before', sessionId });
      const visitor = await as(t, WIDGET);
      const seen = messagesOf(visitor);
      assert.equal((await ask(visitor, 'join:session', { sessionId })).success, true);
      await service.post({ text: 'an answer', sessionId });
      await until('it hears', () => texts(seen).length > 0);
      const answer = await ask(visitor, 'message', { text: 'mine', sessionId: other });
      assert.equal(answer.sessionId, sessionId);
      assertProblem(await ask(visitor, 'join:session', { sessionId: other }), 'FORBIDDEN');
      await until('it hears itself', () => texts(seen).length > 1);
      assert.deepEqual(texts(seen), ['an answer', 'mine']);
    });

    test(`an agent who joins a session gets each message once all the same, over ${way}`, async (t) => {
      const sessionId = newSession();
      await service.post({ text: 'before', sessionId });
      const agent = await as(t, SECRET, { role: 'admin' });
      const all = messagesOf(agent);
      const seen = () => texts(all.filter((message) => message.sessionId === sessionId));
      assert.equal((await ask(agent, 'join:session', { sessionId })).success, true);
      for (const text of ['one', 'two']) await service.post({ text, sessionId });
      await until('it hears both', () => seen().length > 1);
      assert.equal((await ask(agent, 'leave:session', { sessionId })).success, true);
      await service.post({ text: 'three', sessionId });
      await until('it hears every session', () => seen().includes('three'));
      assert.deepEqual(seen(), ['one', 'two', 'three']);
    });

    test(`a session that does not exist, or that anybody could guess, cannot be joined, over ${way}`, async (t) => {
      const agent = await as(t, SECRET);
      assertProblem(await ask(agent, 'join:session', { sessionId: newSession() }), 'SESSION_NOT_FOUND');
      assertProblem(await ask(agent, 'join:session', {}), 'VALIDATION_FAILED');
      const visitor = await as(t, WIDGET);
      await service.post({ text: 'before', sessionId: 'short' });
      assertProblem(await ask(visitor, 'join:session', { sessionId: 'short' }), 'FORBIDDEN');
      const errors = heard(visitor, 'error');
      visitor.emit('join:session', { sessionId: 'short' });
      await until('there is an error event', () => errors.length > 0);
      assertProblem(errors[0], 'FORBIDDEN');
    });

    test(`an unknown event is ignored, over ${way}`, async (t) => {
      const visitor = await as(t, WIDGET);
      const everything = [];
      visitor.onAny((name) => everything.push(name));
      for (const name of ['typing', 'meta_message_created', 'join', '', '__proto__', 'm\u00e9ssage']) {
        visitor.emit(name, { sessionId: newSession() });
        assertProblem(await ask(visitor, name, 1, 2, 3), 'VALIDATION_FAILED');
      }
      assert.deepEqual(everything, [], 'nothing is said to who did not ask');
      assert.equal((await ask(visitor, 'message', { text: 'Hello' })).success, true);
    });
  });
}
