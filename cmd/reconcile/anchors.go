package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/receipt"
	"github.com/rampart-flags/rampart/signing/keyless"
)

// notaryJSON is one element of the file that --notaries names.
type notaryJSON struct {
	Name string `json:"name"`
	// Kind is "notary", where it is not given; "witness", a C2SP witness; "rekor", a sigstore log.
	Kind      string `json:"kind,omitempty"`
	URL       string `json:"url"`
	TokenFile string `json:"token_file,omitempty"`
	CAFile    string `json:"ca_file,omitempty"`
	CertFile  string `json:"cert_file,omitempty"`
	KeyFile   string `json:"key_file,omitempty"`
	Timeout   string `json:"timeout,omitempty"`
	// Every is the least time between two confirmations; of a log ten minutes, where it is not given.
	Every string `json:"every,omitempty"`
	// Key is a witness's public key: name+hash+base64.
	Key string `json:"key,omitempty"`
	// TrustedRoot is the file that a log's entries are checked against; Version is the log's, 2 where it is not given;
	// Timestamps is the address of a timestamp authority.
	TrustedRoot string `json:"trusted_root,omitempty"`
	Version     uint32 `json:"version,omitempty"`
	Timestamps  string `json:"timestamps,omitempty"`
}

// witnesses are all who confirm the checkpoints of the ledger in dir.
func (s *ledgerSettings) witnesses(dir string) ([]receipt.Witness, error) {
	var all []notaryJSON
	if s.notariesFile != "" {
		src, err := os.ReadFile(s.notariesFile)
		if err != nil {
			return nil, fmt.Errorf("reading the notaries: %w", err)
		}
		dec := json.NewDecoder(strings.NewReader(string(src)))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&all); err != nil {
			return nil, cli.Hint(fmt.Errorf("reading the notaries in %s: %w", s.notariesFile, err), `want [{"name": "…", "url": "https://…", "token_file": "…"}]`)
		}
	}
	for _, n := range s.notaries {
		name, url, ok := strings.Cut(n, "=")
		if !ok {
			return nil, cli.Exit(cli.ExitUsage, fmt.Errorf("--notary %q: want NAME=URL", n))
		}
		all = append(all, notaryJSON{Name: name, URL: url})
	}
	var out []receipt.Witness
	for _, n := range all {
		w, err := n.paced(dir)
		if err != nil {
			return nil, cli.Exit(cli.ExitUsage, err)
		}
		out = append(out, w)
	}
	return out, nil
}

// rekorEvery keeps a busy reconciler from filling a log that the whole world shares.
const rekorEvery = 10 * time.Minute

func (n notaryJSON) paced(dir string) (receipt.Witness, error) {
	w, err := n.open(dir)
	if err != nil {
		return nil, err
	}
	every := time.Duration(0)
	if n.Kind == receipt.AnchorRekor {
		every = rekorEvery
	}
	if n.Every != "" {
		if every, err = time.ParseDuration(n.Every); err != nil {
			return nil, fmt.Errorf("notary %s: every: %w", n.Name, err)
		}
	}
	if every <= 0 {
		return w, nil
	}
	return receipt.Paced(w, every), nil
}

func (n notaryJSON) open(dir string) (receipt.Witness, error) {
	var timeout time.Duration
	if n.Timeout != "" {
		var err error
		if timeout, err = time.ParseDuration(n.Timeout); err != nil {
			return nil, fmt.Errorf("notary %s: timeout: %w", n.Name, err)
		}
	}
	foreign := map[string]bool{} // settings that belong to another kind
	if n.Kind != receipt.AnchorWitness {
		foreign["key"] = n.Key != ""
	}
	if n.Kind == receipt.AnchorRekor {
		foreign["token_file"], foreign["ca_file"], foreign["cert_file"] = n.TokenFile != "", n.CAFile != "", n.CertFile+n.KeyFile != ""
	} else {
		foreign["trusted_root"], foreign["version"], foreign["timestamps"] = n.TrustedRoot != "", n.Version != 0, n.Timestamps != ""
	}
	for setting, given := range foreign {
		if given {
			return nil, fmt.Errorf("notary %s: %q says nothing to one of kind %q", n.Name, setting, n.Kind)
		}
	}
	base := receipt.HTTPSNotary{ID: n.Name, URL: n.URL, TokenFile: n.TokenFile, CAFile: n.CAFile, CertFile: n.CertFile, KeyFile: n.KeyFile, Timeout: timeout}
	switch n.Kind {
	case "", receipt.AnchorNotary:
		return receipt.NewHTTPSNotary(base)
	case receipt.AnchorWitness:
		return receipt.NewC2SPWitness(receipt.C2SPWitness{HTTPSNotary: base, Key: n.Key, Dir: dir})
	case receipt.AnchorRekor:
		if _, err := receipt.NewHTTPSNotary(base); err != nil { // the address's rules are the same
			return nil, err
		}
		recorder, err := openRecorder(n.TrustedRoot)
		if err != nil {
			return nil, fmt.Errorf("notary %s: %w", n.Name, err)
		}
		return rekor{n.Name, keyless.Log{URL: strings.TrimRight(n.URL, "/"), Version: n.Version, Timestamps: n.Timestamps, Timeout: timeout}, recorder}, nil
	}
	return nil, fmt.Errorf("notary %s: there is no kind %q: notary, witness, rekor", n.Name, n.Kind)
}

func openRecorder(path string) (*keyless.Recorder, error) {
	if path == "" {
		return nil, fmt.Errorf("which logs to believe must be said: trusted_root, a file")
	}
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the trusted root: %w", err)
	}
	return keyless.NewRecorder(src)
}

// rekor has a sigstore log take each checkpoint's digest. The answer is the log's entry, checked before it is taken.
type rekor struct {
	name     string
	log      keyless.Log
	recorder *keyless.Recorder
}

func (r rekor) Name() string { return r.name }
func (r rekor) Kind() string { return receipt.AnchorRekor }

func (r rekor) Confirm(ctx context.Context, _ string, cp receipt.Checkpoint) (string, []byte, error) {
	proof, err := r.log.Record(ctx, cp.Note)
	if err != nil {
		return "", nil, err
	}
	got, err := r.recorder.Check(proof, cp.Note)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("entry %d of log %.16s", got.Index, got.Log), proof, nil
}

// rekorCheck checks entries that are kept as proofs against a trusted root.
func rekorCheck(path string) (receipt.Check, error) {
	recorder, err := openRecorder(path)
	if err != nil {
		return receipt.Check{}, err
	}
	return receipt.Check{Name: "the logs of " + path, Proof: func(p receipt.AnchorProof) (bool, error) {
		if p.Kind != receipt.AnchorRekor {
			return false, nil
		}
		_, err := recorder.Check([]byte(p.Answer), []byte(p.Checkpoint))
		return true, err
	}}, nil
}
