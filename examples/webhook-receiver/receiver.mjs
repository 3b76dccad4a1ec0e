// Receives every message of a tenant: verifies, drops repeats, answers at once, works afterwards.
//
//   npm install
//   WEBHOOK_SECRET=whsec_… node receiver.mjs          # listens on 127.0.0.1:9000, path /hook
//
// WEBHOOK_SECRET may contain several secrets, separated by commas: while one is being replaced, both are valid.

import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const PORT = Number(process.env.PORT ?? 9000);
const MAX_BODY_BYTES = 1024 * 1024;
const MAX_REMEMBERED = 100_000;

const secrets = (process.env.WEBHOOK_SECRET ?? "").split(",").filter(Boolean);
if (secrets.length === 0) {
  console.error("set WEBHOOK_SECRET to the secret that the service gave when the webhook was made");
  process.exit(2);
}
const webhooks = secrets.map((secret) => new Webhook(secret));

// Accepted deliveries. In a real system this is a unique key in the database that stores the work.
const taken = new Set();

/** The body, parsed, when one of the secrets has signed exactly these bytes within the last five minutes. */
function verified(body, headers) {
  let refusal;
  for (const webhook of webhooks) {
    try {
      return webhook.verify(body, headers);
    } catch (error) {
      refusal = error;
    }
  }
  throw refusal;
}

/** The bytes as they came: a body that was parsed and written again has another signature. */
async function read(request) {
  const chunks = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) throw new Error("the body is too large");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function work({ event, timestamp, data }) {
  if (event === "message.created") {
    console.log(`${timestamp} ${data.sessionId} ${data.senderType}: ${data.text}`);
  } else {
    // webhook.test, and whatever is added later: accept it, and do nothing.
    console.log(`${timestamp} ${event}`);
  }
}

async function answer(request) {
  if (request.method !== "POST" || request.url !== "/hook") return 404;
  let message;
  try {
    message = verified(await read(request), request.headers);
  } catch (error) {
    console.error(`refused: ${error.message}`);
    return 400;
  }
  const id = request.headers["webhook-id"];
  if (taken.has(id)) return 204;
  // The service waits 15 seconds. Work that takes longer belongs into a queue; here it is a printed line.
  work(message);
  taken.add(id);
  if (taken.size > MAX_REMEMBERED) taken.delete(taken.values().next().value);
  return 204;
}

const server = createServer(async (request, response) => {
  response.writeHead(await answer(request)).end();
});
server.listen(PORT, "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${PORT}/hook`));
