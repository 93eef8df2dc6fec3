package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/receipt"
)

// start runs the notary and returns its address.
func start(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, cli.Env{Args: append([]string{"--listen", "127.0.0.1:0"}, args...), Stdout: io.Discard, Stderr: in, Getenv: func(string) string { return "" }})
		in.Close()
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the notary ended with %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the notary said nothing: %v", err)
	}
	go io.Copy(io.Discard, out)
	_, addr, ok := strings.Cut(strings.TrimSpace(line), "listens at ")
	if !ok {
		t.Fatalf("the notary said %q", line)
	}
	return addr
}

func call(t *testing.T, method, url, body string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

func TestAnchorIsIdempotentAndKept(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	addr := start(t, "--store", store)
	_, first := call(t, "POST", addr+"/anchor", `{"size":1}`, "Idempotency-Key", "k1")
	_, again := call(t, "POST", addr+"/anchor", `{"size":1}`, "Idempotency-Key", "k1")
	if first != again || !strings.Contains(first, `"notary_id":"mn-`) {
		t.Fatalf("first %s, again %s", first, again)
	}
	if code, body := call(t, "POST", addr+"/anchor", `{"size":2}`, "Idempotency-Key", "k1"); code != http.StatusConflict {
		t.Fatalf("another document under the same key: %d %s", code, body)
	}
	if code, _ := call(t, "POST", addr+"/anchor", `[1]`); code != http.StatusBadRequest {
		t.Fatalf("no object: %d", code)
	}
	if code, body := call(t, "GET", addr+"/healthz", ""); code != 200 || body != "{\"ok\":true}\n" {
		t.Fatalf("health: %d %s", code, body)
	}
	other := start(t, "--store", store)
	if _, after := call(t, "POST", other+"/anchor", `{"size":1}`, "Idempotency-Key", "k1"); after != first {
		t.Fatalf("after a restart %s, before %s", after, first)
	}
}

func TestFaults(t *testing.T) {
	addr := start(t)
	for fault, want := range map[string]int{`{"fail":503}`: 503, `{"wrong":"empty"}`: 200, `{}`: 200, `{"fail":200}`: 0, `{"whim":1}`: 0} {
		code, _ := call(t, "PUT", addr+"/fault", fault)
		if want == 0 {
			if code != http.StatusBadRequest {
				t.Errorf("fault %s was taken: %d", fault, code)
			}
			continue
		}
		if code, _ := call(t, "POST", addr+"/anchor", `{}`); code != want {
			t.Errorf("under %s: %d, want %d", fault, code, want)
		}
	}
}

// The ledger's client over mutual TLS and a token, with certificates and checks by openssl.
func TestMutualTLS(t *testing.T) {
	flagtest.Need(t, "openssl")
	dir := t.TempDir()
	openssl := func(args ...string) []byte {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "openssl", args...)
		cmd.Dir = dir
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
		}
		return out
	}
	for _, name := range []string{"server", "client"} {
		openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN="+name,
			"-addext", "subjectAltName=IP:127.0.0.1", "-keyout", name+".key", "-out", name+".pem")
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(in("token"), []byte("s3cret-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := start(t, "--tls-cert", in("server.pem"), "--tls-key", in("server.key"), "--client-ca", in("client.pem"), "--token-file", in("token"))
	good := receipt.HTTPSNotary{ID: "n1", URL: addr, CAFile: in("server.pem"), CertFile: in("client.pem"), KeyFile: in("client.key"), TokenFile: in("token"), Timeout: 20 * time.Second}
	cp := receipt.Checkpoint{Origin: "prod/a", Size: 3, Root: make([]byte, 32), Note: []byte("note")}
	confirm := func(n receipt.HTTPSNotary) (string, error) {
		t.Helper()
		c, err := receipt.NewHTTPSNotary(n)
		if err != nil {
			t.Fatal(err)
		}
		id, _, err := c.Confirm(t.Context(), "key", cp)
		return id, err
	}
	if id, err := confirm(good); err != nil || id == "" {
		t.Fatalf("id %q, err %v", id, err)
	}
	for name, bad := range map[string]func(*receipt.HTTPSNotary){
		"no token":       func(n *receipt.HTTPSNotary) { n.TokenFile = "" },
		"no certificate": func(n *receipt.HTTPSNotary) { n.CertFile, n.KeyFile = "", "" },
		"wrong CA":       func(n *receipt.HTTPSNotary) { n.CAFile = in("client.pem") },
	} {
		n := good
		bad(&n)
		if id, err := confirm(n); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: id %q, err %v", name, id, err)
		}
	}
	host := strings.TrimPrefix(addr, "https://")
	refused := exec.CommandContext(t.Context(), "openssl", "s_client", "-connect", host, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0",
		"-CAfile", in("server.pem"), "-cert", in("client.pem"), "-key", in("client.key"))
	refused.Stdin = strings.NewReader("")
	if out, err := refused.CombinedOutput(); err == nil || !bytes.Contains(out, []byte("alert protocol version")) {
		t.Errorf("TLS 1.1 was not refused for its version: %v\n%s", err, out)
	}
	taken := exec.CommandContext(t.Context(), "openssl", "s_client", "-connect", host, "-tls1_2", "-CAfile", in("server.pem"), "-cert", in("client.pem"), "-key", in("client.key"), "-verify_return_error")
	taken.Stdin = strings.NewReader("")
	if out, err := taken.CombinedOutput(); err != nil {
		t.Errorf("TLS 1.2 was refused: %v\n%s", err, out)
	}
}

func TestPlainHTTPIsForLoopbackOnly(t *testing.T) {
	for url, ok := range map[string]bool{"http://127.0.0.1:1": true, "http://localhost:1": true, "http://notary.example": false, "https://notary.example": true,
		"ftp://notary.example": false, "https://user:pw@notary.example": false} {
		_, err := receipt.NewHTTPSNotary(receipt.HTTPSNotary{ID: "n", URL: url})
		if (err == nil) != ok {
			t.Errorf("%s: err %v, want ok %v", url, err, ok)
		}
		if err != nil && strings.Contains(err.Error(), "pw@") {
			t.Errorf("the password stands in the error: %v", err)
		}
	}
}
