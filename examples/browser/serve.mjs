// Serves this folder: PORT=3001 node serve.mjs, then open http://127.0.0.1:3001/?ofrep=http://127.0.0.1:8081
// (with evaluate started as: evaluate … --origin http://127.0.0.1:3001).
import http from 'node:http';
import { readFile } from 'node:fs/promises';
import { dirname, extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const types = { '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.json': 'application/json', '.map': 'application/json' };
const server = http.createServer(async (req, res) => {
  const path = normalize(new URL(req.url, 'http://here').pathname);
  try {
    const body = await readFile(join(here, path.endsWith('/') ? `${path}index.html` : path));
    res.setHeader('content-type', types[extname(path)] ?? 'text/html');
    res.end(body);
  } catch {
    res.statusCode = path === '/favicon.ico' ? 204 : 404;
    res.end();
  }
});
server.listen(Number(process.env.PORT ?? 3001), '127.0.0.1', () => {
  console.log(`listening at http://127.0.0.1:${server.address().port}`);
});
process.on('SIGTERM', () => process.exit(0));
