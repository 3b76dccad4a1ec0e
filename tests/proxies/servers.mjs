//! The proxies, each started with its configuration from deploy/proxies, or from deploy/cluster before several nodes, in a
//! directory of its own. Ports, addresses, the paths of what it writes and the time-outs are changed; the rest is what
//! operators get.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { until } from '../interop/client.mjs';

/** The folders of the configurations, and the addresses of the service or of the nodes in them. */
const ALONE = { folder: new URL('../../deploy/proxies/', import.meta.url), addresses: ['127.0.0.1:4000'] };
const CLUSTER = {
  folder: new URL('../../deploy/cluster/', import.meta.url),
  addresses: ['10.0.0.11:4000', '10.0.0.12:4000', '10.0.0.13:4000'],
};

/** The proxies that have a configuration for several nodes. */
export const CLUSTER_PROXIES = ['nginx', 'haproxy'];

/** The time-outs of the configurations, and what they are in a test. */
const DEPLOYED_TIMEOUT = /\b60(?=s?;?$)/gm;
export const TIMEOUT_S = 3;

const APACHE_MODULES = '/usr/lib/apache2/modules';

const run = promisify(execFile);

const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

/** The header that every answer carries after a reload. */
const MARK = 'x-reloaded';

/** How each is run: its file, what a test changes in it, its command, and how it reads its file again, marked. */
const KINDS = {
  nginx: {
    file: 'nginx.conf',
    adapt: (text, { port, directory }) =>
      replace(text, ['listen 80;', `listen 127.0.0.1:${port};`], ['/run/nginx.pid', `${directory}/pid`], [
        'http {',
        `daemon off;\nhttp {\naccess_log off;\n${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
          .map((name) => `${name}_temp_path ${directory}/${name};`)
          .join('\n')}`,
      ]),
    command: ({ file, directory }) => ['nginx', '-p', directory, '-e', `${directory}/errors`, '-c', file],
    mark: (text) => replace(text, ['location / {', `location / {\nadd_header ${MARK} yes;`]),
    reload: ({ child }) => child.kill('SIGHUP'),
    stop: 'SIGTERM',
  },
  haproxy: {
    file: 'haproxy.cfg',
    adapt: (text, { port }) =>
      replace(
        text,
        ['bind :80', `bind 127.0.0.1:${port}`],
        [/^ +(user|group) haproxy\n/gm, ''],
        // The machine of the test may have fewer descriptors.
        ['maxconn 100000', 'maxconn 1000'],
      ),
    command: ({ file, directory }) => ['haproxy', '-W', '-db', '-f', file, '-p', `${directory}/pid`],
    mark: (text) => replace(text, ['frontend chat\n', `frontend chat\nhttp-response set-header ${MARK} yes\n`]),
    reload: ({ child }) => child.kill('SIGUSR2'),
    stop: 'SIGTERM',
  },
  caddy: {
    file: 'Caddyfile',
    adapt: (text, { port, control }) =>
      `{\n\tadmin 127.0.0.1:${control}\n}\n${replace(text, [/^chat\.example\.com/gm, `http://127.0.0.1:${port}`])}`,
    command: ({ file }) => ['caddy', 'run', '--config', file, '--adapter', 'caddyfile'],
    mark: (text) => replace(text, ['\treverse_proxy', `\theader ${MARK} yes\n\treverse_proxy`]),
    reload: ({ file, control, environment }) =>
      run('caddy', ['reload', '--config', file, '--adapter', 'caddyfile', '--address', `127.0.0.1:${control}`], {
        env: environment,
      }),
    stop: 'SIGTERM',
    isCutByReload: true,
    hasNoTimeout: true,
  },
  apache: {
    file: 'apache.conf',
    adapt: (text, { port, directory }) => {
      const modules = ['mpm_event', 'authz_core', 'headers', 'proxy', 'proxy_http'];
      return [
        ...modules.map((name) => `LoadModule ${name}_module ${APACHE_MODULES}/mod_${name}.so`),
        `ServerRoot ${directory}`,
        `DefaultRuntimeDir ${directory}`,
        `PidFile ${directory}/pid`,
        `Mutex file:${directory} default`,
        `ErrorLog ${directory}/errors`,
        `Listen 127.0.0.1:${port}`,
        process.getuid() === 0 ? 'User www-data\nGroup www-data' : '',
        replace(text, ['*:80', `127.0.0.1:${port}`]),
      ].join('\n');
    },
    command: ({ file }) => ['apache2', '-DFOREGROUND', '-f', file],
    mark: (text) => replace(text, ['ProxyPass', `Header set ${MARK} yes\nProxyPass`]),
    reload: ({ child }) => child.kill('SIGUSR1'),
    stop: 'SIGTERM',
    noticesWhoLeft: false,
  },
  varnish: {
    file: 'varnish.vcl',
    adapt: (text, { servicePort }) => replace(text, ['"4000"', `"${servicePort}"`]),
    command: ({ file, directory, port, timeoutS }) => [
      'varnishd', '-F', '-j', 'none', '-n', `${directory}/run`, '-a', `127.0.0.1:${port}`, '-f', file, '-s', 'malloc,32m',
      '-p', `pipe_timeout=${timeoutS}`,
    ],
    mark: (text) => `${text}\nsub vcl_deliver {\n    set resp.http.${MARK} = "yes";\n}\n`,
    async reload({ file, directory }) {
      const admin = (...words) => run('varnishadm', ['-n', `${directory}/run`, ...words]);
      await admin('vcl.load', 'again', file);
      await admin('vcl.use', 'again');
    },
    stop: 'SIGTERM',
    noticesWhoLeft: false,
  },
};

/** Replaces parts of a configuration; each has to be there. */
function replace(text, ...changes) {
  for (const [part, other] of changes) {
    const changed = text.replaceAll(part, () => other);
    assert.notEqual(changed, text, `no \`${part}\` in the configuration`);
    text = changed;
  }
  return text;
}

/** A proxy in front of a service, or of three nodes. */
export class ProxyServer {
  #kind;
  #place;
  #log = '';

  /** Starts one before a service, or before a list of three; `timeoutS` is what its time-outs are. */
  static async start(name, services, timeoutS = TIMEOUT_S) {
    const ports = [services].flat().map(({ port }) => port);
    const { folder, addresses } = ports.length === 1 ? ALONE : CLUSTER;
    assert.equal(ports.length, addresses.length);
    const kind = KINDS[name];
    assert.ok(kind, `there is no proxy ${name}: ${Object.keys(KINDS).join(', ')}`);
    // Not in memory: what varnish compiles has to be executable, which a mount of memory often forbids.
    const directory = await mkdtemp('/tmp/amoiq-proxies-');
    // Workers that run as `nobody` write below it.
    await chmod(directory, 0o755);
    const place = { directory, timeoutS, servicePort: ports[0], file: join(directory, kind.file) };
    // Below the ports that the system gives to clients.
    place.port = await freePort();
    place.control = await freePort();
    place.environment = { ...process.env, HOME: directory, XDG_DATA_HOME: directory, XDG_CONFIG_HOME: directory };
    let text = await readFile(new URL(kind.file, folder), 'utf8');
    addresses.forEach((address, index) => {
      text = text.replaceAll(address, `127.0.0.1:${ports[index]}`);
    });
    await writeFile(place.file, kind.adapt(text.replaceAll(DEPLOYED_TIMEOUT, timeoutS), place));
    const [program, ...words] = kind.command(place);
    place.child = spawn(program, words, { env: place.environment, stdio: ['ignore', 'pipe', 'pipe'] });
    const proxy = new ProxyServer(kind, place);
    await until(`${name} passes requests on`, async () => {
      assert.equal(place.child.exitCode, null, `${name} ended: ${await proxy.log()}`);
      return (await fetch(`${proxy.url}/healthz`).catch(() => null))?.status === 200;
    }).catch(async (error) => {
      await proxy.stop();
      throw error;
    });
    return proxy;
  }

  constructor(kind, place) {
    this.#kind = kind;
    this.#place = place;
    running.add(place.child);
    place.child.once('exit', () => running.delete(place.child));
    for (const pipe of [place.child.stdout, place.child.stderr]) {
      pipe.setEncoding('utf8').on('data', (chunk) => (this.#log += chunk));
    }
  }

  get url() {
    return `http://127.0.0.1:${this.#place.port}`;
  }

  /** Whether a reload ends existing connections. */
  get isCutByReload() {
    return Boolean(this.#kind.isCutByReload);
  }

  /** Whether it waits for an answer for ever. */
  get hasNoTimeout() {
    return Boolean(this.#kind.hasNoTimeout);
  }

  /** Whether it tells the service that a polling client left. */
  get noticesWhoLeft() {
    return this.#kind.noticesWhoLeft ?? true;
  }

  /** Lets it read its configuration again, and waits until it uses it. */
  async reload() {
    const { file } = this.#place;
    await writeFile(file, this.#kind.mark(await readFile(file, 'utf8')));
    await this.#kind.reload(this.#place);
    await until('it serves by what it read again', async () => {
      const answer = await fetch(`${this.url}/healthz`, { headers: { connection: 'close' } }).catch(() => null);
      return answer?.status === 200 && answer.headers.has(MARK);
    });
  }

  /** Its output. */
  async log() {
    const errors = await readFile(join(this.#place.directory, 'errors'), 'utf8').catch(() => '');
    return this.#log + errors;
  }

  /** Ends it, and removes everything that it wrote. */
  async stop() {
    const { child, directory } = this.#place;
    if (child.exitCode === null && child.signalCode === null) {
      const gone = once(child, 'exit');
      child.kill(this.#kind.stop);
      const killer = setTimeout(() => child.kill('SIGKILL'), 5_000);
      await gone;
      clearTimeout(killer);
    }
    await rm(directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  }
}

async function freePort() {
  for (;;) {
    const port = randomInt(15_000, 30_000);
    const server = net.createServer();
    const isFree = await new Promise((resolve) => {
      server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true));
    });
    if (isFree) {
      server.close();
      await once(server, 'close');
      return port;
    }
  }
}
