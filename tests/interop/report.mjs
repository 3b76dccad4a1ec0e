//! Prints a line for each test and one for all of them, for node's own test runner.

import { basename } from 'node:path';

/** The reporter: `node --test --test-reporter=report.mjs`. */
export default async function* report(source) {
  const count = { passed: 0, failed: 0 };
  for await (const { type, data } of source) {
    if (type === 'test:stderr' || type === 'test:stdout') yield data.message;
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    const failed = type === 'test:fail';
    const error = data.details?.error;
    // A group of tests counts only when it fails for a reason of its own.
    const isGroup = data.details?.type === 'suite' || error?.failureType === 'subtestsFailed';
    if (isGroup && (!failed || error?.failureType === 'subtestsFailed')) continue;
    count[failed ? 'failed' : 'passed'] += 1;
    const where = data.file ? `${basename(data.file, '.test.mjs')}: ` : '';
    const took = Math.round(data.details?.duration_ms ?? 0);
    yield `${failed ? 'FAILED' : 'ok    '} ${where}${data.name} (${took} ms)\n`;
    if (failed) yield `${explain(error)}\n`;
  }
  yield `${count.passed} passed, ${count.failed} failed\n`;
}

function explain(error) {
  const cause = error?.cause ?? error;
  const text = cause?.stack ?? String(cause);
  const { expected, actual } = cause ?? {};
  const compared = `\nexpected ${JSON.stringify(expected)}\nactual   ${JSON.stringify(actual)}`;
  return (expected === undefined ? text : text + compared).replace(/^/gm, '       ');
}
