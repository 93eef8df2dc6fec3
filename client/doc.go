// Package client is the Go SDK: a service asks it whether a feature is on, and
// gets the answer from memory.
//
//	c, err := client.Open(ctx, client.Options{})
//	defer c.Close()
//	if c.Enabled("receipts", "acme", "user-123") { … }
//
// A client holds one [Snapshot], replaced as a whole when a new generation is
// live: readers never wait, never see half a generation and never meet the
// network. Whatever happens to Redis, the last good snapshot goes on serving,
// and [Client.Stale] says for how long it has not been confirmed.
//
// Several decisions that belong together are taken from one snapshot:
//
//	who := c.Snapshot().For("acme", "user-123")
//	if who.Enabled("receipts") && who.Enabled("attest") { … }
//
// [Client.Middleware] does that for each HTTP request, [Client.Gate] lets a
// feature decide about a handler, and [Client.Worker] is for jobs.
// docs/client.md is the guide.
package client
