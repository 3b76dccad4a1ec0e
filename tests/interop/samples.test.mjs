//! The samples of docs/API.md and docs/WEBHOOKS.md, run as they are: a connection that breaks and a token that
//! does not come end none of them.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';

import { until } from './client.mjs';
import { Service, WIDGET } from './service.mjs';

const modules = process.env.AMOIQ_INTEROP_MODULES;
const service = await Service.start();
after(() => service.close());

/** The code block of a document that contains something. */
async function sample(document, part) {
  const text = await readFile(new URL(`../../docs/${document}`, import.meta.url), 'utf8');
  const blocks = [...text.matchAll(/^```js\n(.*?)^```/gms)].map(([, code]) => code);
  const found = blocks.filter((code) => code.includes(part));
  assert.equal(found.length, 1, `one block of ${document} has ${part}`);
  return found[0];
}

/** A program of Node: its output, and whether it still runs. */
async function run(t, code) {
  const directory = await mkdtemp(join(tmpdir(), 'amoiq-sample-'));
  await symlink(join(dirname(modules), 'node_modules'), join(directory, 'node_modules'));
  await writeFile(join(directory, 'sample.mjs'), code);
  const child = spawn(process.execPath, ['sample.mjs'], { cwd: directory });
  const program = { said: '', ended: null };
  child.stdout.setEncoding('utf8').on('data', (chunk) => (program.said += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk) => (program.said += chunk));
  child.once('exit', (code) => (program.ended = code));
  t.after(async () => {
    child.kill('SIGKILL');
    await rm(directory, { recursive: true, force: true });
  });
  program.says = (words) =>
    until(`it says ${words}`, () => {
      assert.equal(program.ended, null, `it ended: ${program.said}`);
      return program.said.includes(words);
    });
  return program;
}

/** A proxy whose first connection breaks when the client has sent something after it was let in. */
async function breakingWay(t) {
  let isWhole = false;
  const server = net.createServer((client) => {
    const upstream = net.connect(service.port, '127.0.0.1');
    let isIn = false;
    upstream.on('data', (bytes) => {
      isIn ||= bytes.includes('40{');
      client.write(bytes);
    });
    client.on('data', (bytes) => {
      if (isIn && !isWhole) {
        isWhole = true;
        client.destroy();
        upstream.destroy();
      } else {
        upstream.write(bytes);
      }
    });
    for (const [one, other] of [[client, upstream], [upstream, client]]) {
      one.on('error', () => {}).on('close', () => other.destroy());
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  return `http://127.0.0.1:${server.address().port}`;
}

test('the sample of a visitor sends unanswered messages again, and continues over a restart', async (t) => {
  const code = await sample('API.md', 'from "socket.io-client"');
  const program = await run(t, code.replace('http://127.0.0.1:4000', await breakingWay(t)));
  await program.says('socket has been disconnected');
  await program.says('success: true');
  assert.equal((await service.history('session-shop-7d1f6a02c4')).length, 1, 'one message of all tries');
  await service.end('SIGKILL');
  await program.says('(comes back)');
  await service.restart();
  await service.post({ text: 'We do.', sessionId: 'session-shop-7d1f6a02c4' });
  await program.says('agent We do.');
});

test('the sample of expiring tokens continues when there is no token for a while', async (t) => {
  const auth = await sample('API.md', 'freshToken');
  const program = await run(t, `
    import { io } from "socket.io-client";
    let tries = 0;
    const freshToken = async () => {
      if ((tries += 1) < 3) throw new Error('no token now');
      return '${WIDGET}';
    };
    const visitor = io('${service.url}', { transports: ['websocket'], reconnectionDelay: 20, ${auth} });
    visitor.on('connect', () => console.log('in after', tries));
  `);
  await program.says('in after 3');
});

test('the sample of a receiver verifies with the headers of Node and with those of Fetch', async () => {
  const code = await sample('WEBHOOKS.md', 'new Webhook(');
  const { Webhook } = createRequire(modules)('standardwebhooks');
  const secret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;
  const [body, id, now] = ['{"event":"message.created"}', 'some-id', new Date()];
  const all = {
    'webhook-id': id,
    'webhook-timestamp': `${Math.floor(now.getTime() / 1000)}`,
    'webhook-signature': new Webhook(secret).sign(id, now, body),
  };
  const [, forNode] = code.match(/^const headers = ([^;]+);/m);
  const [, forFetch] = code.match(/\/\/ .*const headers = ([^;]+);/);
  for (const [expression, headers] of [[forNode, all], [forFetch, new Headers(all)]]) {
    const converted = new Function('request', `return ${expression}`)({ headers });
    assert.deepEqual(new Webhook(secret).verify(body, converted), JSON.parse(body));
  }
});
