// A small Node service that asks Rampart whether a feature is on, through the OpenFeature SDK.
//
//   OFREP_URL=http://127.0.0.1:8081 PORT=3000 node server.mjs
//   curl -H 'X-Tenant-ID: acme' -H 'X-User-ID: user-123' http://127.0.0.1:3000/
//
// OFREP_KEY is the API key, where evaluate asks for one.
import http from 'node:http';
import { OpenFeature } from '@openfeature/server-sdk';
import { OFREPProvider } from '@openfeature/ofrep-provider';

const headers = process.env.OFREP_KEY ? [['Authorization', `Bearer ${process.env.OFREP_KEY}`]] : [];
const provider = new OFREPProvider({ baseUrl: process.env.OFREP_URL ?? 'http://127.0.0.1:8081', headers });
await OpenFeature.setProviderAndWait(provider);
const flags = OpenFeature.getClient();

const server = http.createServer(async (req, res) => {
  const feature = new URL(req.url, 'http://service').pathname.slice(1) || 'receipts';
  if (!/^[a-z0-9][a-z0-9._-]*$/.test(feature)) {
    res.statusCode = 404;
    return res.end();
  }
  const context = { targetingKey: req.headers['x-user-id'] ?? 'anon', tenant: req.headers['x-tenant-id'] ?? 'public' };
  // Off is what this service does when nobody can be asked.
  const d = await flags.getBooleanDetails(feature, false, context);
  res.setHeader('x-tenant-id', context.tenant);
  res.setHeader('x-flag-version', d.flagMetadata.version ?? '');
  res.setHeader(`x-feature-${feature}`, d.value ? 'enabled' : 'disabled');
  res.setHeader('content-type', 'application/json');
  res.end(JSON.stringify(d));
});
server.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  console.log(`listening at http://127.0.0.1:${server.address().port}`);
});
process.on('SIGTERM', () => server.close());
