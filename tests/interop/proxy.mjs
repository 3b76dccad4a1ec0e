//! A TCP proxy that can break a client's connections, keep it away, and let it back in.
//!
//! It does not interpret what passes, except for one look at the start of a connection: websockets can
//! be held back.

import { once } from 'node:events';
import net from 'node:net';

export class Proxy {
  #server;
  #target;
  #pairs = new Set();
  #abandoned = new Set();
  #isOpen = true;
  #held = null;

  /** A proxy in front of a service; it ends with the test. */
  static async before(t, service) {
    const proxy = new Proxy();
    proxy.#target = service;
    proxy.#server = net.createServer((client) => proxy.#accept(client));
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    t.after(() => {
      proxy.cut();
      proxy.forget();
      proxy.#server.close();
    });
    return proxy;
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  /** Breaks every connection and lets no new one through. */
  cut() {
    this.#isOpen = false;
    for (const { client, upstream } of this.#pairs) {
      client.destroy();
      upstream.destroy();
    }
  }

  /** Breaks every connection for the clients; to the service they look alive until `forget`. */
  cutUnnoticed() {
    this.#isOpen = false;
    for (const { client, upstream } of this.#pairs) {
      this.#abandoned.add(upstream);
      client.destroy();
    }
  }

  /** Lets the service notice the broken connections. */
  forget() {
    for (const upstream of this.#abandoned) upstream.destroy();
    this.#abandoned.clear();
  }

  /** Lets clients in again. */
  open() {
    this.#isOpen = true;
  }

  /** Holds websockets back until `release`. */
  hold() {
    this.#held = Promise.withResolvers ? Promise.withResolvers() : withResolvers();
  }

  release() {
    this.#held?.resolve();
    this.#held = null;
  }

  #accept(client) {
    client.on('error', () => {});
    if (!this.#isOpen) return client.destroy();
    client.once('data', async (first) => {
      client.pause();
      if (this.#held && first.includes('transport=websocket')) await this.#held.promise;
      if (!this.#isOpen) return client.destroy();
      const upstream = net.connect(this.#target.port, '127.0.0.1');
      const pair = { client, upstream };
      this.#pairs.add(pair);
      upstream.on('error', () => client.destroy());
      upstream.on('close', () => {
        client.end();
        this.#pairs.delete(pair);
      });
      client.on('close', () => {
        if (!this.#abandoned.has(upstream)) upstream.destroy();
      });
      upstream.write(first);
      client.pipe(upstream).pipe(client);
    });
  }
}

function withResolvers() {
  const held = {};
  held.promise = new Promise((resolve) => (held.resolve = resolve));
  return held;
}
