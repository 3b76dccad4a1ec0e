//! A visitor with several tabs and an agent talk: everybody gets everything once, in one order.

import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';

import { WAYS, ask, assertProblem, connect, messagesOf, newSession, until } from './client.mjs';
import { SECRET, Service, WIDGET } from './service.mjs';

const service = await Service.start();
after(() => service.close());

const query = { tenantId: 'demo' };
const visitor = { query, auth: { token: WIDGET } };

/** The kinds of agents: a server with its key, and a person with a token. */
const AGENTS = {
  'a secret key': async () => ({ query, auth: { token: SECRET, role: 'admin' } }),
  'an agent\'s token': async () => {
    const token = await service.mint({ userId: 'ann', role: 'agent', name: 'Ann' });
    return { query, auth: { token } };
  },
  'an admin\'s token': async () => {
    const token = await service.mint({ userId: 'bob', role: 'admin', name: 'Bob' });
    return { query: { ...query, role: 'admin' }, auth: { token, role: 'admin' } };
  },
};

const summary = (messages) => messages.map(({ seq, sender, text }) => `${seq} ${sender}: ${text}`);

for (const [way, transports] of Object.entries(WAYS)) {
  describe(`over ${way}`, { concurrency: true }, () => {
    for (const [who, agentOptions] of Object.entries(AGENTS)) {
      test(`a visitor and ${who} talk, over ${way}`, async (t) => {
        const agent = await connect(t, service.url, { ...transports, ...(await agentOptions()) });
        const page = await connect(t, service.url, { ...transports, ...visitor });
        const sessionId = newSession();
        const seen = messagesOf(page);
        const all = messagesOf(agent);
        const ofSession = () => all.filter((message) => message.sessionId === sessionId);

        page.emit('message', { text: 'Hello', sessionId, userId: 'user-456' });
        const [first] = await until('the agent hears it', () => ofSession().length > 0 && ofSession());
        assert.deepEqual([first.userId, first.tenantId], ['user-456', 'demo']);
        const answer = await ask(agent, 'message', {
          text: 'How can I help?',
          sessionId: first.sessionId,
          senderName: 'Cleo',
          sender: 'user',
        });
        assert.equal(answer.success, true, JSON.stringify(answer));
        await ask(page, 'message', { text: 'My parcel', sessionId });

        const talk = ['1 user: Hello', '2 agent: How can I help?', '3 user: My parcel'];
        await until('both have heard all', () => seen.length >= 3 && ofSession().length >= 3);
        assert.deepEqual(summary(seen), talk);
        const told = seen.map((message) => ({ ...message, verified: false }));
        assert.deepEqual(ofSession(), told, 'both hear the same, and staff that the name is a claim');
        assert.equal(seen[1].senderName, 'Cleo');
        assert.deepEqual(summary(await service.history(sessionId)), talk);
      });
    }

    test(`two tabs of a visitor get each message once, over ${way}`, async (t) => {
      const sessionId = newSession();
      const first = await connect(t, service.url, { ...transports, ...visitor });
      // One names its session when it connects, one only with its own first message.
      const second = await connect(t, service.url, { ...transports, query, auth: { token: WIDGET, sessionId } });
      const third = await connect(t, service.url, { ...transports, ...visitor });
      const tabs = [first, second, third].map(messagesOf);
      await ask(first, 'message', { text: 'one', sessionId });
      await ask(second, 'message', { text: 'two', sessionId });
      await ask(third, 'message', { text: 'three', sessionId });
      await service.post({ text: 'four', sessionId });
      const done = (messages) => messages.at(-1)?.text === 'four';
      await until('all tabs are done', () => tabs.every(done));
      const whole = ['1 user: one', '2 user: two', '3 user: three', '4 agent: four'];
      const [early, bound, late] = tabs.map(summary);
      assert.deepEqual([early, bound], [whole, whole]);
      // Whoever joins gets what comes after, and maybe what was in transit: nothing twice, and without a gap.
      assert.deepEqual(late, whole.slice(Math.min(2, whole.length - late.length)));
    });

    test(`a tab that closes leaves the others open, over ${way}`, async (t) => {
      const sessionId = newSession();
      const auth = { token: WIDGET, sessionId };
      const [closes, stays] = await Promise.all(
        [1, 2].map(() => connect(t, service.url, { ...transports, query, auth })),
      );
      const [quiet, seen] = [messagesOf(closes), messagesOf(stays)];
      await ask(closes, 'message', { text: 'one' });
      await until('both hear it', () => quiet.length === 1 && seen.length === 1);
      closes.disconnect();
      await service.post({ text: 'two', sessionId });
      await until('the other hears on', () => seen.length === 2);
      assert.equal(quiet.length, 1);
    });
  });
}

test('a socket that is bound to a session writes into it whatever it names later', async (t) => {
  const [mine, other] = [newSession(), newSession()];
  const socket = await connect(t, service.url, { ...WAYS.websocket, ...visitor });
  await ask(socket, 'message', { text: 'one', sessionId: mine });
  const answer = await ask(socket, 'message', { text: 'two', sessionId: other });
  assert.equal(answer.sessionId, mine);
  assert.deepEqual(summary(await service.history(mine)), ['1 user: one', '2 user: two']);
});

test('a visitor gets nothing of another session', async (t) => {
  const [mine, other] = [newSession(), newSession()];
  const auth = { token: WIDGET, sessionId: mine };
  const socket = await connect(t, service.url, { ...WAYS.websocket, query, auth });
  const seen = messagesOf(socket);
  await service.post({ text: 'not for it', sessionId: other });
  await service.post({ text: 'for it', sessionId: mine });
  await until('its own comes', () => seen.length > 0);
  assert.deepEqual(seen.map(({ text }) => text), ['for it']);
});

test('a session of a verified user stays closed to a widget key', async (t) => {
  const sessionId = newSession();
  const token = await service.mint({ userId: 'user-1', role: 'visitor', sessionId });
  const own = await connect(t, service.url, { ...WAYS.websocket, query, auth: { token } });
  await ask(own, 'message', { text: 'it is me' });
  const stranger = await connect(t, service.url, { ...WAYS.websocket, ...visitor });
  const seen = messagesOf(stranger);
  assertProblem(await ask(stranger, 'message', { text: 'and me', sessionId }), 'FORBIDDEN');
  assertProblem(await ask(stranger, 'join:session', { sessionId }), 'FORBIDDEN');
  await ask(own, 'message', { text: 'still me' });
  const mine = await ask(stranger, 'message', { text: 'my own', sessionId: newSession() });
  await until('the stranger hears their own', () => seen.some(({ id }) => id === mine.messageId));
  assert.equal(seen.length, 1);
});
