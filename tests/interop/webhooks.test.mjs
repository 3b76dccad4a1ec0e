//! Deliveries as the published library for Node verifies them, and the receivers that are documented.

import assert from 'node:assert/strict';
import { copyFile, mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { WAYS, ask, connect, newSession, until } from './client.mjs';
import { LOCAL, Receiver, endpoint, freePort, program } from './receiver.mjs';
import { SECRET, Service, WIDGET } from './service.mjs';

const { Webhook } = createRequire(process.env.AMOIQ_INTEROP_MODULES)('standardwebhooks');
const EXAMPLES = fileURLToPath(new URL('../../examples/webhook-receiver/', import.meta.url));

const service = await Service.start({ settings: LOCAL });
after(() => service.close());

/** Writes as an agent, and returns what the receiver got of it. */
async function deliver(receiver, text = 'Hello') {
  const sessionId = newSession();
  await service.post({ sessionId, text });
  await until('it is delivered', () => receiver.of(sessionId).length > 0);
  return receiver.of(sessionId)[0];
}

test('the published vector has the published signature', () => {
  const webhook = new Webhook('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw');
  const time = new Date(1614265330 * 1000);
  assert.equal(
    webhook.sign('msg_p5jXN8AQM9LWM0D4loKWxJek', time, '{"test": 2432232314}'),
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
  );
});

test('a visitor\'s and an agent\'s message verify and match the reference', async (t) => {
  const receiver = await Receiver.start(t);
  const webhook = new Webhook((await endpoint(t, service, receiver.url)).secret);
  const sessionId = newSession();
  const visitor = { ...WAYS.websocket, query: { tenantId: 'demo' }, auth: { token: WIDGET } };
  const socket = await connect(t, service.url, visitor);
  await ask(socket, 'message', { text: 'Hello ✓ "you"', sessionId });
  await service.post({ sessionId, text: 'How can I help?' });
  await until('both are delivered', () => receiver.of(sessionId).length === 2);
  const history = await service.history(sessionId);
  assert.deepEqual(history.map(({ sender }) => sender), ['user', 'agent']);
  receiver.of(sessionId).forEach(({ headers, body }, place) => {
    const { id, timestamp, userId, text, sender } = history[place];
    const expected = {
      event: 'message.created',
      timestamp,
      data: { messageId: id, sessionId, userId, tenantId: 'demo', text, senderType: sender },
    };
    assert.equal(body, JSON.stringify(expected));
    assert.deepEqual(webhook.verify(body, headers), expected);
  });
  const ids = receiver.of(sessionId).map(({ headers }) => headers['webhook-id']);
  assert.notEqual(ids[0], ids[1]);
});

test('an altered, an old and another endpoint\'s delivery are refused', async (t) => {
  const receiver = await Receiver.start(t);
  const other = await endpoint(t, service, (await Receiver.start(t)).url);
  const webhook = new Webhook((await endpoint(t, service, receiver.url)).secret);
  const { headers, body } = await deliver(receiver);
  webhook.verify(body, headers);
  const seconds = Number(headers['webhook-timestamp']);
  assert.ok(Math.abs(Date.now() / 1000 - seconds) < 60, 'it is the time of the attempt');
  assert.throws(() => webhook.verify(body.replace('Hello', 'Jello'), headers), /No matching signature/);
  assert.throws(() => webhook.verify(`${body} `, headers), /No matching signature/);
  const named = { ...headers, 'webhook-id': `${headers['webhook-id']}0` };
  assert.throws(() => webhook.verify(body, named), /No matching signature/);
  const later = { ...headers, 'webhook-timestamp': `${seconds + 1}` };
  assert.throws(() => webhook.verify(body, later), /No matching signature/);
  const old = { ...headers, 'webhook-timestamp': `${seconds - 600}` };
  assert.throws(() => webhook.verify(body, old), /too old/);
  assert.throws(() => new Webhook(other.secret).verify(body, headers), /No matching signature/);
});

test('while a secret is replaced both verify', async (t) => {
  const receiver = await Receiver.start(t);
  const { id, secret } = await endpoint(t, service, receiver.url);
  const rotated = await service.request('POST', `/api/webhooks/${id}/rotate-secret`, { key: SECRET });
  assert.equal(rotated.status, 200, JSON.stringify(rotated.json));
  assert.notEqual(rotated.json.secret, secret);
  const { headers, body } = await deliver(receiver);
  assert.equal(headers['webhook-signature'].split(' ').length, 2);
  for (const each of [secret, rotated.json.secret]) new Webhook(each).verify(body, headers);
});

test('a test is verified like a message', async (t) => {
  const receiver = await Receiver.start(t);
  const { id, secret } = await endpoint(t, service, receiver.url);
  const tried = await service.request('POST', `/api/webhooks/${id}/test`, { key: SECRET });
  assert.equal(tried.status, 200, JSON.stringify(tried.json));
  const [{ headers, body }] = receiver.deliveries;
  assert.equal(new Webhook(secret).verify(body, headers).event, 'webhook.test');
});

/** Delivers to a documented receiver, which accepts that and nothing from a stranger. */
async function isTaken(t, command, directory, file) {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}/hook`;
  const { id, secret } = await endpoint(t, service, url);
  const environment = { WEBHOOK_SECRET: secret, PORT: `${port}` };
  const said = await program(t, command, join(directory, file), environment, directory);
  const sessionId = newSession();
  for (const text of ['Hello ✓', 'Are you there?']) await service.post({ sessionId, text });
  const lines = () => said.text.split('\n').filter((line) => line.includes(sessionId));
  await until('it has taken both', () => lines().length === 2);
  const taken = lines().map((line) => line.slice(line.indexOf(sessionId)));
  assert.deepEqual(taken, [`${sessionId} agent: Hello ✓`, `${sessionId} agent: Are you there?`]);
  const stranger = await fetch(url, { method: 'POST', body: '{}' });
  assert.equal(stranger.status, 400, 'what is not signed is refused');
  await until('it is noted', async () => {
    const answer = await service.request('GET', `/api/webhooks/${id}/deliveries`, { key: SECRET });
    const { deliveries } = answer.json;
    return deliveries.length === 2 && deliveries.every(({ status }) => status === 'delivered');
  });
}

test('the documented receiver for Node accepts deliveries', async (t) => {
  const modules = dirname(process.env.AMOIQ_INTEROP_MODULES);
  const wanted = async (file) => JSON.parse(await readFile(file)).dependencies.standardwebhooks;
  assert.equal(await wanted(join(EXAMPLES, 'package.json')), await wanted('package.json'));
  const directory = await mkdtemp(join(tmpdir(), 'amoiq-receiver-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  await copyFile(join(EXAMPLES, 'receiver.mjs'), join(directory, 'receiver.mjs'));
  await symlink(join(modules, 'node_modules'), join(directory, 'node_modules'));
  await isTaken(t, process.execPath, directory, 'receiver.mjs');
});

test('the documented receiver for Python accepts deliveries', async (t) => {
  const wanted = async (file) => /^standardwebhooks==.*$/m.exec(await readFile(file, 'utf8'))?.[0];
  const named = await wanted(join(EXAMPLES, 'requirements.txt'));
  assert.ok(named);
  assert.equal(named, await wanted('requirements.txt'));
  await isTaken(t, 'python3', EXAMPLES, 'receiver.py');
});
