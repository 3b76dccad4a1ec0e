//! The real program on a data directory of its own, which can be stopped, killed and started again on
//! the same port.
//!
//! Whoever starts a service closes it. Closing fails if the program has ended by itself, or has written an
//! error or a panic to its log: no test may cause one, whatever else it looks at.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { randomInt, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const WIDGET = 'wk_demo_0000000000000000';
export const SECRET = 'sk_demo_0000000000000000';
export const BOT = 'bk_demo_0000000000000000';

/** The limits of requests and messages as they are shipped; without this setting there are none. */
export const AS_SHIPPED = { 'rate_limit.http_per_minute': 100, 'rate_limit.socket_per_second': 10 };

const BASICS = {
  'operator.bind': '127.0.0.1:0',
  // Connections of a client meet more than one worker, however many cores there are.
  'server.workers': 2,
  'rate_limit.http_per_minute': 0,
  'rate_limit.secret_key_per_minute': 0,
  'rate_limit.socket_per_second': 0,
  'log.format': 'json',
};

/**
 * Where the log is: in a log of its own in the database that AMOIQ_TEST_POSTGRES or AMOIQ_TEST_KURRENTDB names, else in the
 * data directory.
 */
function logSettings() {
  const { AMOIQ_TEST_POSTGRES: postgres, AMOIQ_TEST_KURRENTDB: kurrentdb } = process.env;
  const schema = `interop_${randomUUID().replaceAll('-', '')}`;
  if (postgres) return { 'store.backend': 'postgres', 'store.url': postgres, 'store.schema': schema };
  if (kurrentdb) return { 'store.backend': 'kurrentdb', 'store.url': kurrentdb, 'store.schema': schema };
  return {};
}

const START_MS = 20_000;
const STOP_MS = 10_000;

/** How often a free port is looked for. */
const PORTS = 50;

const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

export class Service {
  #child;
  #directory;
  #environment;
  #arguments = [];
  #agent;
  #log = '';
  /** Errors in its log that a test causes. */
  #expected = null;
  port;

  /** Starts one. `settings` are keys of config.toml, `tenants` is TOML for its end. */
  static async start({ settings = {}, tenants = '' } = {}) {
    const service = new Service();
    service.#directory = await mkdtemp(join(tmpdir(), 'amoiq-interop-'));
    const all = { ...BASICS, ...logSettings(), ...settings, 'store.path': join(service.#directory, 'data') };
    service.#environment = Object.fromEntries(
      Object.entries(all).map(([key, value]) => [variable(key), String(value)]),
    );
    if (tenants) {
      const config = join(service.#directory, 'amoiq.toml');
      await writeFile(config, tenants);
      service.#arguments = ['--config', config];
    }
    for (let attempt = 1; ; attempt += 1) {
      // Below the ports that the system gives to clients: nobody takes it while the service is down.
      service.port = randomInt(15_000, 30_000);
      try {
        await service.restart();
        return service;
      } catch (error) {
        if (attempt === PORTS || !/in use/.test(error.message)) throw error;
      }
    }
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Starts it again, on the same port and data. */
  async restart() {
    const bind = { [variable('server.bind')]: `127.0.0.1:${this.port}` };
    // A write over the limit on the size of files is an error then, as on a full disk, and not a signal.
    const child = spawn('env', ['--ignore-signal=XFSZ', program(), ...this.#arguments], {
      env: { ...process.env, ...this.#environment, ...bind },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    running.add(child);
    child.once('exit', () => running.delete(child));
    let said = '';
    const patience = AbortSignal.timeout(START_MS);
    await new Promise((resolve, reject) => {
      const hear = (chunk) => {
        said += chunk;
        this.#log += chunk;
        if (said.includes('listens on')) resolve();
      };
      child.stdout.setEncoding('utf8').on('data', hear);
      child.stderr.setEncoding('utf8').on('data', hear);
      child.once('error', reject);
      child.once('close', () => reject(new Error(`the service did not start: ${said}`)));
      patience.onabort = () => reject(new Error(`the service takes too long to start: ${said}`));
    }).catch((error) => {
      child.kill('SIGKILL');
      throw error;
    });
    this.#child = child;
    this.#agent = new http.Agent({ keepAlive: true, maxSockets: 32 });
  }

  /** Keeps files from growing and changing, or allows it again. */
  limitWrites(isLimited) {
    this.#expected = /the store does not take writes|disk is full|disk I\/O error/;
    execFileSync('prlimit', ['--pid', `${this.#child.pid}`, `--fsize=${isLimited ? '0' : 'unlimited'}:unlimited`]);
  }

  /** Stops it without ending it, or lets it go on. */
  freeze(isFrozen) {
    this.#child.kill(isFrozen ? 'SIGSTOP' : 'SIGCONT');
  }

  /** Ends it with a signal and waits; SIGTERM has to be a clean end. */
  async end(signal) {
    const child = this.#child;
    this.#agent.destroy();
    const gone = once(child, 'exit', { signal: AbortSignal.timeout(STOP_MS) });
    child.kill(signal);
    const [code] = await gone;
    if (signal === 'SIGTERM') assert.equal(code, 0, `the service ended with ${code}: ${this.#log}`);
  }

  /** Ends it for good, after a check of its log. */
  async close() {
    const child = this.#child;
    const ended = child.exitCode !== null || child.signalCode !== null;
    if (!ended) await this.end('SIGKILL');
    await rm(this.#directory, { recursive: true, force: true });
    assert.ok(!ended, `the service is gone: ${this.#log}`);
    const lines = this.#log.split('\n').filter((line) => /"level":"ERROR"|panicked at/.test(line));
    const bad = lines.filter((line) => !this.#expected?.test(line) || line.includes('panicked at'));
    assert.deepEqual(bad, [], 'the service wrote errors to its log');
  }

  /** A request over HTTP: its status, headers and JSON. */
  async request(method, path, { key, headers = {}, body, agent = this.#agent } = {}) {
    const json = body === undefined ? undefined : JSON.stringify(body);
    const all = { ...headers };
    if (key) all.authorization = `Bearer ${key}`;
    if (json !== undefined) all['content-type'] = 'application/json';
    const answer = await new Promise((resolve, reject) => {
      const options = { agent, method, headers: all, timeout: STOP_MS };
      const request = http.request(new URL(path, this.url), options, resolve);
      request.on('error', reject);
      request.on('timeout', () => request.destroy(new Error(`no answer to ${method} ${path}`)));
      request.end(json);
    });
    let text = '';
    for await (const chunk of answer.setEncoding('utf8')) text += chunk;
    const isJson = answer.headers['content-type']?.startsWith('application/json');
    return { status: answer.statusCode, headers: answer.headers, json: isJson ? JSON.parse(text) : null };
  }

  async #expect(method, path, options) {
    const { status, json } = await this.request(method, path, options);
    assert.equal(status, 200, `${method} ${path}: ${JSON.stringify(json)}`);
    return json;
  }

  /** Posts a message, as the secret key unless another is named. */
  post(body, key = SECRET) {
    return this.#expect('POST', '/webchat/message', { key, body });
  }

  /** A token of `/api/chat/token`. */
  async mint(claims) {
    const body = { tenantId: 'demo', ...claims };
    return (await this.#expect('POST', '/api/chat/token', { key: SECRET, body })).token;
  }

  /** An anonymous token and its session. */
  anonymous(sessionId) {
    const body = { tenantId: 'demo', sessionId };
    return this.#expect('POST', '/api/chat/anonymous-token', { key: WIDGET, body });
  }

  /** The messages of a session, all of them. */
  async history(sessionId, key = SECRET) {
    const messages = [];
    for (let after = 0, more = true; more; after = messages.at(-1)?.seq) {
      const query = new URLSearchParams({ tenantId: 'demo', sessionId, limit: '500', after: `${after}` });
      const page = await this.#expect('GET', `/api/chat/messages?${query}`, { key });
      messages.push(...page.messages);
      more = page.hasMore;
    }
    return messages;
  }

  /** Who is online. */
  async online() {
    return this.#expect('GET', '/api/chat/online-users?tenantId=demo', { key: SECRET });
  }
}

function program() {
  assert.ok(process.env.AMOIQ_PROGRAM, 'AMOIQ_PROGRAM names the program: start tests/interop/run');
  return process.env.AMOIQ_PROGRAM;
}

function variable(key) {
  return `AMOIQ__${key.replace('.', '__').toUpperCase()}`;
}
