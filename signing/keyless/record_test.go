package keyless_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/signing/keyless"
	"github.com/rampart-flags/rampart/signing/keyless/keylesstest"
)

// A log's entry over a document verifies without network, and over nothing else; with a timestamp authority it says when.
func TestRecordInALog(t *testing.T) {
	a := keylesstest.New(t)
	a.Services()
	recorder, err := keyless.NewRecorder(a.TrustedRoot())
	if err != nil {
		t.Fatal(err)
	}
	message := []byte("rampart/test\n3\nroot\n")
	for name, log := range map[string]keyless.Log{
		"timed":   {URL: a.URL, Timestamps: a.URL + "/api/v1/timestamp"},
		"untimed": {URL: a.URL, Version: 2},
	} {
		t.Run(name, func(t *testing.T) {
			proof, err := log.Record(t.Context(), message)
			if err != nil {
				t.Fatal(err)
			}
			got, err := recorder.Check(proof, message)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Log) != 64 || got.Time.IsZero() != (name == "untimed") {
				t.Errorf("recorded %+v", got)
			}
			if name == "timed" && got.Time.Sub(a.Now).Abs() > time.Minute {
				t.Errorf("the time is %v, it was made at %v", got.Time, a.Now)
			}
			if _, err := recorder.Check(proof, append(message, '!')); err == nil {
				t.Error("the entry verifies over another document")
			}
			if _, err := recorder.Check(bytes.Replace(proof, []byte(`"canonicalizedBody":"`), []byte(`"canonicalizedBody":"AAAA`), 1), message); err == nil {
				t.Error("an edited entry verifies")
			}
			other, err := keyless.NewRecorder(keylesstest.New(t).TrustedRoot())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := other.Check(proof, message); err == nil {
				t.Error("the entry verifies under another trusted root")
			}
		})
	}
	if _, err := keyless.NewRecorder(a.PrivateRoot()); !errors.Is(err, keyless.ErrTrustedRoot) {
		t.Errorf("a root without logs: %v", err)
	}
	if _, err := recorder.Check([]byte("{}"), message); err == nil {
		t.Error("nothing verifies")
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (keyless.Log{URL: a.URL}).Record(stopped, message); err == nil {
		t.Error("recorded although told to stop")
	}
}
