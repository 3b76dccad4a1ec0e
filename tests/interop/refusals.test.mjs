//! A client that may not connect gets the reason: the code is `err.message`, the whole problem is `err.data`.

import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';

import { WAYS, assertProblem, ask, connect, refused } from './client.mjs';
import { Service } from './service.mjs';

const KEYS = {
  widget: 'wk_acme_0123456789abcdef',
  secret: 'sk_acme_0123456789abcdef',
  bot: 'bk_acme_0123456789abcdef',
  every: 'wk_gateway_0123456789abcdef',
  other: 'wk_other_0123456789abcdef',
};

const service = await Service.start({
  tenants: `
    [[tenants]]
    id = "acme"
    origins = ["https://*.acme.example", "https://acme.example"]
    widget_keys = ["${KEYS.widget}"]
    secret_keys = ["${KEYS.secret}"]
    bot_keys = ["${KEYS.bot}"]

    [[tenants]]
    id = "other"
    widget_keys = ["${KEYS.other}"]

    [[tenants]]
    id = "*"
    widget_keys = ["${KEYS.every}"]
  `,
});
after(() => service.close());

const acme = { tenantId: 'acme' };

async function mint(claims) {
  const body = { ...acme, userId: 'ann', ...claims };
  const { status, json } = await service.request('POST', '/api/chat/token', { key: KEYS.secret, body });
  assert.equal(status, 200, JSON.stringify(json));
  return json.token;
}

/** The token with another claim, under the old signature. */
function forge(token, claim) {
  const [head, body, seal] = token.split('.');
  const claims = { ...JSON.parse(Buffer.from(body, 'base64url')), ...claim };
  return [head, Buffer.from(JSON.stringify(claims)).toString('base64url'), seal].join('.');
}

const token = await mint({ role: 'visitor' });
const unsigned = Buffer.from('{"alg":"none","typ":"JWT"}').toString('base64url');

/** What is refused, and with which code. */
const REFUSED = {
  'an unknown key': ['INVALID_API_KEY', { query: acme, auth: { token: 'wk_acme_unknown_00000000' } }],
  'a key that is no key': ['INVALID_API_KEY', { query: acme, auth: { token: 'hello' } }],
  'a client without a credential': ['INVALID_API_KEY', { query: acme }],
  'a token that is none': ['INVALID_JWT_TOKEN', { query: acme, auth: { token: 'eyJh.eyJh.eyJh' } }],
  'a token of somebody else\'s making': [
    'INVALID_JWT_TOKEN',
    { query: acme, auth: { token: forge(token, { role: 'admin' }) } },
  ],
  'a token without a signature': [
    'INVALID_JWT_TOKEN',
    { query: acme, auth: { token: `${unsigned}.${token.split('.')[1]}.` } },
  ],
  'a widget key as an admin in auth': [
    'FORBIDDEN',
    { query: acme, auth: { token: KEYS.widget, role: 'admin' } },
  ],
  'a widget key as an admin in the query': [
    'FORBIDDEN',
    { query: { ...acme, role: 'admin' }, auth: { token: KEYS.widget } },
  ],
  'a visitor\'s token as an admin': ['FORBIDDEN', { query: { ...acme, role: 'admin' }, auth: { token } }],
  'a bot key as an admin': ['FORBIDDEN', { query: acme, auth: { token: KEYS.bot, role: 'admin' } }],
  'a key of another tenant': ['FORBIDDEN', { query: acme, auth: { token: KEYS.other } }],
  'a tenant that there is not': ['FORBIDDEN', { query: { tenantId: 'nobody' }, auth: { token: KEYS.widget } }],
  'a secret key in the query': ['FORBIDDEN', { query: { ...acme, token: KEYS.secret } }],
  'a bot key in the query': ['FORBIDDEN', { query: { ...acme, token: KEYS.bot } }],
  'a site that the tenant did not name': [
    'ORIGIN_NOT_ALLOWED',
    { query: acme, auth: { token: KEYS.widget }, extraHeaders: { Origin: 'https://evil.example' } },
  ],
  'a site that a client names itself': [
    'ORIGIN_NOT_ALLOWED',
    { query: acme, auth: { token: KEYS.widget, origin: 'https://evil.example' } },
  ],
  'a gateway key without a tenant': ['MISSING_TENANT_ID', { auth: { token: KEYS.every } }],
  'a client whose tenants disagree': [
    'VALIDATION_FAILED',
    { query: acme, auth: { token: KEYS.every, tenantId: 'other' } },
  ],
};

for (const [way, transports] of Object.entries(WAYS)) {
  describe(`over ${way}`, { concurrency: true }, () => {
    for (const [who, [code, options]] of Object.entries(REFUSED)) {
      test(`${who} is refused with ${code}, over ${way}`, async (t) => {
        const error = await refused(t, service.url, { ...transports, ...options });
        assert.equal(error.message, code);
        assertProblem(error.data, code);
      });
    }

    test(`a site that the tenant lists is let in, over ${way}`, async (t) => {
      const auth = { token: KEYS.widget };
      for (const Origin of ['https://acme.example', 'https://www.acme.example']) {
        await connect(t, service.url, { ...transports, query: acme, auth, extraHeaders: { Origin } });
      }
    });

    test(`a gateway key is in the tenant that it names, over ${way}`, async (t) => {
      const socket = await connect(t, service.url, { ...transports, query: acme, auth: { token: KEYS.every } });
      const { sessionId } = await ask(socket, 'message', { text: 'Hello' });
      const path = `/api/chat/messages?tenantId=acme&sessionId=${sessionId}`;
      const { status, json } = await service.request('GET', path, { key: KEYS.secret });
      assert.deepEqual([status, json.messages?.length], [200, 1]);
    });
  });
}

test('an agent whose token expires gets an error, and may not reconnect with it', async (t) => {
  const auth = { token: await mint({ role: 'agent', ttlSeconds: 2 }) };
  const socket = await connect(t, service.url, { ...WAYS.websocket, query: acme, auth, reconnection: true });
  const ends = await new Promise((resolve) => {
    const seen = [];
    socket.on('error', (problem) => seen.push(problem));
    socket.once('disconnect', () => seen.push('closed'));
    socket.once('connect_error', (error) => resolve([...seen, error]));
  });
  assertProblem(ends[0], 'INVALID_JWT_TOKEN');
  assert.equal(ends[1], 'closed');
  assert.equal(ends[2].message, 'INVALID_JWT_TOKEN');
  assertProblem(ends[2].data, 'INVALID_JWT_TOKEN');
  assert.equal(socket.active, false, 'a refusal is final for the client');
});
