//! Widgets that come while there is no room for them, or while the store accepts no writes: none of them gives up.
//! `tests/long/overload` is the same with more of them, and for longer.

import { describe, test } from 'node:test';

import { comesWhileItIsFull, comesWithoutWrites } from './crowd.mjs';

const size = 40;

describe('a crowd', { concurrency: true }, () => {
  for (const limit of ['max_connections', 'connections_per_ip']) {
    test(`that comes while ${limit} is reached waits, and is in when there is room`, (t) =>
      comesWhileItIsFull(t, { limit, size, seconds: 40 }));
  }

  test('that polls waits as well', (t) =>
    comesWhileItIsFull(t, { limit: 'max_connections', size, seconds: 40, transports: ['polling', 'websocket'] }));

  // It limits the files of the log.
  const skip = Boolean(process.env.AMOIQ_TEST_POSTGRES || process.env.AMOIQ_TEST_KURRENTDB);
  test('that comes while the store takes no writes is let in at once', { skip }, (t) =>
    comesWithoutWrites(t, { size, seconds: 20 }));
});
