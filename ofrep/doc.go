// Package ofrep serves flags over the OpenFeature Remote Evaluation Protocol,
// version 0.3, so that any OpenFeature SDK can ask for them.
//
//	POST /ofrep/v1/evaluate/flags/{key}   one feature
//	POST /ofrep/v1/evaluate/flags         all of them, with an ETag
//	GET  /ofrep/v1/events                 server-sent events: "fetch again"
//
// Features are booleans with the variants "on" and "off". The context's
// targetingKey is the user; its "tenant", else the header X-Tenant-ID, is the
// tenant. docs/ofrep.md is the reference.
//
// A [Handler] looks at whatever its [Options].View says is live, and needs to
// know nothing of where that comes from.
package ofrep
