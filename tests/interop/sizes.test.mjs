//! Binary and oversized packets harm nobody, not even their sender.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, describe, test } from 'node:test';

import { WAYS, ask, assertProblem, connect, isThere, messagesOf, newSession, until } from './client.mjs';
import { Service, WIDGET } from './service.mjs';

const service = await Service.start();
after(() => service.close());

const visitor = { query: { tenantId: 'demo' }, auth: { token: WIDGET } };

for (const [way, transports] of Object.entries(WAYS)) {
  describe(`over ${way}`, { concurrency: true }, () => {
    test(`a message with binary in an unknown field is accepted, over ${way}`, async (t) => {
      const socket = await connect(t, service.url, { ...transports, ...visitor });
      const messages = messagesOf(socket);
      const answer = await ask(socket, 'message', {
        text: 'with a picture',
        sessionId: newSession(),
        picture: Buffer.alloc(10_000, 7),
        more: [{ deep: Buffer.from([0, 255]) }],
      });
      assert.equal(answer.success, true, JSON.stringify(answer));
      await until('it comes back', () => messages.length > 0);
      assert.equal(messages[0].text, 'with a picture');
      assert.equal(socket.connected, true);
    });

    test(`binary where text belongs is refused, and the socket stays, over ${way}`, async (t) => {
      const socket = await connect(t, service.url, { ...transports, ...visitor });
      const sessionId = newSession();
      const asText = await ask(socket, 'message', { text: Buffer.from('Hello'), sessionId });
      assertProblem(asText, 'VALIDATION_FAILED');
      assertProblem(await ask(socket, 'message', Buffer.from('Hello')), 'VALIDATION_FAILED');
      assertProblem(await ask(socket, 'anything', Buffer.from('Hello')), 'VALIDATION_FAILED');
      socket.emit('anything', Buffer.from('Hello'));
      assert.equal((await ask(socket, 'message', { text: 'Hello', sessionId })).success, true);
    });

    test(`a text that is too long is refused in its acknowledgement, over ${way}`, async (t) => {
      const socket = await connect(t, service.url, { ...transports, ...visitor });
      const sessionId = newSession();
      const long = await ask(socket, 'message', { text: 'x'.repeat(10_001), sessionId });
      assert.ok(assertProblem(long, 'VALIDATION_FAILED').fields.text);
      const huge = await ask(socket, 'message', { text: 'x'.repeat(140_000), sessionId });
      assertProblem(huge, 'PAYLOAD_TOO_LARGE');
      const bytes = await ask(socket, 'message', { text: 'Hello', sessionId, picture: Buffer.alloc(140_000) });
      assertProblem(bytes, 'PAYLOAD_TOO_LARGE');
      const longest = await ask(socket, 'message', { text: '👍'.repeat(10_000), sessionId });
      assert.equal(longest.success, true, 'a limit is one of characters, not of bytes');
      assert.equal((await service.history(sessionId)).length, 1);
    });

    test(`a packet that is too large ends the connection, and the client reconnects, over ${way}`, async (t) => {
      const socket = await connect(t, service.url, { ...transports, ...visitor });
      const messages = messagesOf(socket);
      const sessionId = newSession();
      await ask(socket, 'message', { text: 'before', sessionId });
      const firstId = socket.id;
      const gone = once(socket, 'disconnect');
      socket.emit('message', { text: 'x'.repeat(2_000_000), sessionId });
      assert.match((await gone)[0], /^transport (close|error)$/);
      await until('the client is back', () => isThere(socket) && socket.id !== firstId);
      await ask(socket, 'message', { text: 'after', sessionId });
      await until('it hears its session', () => messages.at(-1)?.text === 'after');
      assert.deepEqual((await service.history(sessionId)).map(({ text }) => text), ['before', 'after']);
    });

    test(`binary that is too large ends the connection, and the client reconnects, over ${way}`, async (t) => {
      const socket = await connect(t, service.url, { ...transports, ...visitor });
      const firstId = socket.id;
      const gone = once(socket, 'disconnect');
      socket.emit('message', { text: 'Hello', picture: Buffer.alloc(2_000_000) });
      assert.match((await gone)[0], /^transport (close|error)$/);
      await until('the client is back', () => isThere(socket) && socket.id !== firstId);
      assert.equal((await ask(socket, 'message', { text: 'after' })).success, true);
    });

    test(`many small messages at once are all accepted in order, over ${way}`, async (t) => {
      const socket = await connect(t, service.url, { ...transports, ...visitor });
      const messages = messagesOf(socket);
      const sessionId = newSession();
      // More than may wait for a socket, so that the server has to stop reading from the transport.
      const texts = Array.from({ length: 200 }, (_, number) => `${number} ${'x'.repeat(5_000)}`);
      texts.forEach((text) => socket.emit('message', { text, sessionId }));
      await until('all are back', () => messages.length >= texts.length);
      assert.deepEqual(messages.map(({ text }) => text), texts);
    });
  });
}
