//! A client that asked for it and loses its connection gets exactly what it missed.

import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import { WAYS, connect, messagesOf, newSession, range, until } from './client.mjs';
import { Proxy } from './proxy.mjs';
import { KINDS, Listener } from './recovering.mjs';
import { Service, WIDGET } from './service.mjs';

const WINDOW_MS = 2_000;

/** Longer than that. */
const OVER_MS = 2_500;

const service = await Service.start();
const hasty = await Service.start({ settings: { 'realtime.recovery_seconds': WINDOW_MS / 1_000 } });
after(() => Promise.all([service.close(), hasty.close()]));

async function given(t, kind, on = service, transports = WAYS.websocket) {
  const proxy = await Proxy.before(t, on);
  return Listener.of(t, kind, { service: on, proxy, transports });
}

for (const kind of Object.keys(KINDS)) {
  // Without recovery it receives its session only when it writes again.
  const bySelf = kind === 'a visitor bound by the first message';

  describe(kind, { concurrency: true }, () => {
    for (const [way, transports] of Object.entries(WAYS)) {
      test(`${kind} gets exactly what was missed, over ${way}`, async (t) => {
        const listener = await given(t, kind, service, transports);
        assert.equal(listener.socket.recovered, false, 'nothing is recovered at first');
        await listener.hear('one');
        const id = listener.socket.id;
        await listener.away(async () => {
          await listener.tell('two');
          await listener.tell('three');
        });
        assert.equal(listener.socket.recovered, true);
        assert.notEqual(listener.socket.id, id);
        await listener.hear('four');
        await listener.assertWhole();
      });

      test(`${kind} gets each message of a flow once through many drops, over ${way}`, async (t) => {
        const listener = await given(t, kind, service, transports);
        await listener.hear('begin');
        let flows = true;
        const flow = (async () => {
          for (let number = 1; flows; number += 1) await listener.tell(`${number}`);
        })();
        for (const drop of range(1, 5)) {
          const before = listener.messages.length;
          await until(`the flow goes on after drop ${drop - 1}`, () => listener.messages.length >= before + 5);
          await listener.away();
          assert.equal(listener.socket.recovered, true, `drop ${drop}`);
        }
        flows = false;
        await flow;
        await listener.assertWhole();
      });
    }

    test(`${kind} gets what was missed before its first event`, async (t) => {
      const listener = await given(t, kind);
      await listener.away(() => listener.tell('one'));
      assert.equal(listener.socket.recovered, true);
      await listener.assertWhole();
    });

    test(`${kind} recovers again and again with nothing between`, async (t) => {
      const listener = await given(t, kind);
      await listener.away();
      for (const number of range(1, 3)) {
        await listener.away(() => listener.tell(`${number}`));
        assert.equal(listener.socket.recovered, true, `drop ${number}`);
        await listener.away();
        assert.equal(listener.socket.recovered, true, `a drop with nothing missed after ${number}`);
      }
      await listener.assertWhole();
    });

    test(`${kind} recovers after a time without events that is longer than the window`, async (t) => {
      const listener = await given(t, kind, hasty);
      await listener.hear('one');
      await pause(OVER_MS);
      await listener.away(() => listener.tell('two'));
      assert.equal(listener.socket.recovered, true);
      await pause(OVER_MS);
      await listener.away(() => listener.tell('three'));
      assert.equal(listener.socket.recovered, true);
      await listener.assertWhole();
    });

    test(`${kind} recovers when the service noticed the first drop only after the return`, async (t) => {
      const listener = await given(t, kind, hasty);
      await listener.hear('one');
      await listener.away(() => listener.tell('two'), () => listener.proxy.cutUnnoticed());
      assert.equal(listener.socket.recovered, true);
      listener.proxy.forget();
      await listener.hear('three');
      await pause(OVER_MS);
      await listener.away(() => listener.tell('four'));
      assert.equal(listener.socket.recovered, true, 'it was here until a moment ago');
      await listener.assertWhole();
    });

    test(`${kind} does not recover after the window, and what follows is correct`, async (t) => {
      const listener = await given(t, kind, hasty);
      await listener.hear('one');
      await listener.away(async () => {
        await listener.tell('lost');
        await pause(OVER_MS);
      });
      assert.equal(listener.socket.recovered, false);
      // The client still has the offset from before.
      await listener.away();
      assert.equal(listener.socket.recovered, true);
      await (bySelf ? listener.say('two') : listener.hear('two'));
      assert.deepEqual(listener.texts, [...(bySelf ? ['I begin'] : []), 'one', 'two']);
    });

    test(`${kind} recovers 1,000 missed messages, but not one more`, async (t) => {
      // An admin misses what is done in all sessions, so nothing else is done here.
      const alone = await Service.start();
      t.after(() => alone.close());
      const listener = await given(t, kind, alone);
      await listener.hear('one');
      const flood = (count) => Promise.all(range(1, count).map((number) => listener.tell(`${number}`)));
      await listener.away(() => flood(1_000));
      assert.equal(listener.socket.recovered, true);
      await listener.assertWhole();
      const heard = listener.messages.length;
      await listener.away(() => flood(1_001));
      assert.equal(listener.socket.recovered, false, 'never a part of it');
      await (bySelf ? listener.say('last') : listener.hear('last'));
      assert.equal(listener.messages.length, heard + 1);
    });
  });
}

test('only a client that asked for it gets each event\'s offset', async (t) => {
  const sessionId = newSession();
  const auth = { token: WIDGET, sessionId };
  const proxy = await Proxy.before(t, service);
  const counts = { plain: [], recovers: [], no: [] };
  const plain = await connect(t, proxy.url, { ...WAYS.websocket, auth });
  const recovers = await connect(t, service.url, { ...WAYS.websocket, auth: { ...auth, recovery: true } });
  const no = await connect(t, service.url, { ...WAYS.websocket, auth: { ...auth, recovery: 'true' } });
  for (const [name, socket] of Object.entries({ plain, recovers, no })) {
    socket.on('meta_message_created', (...args) => counts[name].push(args.map((argument) => typeof argument)));
  }
  await service.post({ text: 'one', sessionId });
  await until('all have heard', () => Object.values(counts).every((heard) => heard.length === 1));
  assert.deepEqual(counts, { plain: [['object']], recovers: [['object', 'string']], no: [['object']] });

  const seen = messagesOf(plain);
  proxy.cut();
  await until('it is away', () => !plain.connected);
  await service.post({ text: 'missed', sessionId });
  proxy.open();
  await until('it is back', () => plain.connected);
  assert.ok(!plain.recovered);
  await service.post({ text: 'two', sessionId });
  await until('it hears on', () => seen.length > 0);
  assert.deepEqual(seen.map(({ text }) => text), ['two']);
});
