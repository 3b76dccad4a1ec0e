// The same work as amoiq's `POST /webchat/message` and its `message` event, with Express, Socket.IO and PostgreSQL: a
// message is answered once its commit is durable, has the next number of its session, is stored once however often it is
// sent, and reaches everybody in the session's room.
//
// PGHOST, PGPORT, PGUSER and PGDATABASE name the database, PORT the port on the loopback address.
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

import express from 'express';
import pg from 'pg';
import { Server } from 'socket.io';

const KEYS = new Map([['wk_demo_0000000000000000', { tenant: 'demo', role: 'visitor' }]]);

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS sessions (
    tenant text, id text, messages bigint NOT NULL, PRIMARY KEY (tenant, id)
  );
  CREATE TABLE IF NOT EXISTS messages (
    id uuid PRIMARY KEY, tenant text NOT NULL, session text NOT NULL, number bigint NOT NULL, sender text NOT NULL,
    client_id text, body text NOT NULL, about jsonb NOT NULL, created timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant, session, number), UNIQUE (tenant, session, client_id)
  );`;

// One round trip: the row of the session is locked until the commit, so numbers have no gaps.
const INSERT = `
  WITH next AS (
    INSERT INTO sessions AS s (tenant, id, messages) VALUES ($2, $3, 1)
    ON CONFLICT (tenant, id) DO UPDATE SET messages = s.messages + 1 RETURNING messages
  )
  INSERT INTO messages (id, tenant, session, number, sender, client_id, body, about)
  SELECT $1, $2, $3, messages, $4, $5, $6, $7 FROM next RETURNING number, created`;

const pool = new pg.Pool({ max: 20 });
await pool.query(SCHEMA);

const app = express();
app.disable('x-powered-by');
const server = createServer(app);
const io = new Server(server, { cors: { origin: true, credentials: true } });

class Refusal extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

// Stores a message and tells the room. Returns what the sender is told, or throws a refusal.
async function post(key, { text, sessionId, clientMessageId = null, ...about }) {
  if (typeof text !== 'string' || text.trim() === '' || text.length > 10_000) {
    throw new Refusal('INVALID_TEXT', 'text must have 1 to 10,000 characters');
  }
  if (typeof sessionId !== 'string' || sessionId.length < 16 || sessionId.length > 256) {
    throw new Refusal('INVALID_SESSION_ID', 'sessionId must have 16 to 256 characters');
  }
  const id = randomUUID();
  const values = [id, key.tenant, sessionId, key.role, clientMessageId, text.trim(), about];
  let stored;
  try {
    stored = await pool.query({ name: 'insert', text: INSERT, values });
  } catch (error) {
    if (error.code !== '23505') throw error;
    const repeat = await pool.query({
      name: 'first',
      text: 'SELECT id FROM messages WHERE tenant = $1 AND session = $2 AND client_id = $3',
      values: [key.tenant, sessionId, clientMessageId],
    });
    return { success: true, messageId: repeat.rows[0].id, sessionId };
  }
  const [{ number, created }] = stored.rows;
  io.to(`${key.tenant}:${sessionId}`).emit('meta_message_created', {
    messageId: id, sessionId, text: text.trim(), sender: key.role, seq: Number(number), timestamp: created,
  });
  return { success: true, messageId: id, sessionId };
}

io.use((socket, next) => {
  socket.data.key = KEYS.get(socket.handshake.auth.token);
  next(socket.data.key ? undefined : new Error('INVALID_KEY'));
});

io.on('connection', (socket) => {
  socket.on('join:session', ({ sessionId }, answer) => {
    socket.join(`${socket.data.key.tenant}:${sessionId}`);
    answer?.({ success: true, sessionId });
  });
  socket.on('message', async (message, answer) => {
    try {
      const stored = await post(socket.data.key, message ?? {});
      answer?.(stored);
    } catch (error) {
      if (!(error instanceof Refusal)) console.error(error);
      answer?.({ success: false, error: error instanceof Refusal ? error.code : 'INTERNAL_ERROR' });
    }
  });
});

app.post('/webchat/message', express.json({ limit: '128kb' }), async (request, response) => {
  const refuse = (status, error, message) => response.status(status).json({ success: false, error, message });
  const key = KEYS.get(request.get('authorization')?.replace(/^Bearer /, ''));
  if (!key) return refuse(401, 'INVALID_KEY', 'the key is not known');
  try {
    response.json(await post(key, request.body ?? {}));
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    refuse(400, error.code, error.message);
  }
});

server.listen(Number(process.env.PORT), '127.0.0.1', () => {
  console.log(`listens on http://127.0.0.1:${server.address().port}`);
});
