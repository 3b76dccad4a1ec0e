-- One message a request: each thread writes to sessions of its own, in turn. PACE_MS in the environment
-- makes each connection wait so long between two requests. With several ports in PORTS, threads take them in turn.
local thread = 0
local ports = {}
for port in string.gmatch(os.getenv("PORTS") or "", "%d+") do
  table.insert(ports, port)
end
local pace_ms = tonumber(os.getenv("PACE_MS") or "0")
local sessions = tonumber(os.getenv("SESSIONS") or "1000")

function setup(t)
  t:set("id", thread)
  if #ports > 0 then
    t.addr = wrk.lookup("127.0.0.1", ports[thread % #ports + 1])[1]
  end
  thread = thread + 1
end

function init()
  count = 0
  failed = 0
end

function request()
  count = count + 1
  local body = string.format(
    '{"text":"Hello, I need help with order %d","tenantId":"demo","sessionId":"session-bench-%d-%06d",'
      .. '"fingerprint":"a1b2c3d4e5f6g7h8","domain":"example.com","origin":"https://example.com",'
      .. '"url":"https://example.com/page"}',
    count, id, count % sessions)
  return wrk.format("POST", "/webchat/message", {
    ["Authorization"] = "Bearer wk_demo_0000000000000000",
    ["Content-Type"] = "application/json",
  }, body)
end

if pace_ms > 0 then
  function delay()
    return math.random(0, 2 * pace_ms)
  end
end

function done(summary, latency, _)
  local errors = summary.errors
  print(string.format(
    "requests/s %.0f  p50 %.2f ms  p99 %.2f ms  max %.2f ms  failed %d",
    summary.requests / (summary.duration / 1e6), latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, latency.max / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
