//! 500 widgets over a minute of overload, and over five minutes of a store that accepts no writes.

import { test } from 'node:test';

import { comesWhileItIsFull, comesWithoutWrites } from '../interop/crowd.mjs';

const size = 500;

for (const limit of ['max_connections', 'connections_per_ip']) {
  test(`500 widgets that come while ${limit} is reached wait, and are in when there is room`, (t) =>
    comesWhileItIsFull(t, { limit, size, seconds: 60 }));
}

test('500 widgets that come while the store accepts no writes are let in at once', (t) =>
  comesWithoutWrites(t, { size, seconds: 300 }));
