package main

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// confirmation is one line of the store and of GET /anchors.
type confirmation struct {
	NotaryID string         `json:"notary_id"`
	Key      string         `json:"idempotency_key,omitempty"`
	Digest   string         `json:"digest"` // of the document
	Time     time.Time      `json:"time"`
	Document jsontext.Value `json:"document"`
}

// confirmed is the answer to POST /anchor.
type confirmed struct {
	NotaryID string    `json:"notary_id"`
	Digest   string    `json:"digest"`
	Time     time.Time `json:"time"`
}

// fault is how the notary misbehaves.
type fault struct {
	Fail  int    `json:"fail,omitempty"`  // answer with this status
	Delay string `json:"delay,omitempty"` // wait this long first
	Wrong string `json:"wrong,omitempty"` // "empty": no notary_id; "garbage": no JSON; "huge": no end

	delay time.Duration
}

const maxKept = 100_000

type notary struct {
	token string
	now   func() time.Time

	mu    sync.Mutex
	file  *os.File
	kept  []confirmation
	byKey map[string]int
	fault fault
}

func openNotary(store string) (*notary, error) {
	n := &notary{now: time.Now, byKey: map[string]int{}}
	if store == "" {
		return n, nil
	}
	f, err := os.OpenFile(store, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	n.file = f
	in := bufio.NewScanner(f)
	in.Buffer(nil, 2<<20)
	for in.Scan() {
		var c confirmation
		if err := json.Unmarshal(in.Bytes(), &c); err != nil {
			return nil, errors.Join(fmt.Errorf("reading the store %s: %w", store, err), f.Close())
		}
		n.keep(c)
	}
	if err := in.Err(); err != nil {
		return nil, errors.Join(fmt.Errorf("reading the store %s: %w", store, err), f.Close())
	}
	return n, nil
}

func (n *notary) close() {
	if n.file != nil {
		n.file.Close()
	}
}

func (n *notary) keep(c confirmation) {
	n.kept = append(n.kept, c)
	if c.Key != "" {
		n.byKey[c.Key] = len(n.kept) - 1
	}
}

func (n *notary) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /anchor", n.authorized(n.anchor))
	mux.HandleFunc("GET /anchors", n.authorized(n.list))
	mux.HandleFunc("PUT /fault", n.authorized(n.setFault))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, map[string]bool{"ok": true}) })
	return mux
}

func (n *notary) authorized(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if n.token != "" && (!ok || subtle.ConstantTimeCompare([]byte(given), []byte(n.token)) != 1) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			answer(w, http.StatusUnauthorized, map[string]string{"error": "bearer token required"})
			return
		}
		next(w, r)
	}
}

func (n *notary) anchor(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	f := n.fault
	n.mu.Unlock()
	if f.delay > 0 {
		select {
		case <-time.After(f.delay):
		case <-r.Context().Done():
			return
		}
	}
	switch {
	case f.Fail != 0:
		answer(w, f.Fail, map[string]string{"error": "told to fail"})
		return
	case f.Wrong == "empty":
		answer(w, http.StatusOK, map[string]string{"notary_id": ""})
		return
	case f.Wrong == "garbage":
		io.WriteString(w, "<html>it works</html>")
		return
	case f.Wrong == "huge":
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
		return
	}
	var doc map[string]jsontext.Value
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &doc)
	}
	if err != nil || doc == nil {
		answer(w, http.StatusBadRequest, map[string]string{"error": "a JSON object is required"})
		return
	}
	c, err := n.confirm(r.Header.Get("Idempotency-Key"), body)
	if err != nil {
		status := http.StatusInternalServerError
		if errors.Is(err, errKeyReused) {
			status = http.StatusConflict
		}
		answer(w, status, map[string]string{"error": err.Error()})
		return
	}
	answer(w, http.StatusOK, confirmed{c.NotaryID, c.Digest, c.Time})
}

var errKeyReused = errors.New("this idempotency key came with another document")

func (n *notary) confirm(key string, body []byte) (confirmation, error) {
	sum := sha256.Sum256(body)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	n.mu.Lock()
	defer n.mu.Unlock()
	if i, ok := n.byKey[key]; ok && key != "" {
		if n.kept[i].Digest != digest {
			return confirmation{}, errKeyReused
		}
		return n.kept[i], nil
	}
	if len(n.kept) >= maxKept {
		return confirmation{}, fmt.Errorf("this notary keeps %d documents and is full", maxKept)
	}
	var random [4]byte
	if _, err := rand.Read(random[:]); err != nil {
		return confirmation{}, err
	}
	now := n.now().UTC()
	c := confirmation{NotaryID: fmt.Sprintf("mn-%d-%x-%x", now.Unix(), sum[:8], random), Key: key, Digest: digest, Time: now, Document: body}
	if n.file != nil {
		line, err := json.Marshal(c)
		if err == nil {
			_, err = n.file.Write(append(line, '\n'))
		}
		if err == nil {
			err = n.file.Sync()
		}
		if err != nil {
			return confirmation{}, fmt.Errorf("keeping the document: %w", err)
		}
	}
	n.keep(c)
	return c, nil
}

func (n *notary) list(w http.ResponseWriter, _ *http.Request) {
	n.mu.Lock()
	kept := n.kept[:len(n.kept):len(n.kept)]
	n.mu.Unlock()
	w.Header().Set("Content-Type", "application/jsonl")
	for _, c := range kept {
		line, err := json.Marshal(c)
		if err != nil {
			return
		}
		if _, err := w.Write(append(line, '\n')); err != nil {
			return
		}
	}
}

func (n *notary) setFault(w http.ResponseWriter, r *http.Request) {
	var f fault
	err := json.UnmarshalRead(r.Body, &f, json.RejectUnknownMembers(true))
	if err == nil && f.Delay != "" {
		f.delay, err = time.ParseDuration(f.Delay)
	}
	known := f.Wrong == "" || f.Wrong == "empty" || f.Wrong == "garbage" || f.Wrong == "huge"
	if err != nil || !known || (f.Fail != 0 && (f.Fail < 400 || f.Fail > 599)) || f.delay < 0 || f.delay > 10*time.Minute {
		answer(w, http.StatusBadRequest, map[string]string{"error": `want {"fail": 400..599, "delay": "2s", "wrong": "empty"|"garbage"|"huge"}`})
		return
	}
	n.mu.Lock()
	n.fault = f
	n.mu.Unlock()
	answer(w, http.StatusOK, map[string]bool{"ok": true})
}

func answer(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "encoding the answer", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}
