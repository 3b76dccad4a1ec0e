//! A request as a browser elsewhere makes it: from an address of its own.

import http from 'node:http';

/** The status, headers and text of the answer. */
export async function request(url, { method = 'GET', from = '127.0.0.2', key, headers = {}, body } = {}) {
  // A connection of its own: a proxy may just be closing a shared one.
  const options = { method, agent: false, localAddress: from, headers: { authorization: `Bearer ${key}`, ...headers } };
  if (body) options.headers['content-type'] = 'application/json';
  const answer = await new Promise((resolve, reject) => {
    const sent = http.request(url, options, resolve);
    sent.on('error', reject);
    sent.end(body && JSON.stringify(body));
  });
  let text = '';
  for await (const chunk of answer.setEncoding('utf8')) text += chunk;
  return { status: answer.statusCode, headers: answer.headers, text };
}
