package flags

import "github.com/go-json-experiment/json/jsontext"

// EditOp sets or deletes one value of a document.
type EditOp struct {
	Pointer string         // RFC 6901: "/features/receipts/pct"
	Value   jsontext.Value // what to put there; nil deletes
}
