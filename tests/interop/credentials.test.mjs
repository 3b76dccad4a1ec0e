//! Every way to carry a credential lets a client in, over every transport.

import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';

import { WAYS, ask, connect, heard, newSession, refused } from './client.mjs';
import { BOT, SECRET, Service, WIDGET } from './service.mjs';

const service = await Service.start();
after(() => service.close());

const query = { tenantId: 'demo' };

/** How a client can carry a credential. */
const PLACES = {
  'auth.token': (key) => ({ auth: { token: key }, query }),
  'auth.apiKey': (key) => ({ auth: { apiKey: key }, query }),
  'the query': (key) => ({ query: { ...query, token: key } }),
  'the Authorization header': (key) => ({ query, extraHeaders: { Authorization: `Bearer ${key}` } }),
};

for (const [way, transports] of Object.entries(WAYS)) {
  describe(`over ${way}`, { concurrency: true }, () => {
    for (const [place, carry] of Object.entries(PLACES)) {
      test(`a widget key in ${place} lets a visitor in, over ${way}`, async (t) => {
        const socket = await connect(t, service.url, { ...transports, ...carry(WIDGET) });
        const sessionId = newSession();
        const answer = await ask(socket, 'message', { text: 'Hello', sessionId });
        assert.equal(answer.success, true, JSON.stringify(answer));
        assert.equal((await service.history(sessionId))[0].sender, 'user');
      });

      test(`an anonymous token in ${place} lets a visitor into its session, over ${way}`, async (t) => {
        const { token, sessionId } = await service.anonymous();
        const socket = await connect(t, service.url, { ...transports, ...carry(token) });
        const answer = await ask(socket, 'message', { text: 'Hello' });
        assert.equal(answer.sessionId, sessionId, JSON.stringify(answer));
      });
    }

    for (const place of ['auth.token', 'auth.apiKey', 'the Authorization header']) {
      test(`a secret key in ${place} is an operator, over ${way}`, async (t) => {
        const socket = await connect(t, service.url, { ...transports, ...PLACES[place](SECRET) });
        const answer = await ask(socket, 'get_online_users', { tenantId: 'demo' });
        assert.ok(Array.isArray(answer.users), JSON.stringify(answer));
      });
    }

    test(`the connection that the reference shows is an admin's, over ${way}`, async (t) => {
      const socket = await connect(t, service.url, {
        ...transports,
        query: { tenantId: 'demo', role: 'admin' },
        auth: { token: SECRET, role: 'admin' },
      });
      const lists = heard(socket, 'online_users_list');
      const answer = await ask(socket, 'get_online_users', { tenantId: 'demo' });
      assert.deepEqual(lists, [answer], 'the list comes as an event, before the acknowledgement');
    });

    test(`a bot key writes as a bot, over ${way}`, async (t) => {
      const sessionId = newSession();
      await service.post({ text: 'Hello', sessionId }, WIDGET);
      const socket = await connect(t, service.url, { ...transports, ...PLACES['auth.token'](BOT) });
      const answer = await ask(socket, 'message', { text: 'I am a bot', sessionId });
      assert.equal(answer.success, true, JSON.stringify(answer));
      assert.equal((await service.history(sessionId))[1].sender, 'bot');
    });

    test(`the first credential counts and the others are ignored, over ${way}`, async (t) => {
      const rest = {
        ...transports,
        query: { ...query, token: 'wk_query_unknown_0000' },
        extraHeaders: { Authorization: 'Bearer wk_header_unknown_0000' },
      };
      const auth = { token: WIDGET, apiKey: 'wk_other_unknown_0000' };
      await connect(t, service.url, { ...rest, auth });
      const unknown = { token: 'wk_unknown_00000000', apiKey: WIDGET };
      const error = await refused(t, service.url, { ...rest, auth: unknown });
      assert.equal(error.message, 'INVALID_API_KEY');
    });
  });
}

test('the reference\'s order of transports carries a visitor over a websocket', async (t) => {
  const socket = await connect(t, service.url, {
    transports: ['websocket', 'polling'],
    query,
    auth: { token: WIDGET },
  });
  assert.equal(socket.io.engine.transport.name, 'websocket');
  assert.equal((await ask(socket, 'message', { text: 'Hello' })).success, true);
});

test('a client without a tenant is in its key\'s own', async (t) => {
  const socket = await connect(t, service.url, { ...WAYS.websocket, auth: { token: WIDGET } });
  const { sessionId } = await ask(socket, 'message', { text: 'Hello' });
  assert.equal((await service.history(sessionId)).length, 1);
});
