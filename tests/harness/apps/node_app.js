// The test service (see python_server.py for its routes) and the test client on Node's http module.
//   node node_app.js server            prints its port
//   node node_app.js client HOST PORT  reads a JSON list of requests, writes one line of truth for each
"use strict";
const http = require("node:http");

const PIECE_PAUSE_MS = 10;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function readLength(stream) {
  let length = 0;
  for await (const piece of stream) length += piece.length;
  return length;
}

async function answer(request, response) {
  const received = await readLength(request);
  const [, route, ...rest] = request.url.split("?")[0].split("/");
  if (route === "sleep") await pause(Number(rest[0]));
  if (route === "stream" || route === "sse") {
    response.writeHead(200, { "Content-Type": route === "sse" ? "text/event-stream" : "text/plain" });
    for (let number = 0; number < Number(rest[0]); number++) {
      await pause(PIECE_PAUSE_MS);
      response.write(`data: ${number}\n\n`);
    }
    response.end();
    return;
  }
  let status = 200;
  let content = `hello ${rest.join("/")}\n`;
  if (route === "large") content = "x".repeat(Number(rest[0]));
  if (route === "status") status = Number(rest[0]);
  if (route === "upload") {
    status = 201;
    content = `received ${received}\n`;
  }
  response.writeHead(status, { "Content-Type": "text/plain", "Content-Length": Buffer.byteLength(content) });
  response.end(request.method === "HEAD" ? "" : content);
}

function serve() {
  const server = http.createServer(answer);
  server.keepAliveTimeout = 60000;
  server.listen(0, "127.0.0.1", () => console.log(server.address().port));
}

function fetchOne(agent, host, port, planned) {
  return new Promise((resolve, reject) => {
    const body = Buffer.alloc(planned.body_bytes, "b");
    const headers = body.length ? { "Content-Length": body.length } : {};
    const started = process.hrtime.bigint();
    const options = { agent, host, port, method: planned.method, path: planned.target, headers };
    const request = http.request(options, async (response) => {
      await readLength(response);
      const latency_ms = Number(process.hrtime.bigint() - started) / 1e6;
      resolve({ ...planned, status: response.statusCode, latency_ms });
    });
    request.on("error", reject);
    request.end(body);
  });
}

async function client(host, port) {
  const chunks = [];
  for await (const piece of process.stdin) chunks.push(piece);
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  for (const planned of JSON.parse(Buffer.concat(chunks).toString())) {
    console.log(JSON.stringify(await fetchOne(agent, host, port, planned)));
  }
  agent.destroy();
}

const [role, host, port] = process.argv.slice(2);
if (role === "server") serve();
else client(host, Number(port));
