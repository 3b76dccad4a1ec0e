// Measures how an endpoint catches up: all messages are replayed to one receiver, which answers at
// once or after some milliseconds. Prints the rate, and the service's processor time for each delivery.
//
//   node benches/webhooks/replay.mjs [MESSAGES [ANSWER_AFTER_MS]]     AMOIQ_PROGRAM is the program to measure
//
// The visitors and the receiver run on the same machine. The data is in memory where there is a /dev/shm. It ends
// by itself.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [messages, answerAfterMs] = [Number(process.argv[2] ?? 20_000), Number(process.argv[3] ?? 0)];
const program = process.env.AMOIQ_PROGRAM ?? join(import.meta.dirname, "../../target/release/amoiq");
const [sessions, visitors, patienceMs] = [500, 64, 120_000];

let taken = 0;
function answer(response) {
  taken += 1;
  response.writeHead(204).end();
}
const receiver = http.createServer((request, response) => {
  request.resume();
  request.on("end", () => setTimeout(() => answer(response), answerAfterMs));
});
await new Promise((listens) => receiver.listen(0, "127.0.0.1", listens));

const data = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "amoiq-replay-"));
const service = spawn(program, {
  env: {
    ...process.env,
    AMOIQ__STORE__PATH: data,
    AMOIQ__SERVER__BIND: "127.0.0.1:0",
    AMOIQ__OPERATOR__BIND: "127.0.0.1:0",
    AMOIQ__RATE_LIMIT__HTTP_PER_MINUTE: "0",
    AMOIQ__RATE_LIMIT__SECRET_KEY_PER_MINUTE: "0",
    AMOIQ__WEBHOOKS__ALLOWED_NETWORKS: "127.0.0.0/8",
    AMOIQ__LOG__LEVEL: "error",
  },
});
process.on("exit", () => {
  service.kill("SIGKILL");
  rmSync(data, { recursive: true, force: true });
});
const base = await new Promise((says) => {
  let said = "";
  service.stdout.on("data", (text) => {
    said += text;
    const greeting = /listens on (http:\/\/[^\s"]+)/.exec(said);
    if (greeting) says(new URL(greeting[1]));
  });
});

const agent = new http.Agent({ keepAlive: true, maxSockets: visitors });
const headers = { authorization: "Bearer sk_demo_0000000000000000", "content-type": "application/json" };
function post(path, body) {
  return new Promise((answers, fails) => {
    const request = http.request(new URL(path, base), { method: "POST", agent, headers }, async (response) => {
      const text = (await response.toArray()).join("");
      if (response.statusCode >= 300) fails(new Error(`${path}: ${response.statusCode} ${text}`));
      else answers(JSON.parse(text));
    });
    request.on("error", fails);
    request.end(JSON.stringify(body));
  });
}

function processorSeconds() {
  const fields = readFileSync(`/proc/${service.pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

let said = 0;
const writing = Array.from({ length: visitors }, async () => {
  while (said < messages) {
    const number = said++;
    await post("/webchat/message", { text: `message ${number}`, sessionId: `session-of-replay-${number % sessions}` });
  }
});
await Promise.all(writing);
const endpoint = await post("/api/webhooks", { url: `http://127.0.0.1:${receiver.address().port}/hook` });
const [begun, usedBefore] = [Date.now(), processorSeconds()];
await post(`/api/webhooks/${endpoint.id}/replay`, { from: "2020-01-01T00:00:00Z" });
while (taken < messages && Date.now() - begun < patienceMs) await new Promise((later) => setTimeout(later, 20));
const seconds = (Date.now() - begun) / 1_000;
const microseconds = ((processorSeconds() - usedBefore) / taken) * 1e6;
console.log(
  `${taken} of ${messages} in ${seconds.toFixed(1)} s: ${Math.round(taken / seconds)}/s,`,
  `${Math.round(microseconds)} µs of processor time each`,
);
process.exit(taken < messages ? 1 : 0);
