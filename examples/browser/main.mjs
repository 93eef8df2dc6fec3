// Shows features, and follows their changes without polling: the server's event stream tells when to ask again.
import { OpenFeature, ProviderEvents } from '@openfeature/web-sdk';
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider';

const query = new URLSearchParams(location.search);
const baseUrl = query.get('ofrep') ?? 'http://127.0.0.1:8081';
const context = { targetingKey: query.get('user') ?? 'user-123', tenant: query.get('tenant') ?? 'acme' };
const features = (query.get('features') ?? 'receipts').split(',');
document.getElementById('user').textContent = context.targetingKey;
document.getElementById('tenant').textContent = context.tenant;

const client = OpenFeature.getClient();

function show(event) {
  const rows = features.map((feature) => {
    const d = client.getBooleanDetails(feature, false);
    const row = document.createElement('tr');
    for (const text of [feature, d.value ? 'on' : 'off', d.errorCode ?? d.flagMetadata.reason ?? d.reason]) {
      row.insertCell().textContent = text;
    }
    console.info(`${event}: ${feature} ${d.value ? 'on' : 'off'} ${d.errorCode ?? d.reason}`);
    return row;
  });
  document.getElementById('features').replaceChildren(...rows);
  document.getElementById('state').textContent = event;
}

for (const event of [ProviderEvents.Ready, ProviderEvents.ConfigurationChanged, ProviderEvents.Stale, ProviderEvents.Error]) {
  client.addHandler(event, () => show(event));
}
await OpenFeature.setContext(context);
await OpenFeature.setProviderAndWait(new OFREPWebProvider({ baseUrl, cacheMode: 'disabled' })).catch((err) => {
  console.error(`error: ${err.message}`);
});
