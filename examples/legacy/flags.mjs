// The older clients' way, in JavaScript: read the entry in Redis, and decide by its four rules. It knows no salts and no hashed
// members. Questions come in as JSON lines {"feature","tenant","user"}, answers go out in the same order.
//
//   echo '{"feature":"receipts","tenant":"acme","user":"u1"}' | REDIS_URL=redis://127.0.0.1:6379 node flags.mjs
import crypto from 'node:crypto';
import readline from 'node:readline';
import { Redis } from 'ioredis';

const NS = process.env.FLAGS_NS || 'flags:v1:';
const redis = new Redis(process.env.FLAGS_REDIS_URL || process.env.REDIS_URL);

async function read(key) {
  const value = await redis.get(NS + key);
  return value ? JSON.parse(value) : undefined;
}

async function isEnabled(flag, tenant, user) {
  const entry = (await read(`${flag}:${tenant}`)) || (await read(`${flag}:__default__`));
  if (!entry) return { on: false, reason: 'no-config' };
  if (!entry.enabled) return { on: false, version: entry.version, reason: 'disabled' };
  const key = (user || tenant || '').toString();
  if (entry.cohorts && entry.cohorts.includes(key)) return { on: true, version: entry.version, reason: 'cohort' };
  const pct = Math.max(0, Math.min(100, entry.ramp_pct ?? 100));
  if (pct >= 100) return { on: true, version: entry.version, reason: 'pct-100' };
  const n = crypto.createHash('sha256').update(key).digest().readUInt32BE(0) % 100;
  return { on: n < pct, version: entry.version, reason: 'pct-hash' };
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  const q = JSON.parse(line);
  const d = await isEnabled(q.feature, q.tenant, q.user);
  console.log(JSON.stringify({ on: d.on, version: d.version ?? '', reason: d.reason }));
}
redis.disconnect();
