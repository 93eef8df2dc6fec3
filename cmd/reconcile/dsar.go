package main

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/internal/cli"
)

func dsarCommand(a *app) *cobra.Command {
	var out, key string
	var tenants []string
	var s ledgerSettings
	cmd := &cobra.Command{
		Use:   "dsar SUBJECT --key KEY [flags]",
		Short: "Gather everything that is held about one person",
		Long: `dsar answers a data subject's access request: where SUBJECT, or its hashed form, stands in cohorts, segments and
tenants, now and in every accepted spec; the receipts and the evidence that name it; and what each flag decides
for it. manifest.json lists every file with its digest and is signed with --key; stock cosign checks it:

  cosign verify-blob --key KEY.pub --bundle manifest.json.sigstore.json --insecure-ignore-tlog manifest.json

It asks the reconciler that runs on the state folder (GET /audit/dsar, signed with that one's --attest-key), and reads the
state folder and the repository itself where none runs. Nothing is changed.`,
		Example: `  reconcile dsar user-123 --key cosign.key --out user-123.zip --repo https://git.example/flags --trust trust.json
  reconcile dsar user-123 --state-dir /var/lib/rampart --out user-123`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			archive, err := a.dsar(cmd.Context(), s, key, args[0], tenants)
			if err != nil {
				return err
			}
			if out == "" {
				out = "dsar-" + time.Now().UTC().Format("20060102T150405Z") + ".zip"
			}
			if err := writeArchive(out, archive); err != nil {
				return err
			}
			fmt.Fprintln(a.env.Stdout, out)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&key, "key", "", "the private key to sign the manifest with, a `FILE` (default: that of --attest-key)")
	a.bind(cmd)
	f.StringVar(&out, "out", "", "write a zip to `PATH`, or the files into a new folder when it does not end in .zip")
	f.StringSliceVar(&tenants, "tenant", nil, "also say what flags decide for the subject under this `TENANT`")
	cli.NoEnv(cmd, "out", "tenant")
	f.StringVar(&s.ledger, "ledger", "", "the ledger's `DIR` (default: ledger in the state folder)")
	return cmd
}

// dsar returns a zip: from the reconciler that runs, or made here.
func (a *app) dsar(ctx context.Context, s ledgerSettings, keyFile, subject string, tenants []string) ([]byte, error) {
	dir, err := a.stateFolder(a.env)
	if err != nil {
		return nil, err
	}
	archive, err := askDSAR(ctx, dir, a.env, subject, tenants)
	if !errors.Is(err, errNoneRuns) {
		return archive, err
	}
	key, err := a.signer(cmp.Or(keyFile, a.attestKey))
	if err != nil {
		return nil, err
	}
	if key == nil {
		return nil, cli.Exit(cli.ExitUsage, cli.Hint(errors.New("no key to sign the manifest with"), "set --key FILE"))
	}
	o, err := a.open(ctx, slog.New(slog.DiscardHandler), silent{}, nil)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	if _, err := o.Plan(ctx); err != nil { // reads the branch, and changes nothing
		a.env.Talk("the branch could not be read: %v", err)
	}
	files, err := gather(ctx, dsarSource{repo: o.repo, path: a.path, state: dir, ledger: s.dir(dir), live: o.Live, now: time.Now()}, subject, tenants)
	if err != nil {
		return nil, err
	}
	return packFiles(ctx, files, key)
}

func askDSAR(ctx context.Context, dir string, env cli.Env, subject string, tenants []string) ([]byte, error) {
	address, err := runningAddress(dir)
	if err != nil {
		return nil, err
	}
	token := env.Getenv("RAMPART_ADMIN_TOKEN")
	if token == "" {
		kept, err := os.ReadFile(filepath.Join(dir, tokenName))
		if err != nil {
			return nil, fmt.Errorf("reading the admin token: %w", err)
		}
		token = strings.TrimSpace(string(kept))
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/audit/dsar", nil)
	if err != nil {
		return nil, err
	}
	q := req.URL.Query()
	q.Set("subject", subject)
	q["tenant"] = tenants
	req.URL.RawQuery = q.Encode()
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking the reconciler at %s: %w", address, errNoneRuns)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<30))
	if err != nil {
		return nil, fmt.Errorf("asking the reconciler at %s: %w", address, err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking the reconciler at %s: %s: %.300s", address, res.Status, body)
	}
	return body, nil
}

// serveDSAR answers GET /audit/dsar?subject=…&tenant=….
func serveDSAR(a *app, o *opened) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		subject := r.URL.Query().Get("subject")
		if subject == "" || len(subject) > 256 {
			bad(w, "subject required, of at most 256 bytes")
			return
		}
		key, err := a.signer(a.attestKey)
		if err == nil && key == nil {
			err = errors.New("this reconciler has no key to sign with: run it with --attest-key")
		}
		if err != nil {
			answer(w, http.StatusNotImplemented, map[string]string{"error": err.Error()})
			return
		}
		ledger := ""
		if o.ledger != nil {
			ledger = o.ledger.dir
		}
		files, err := gather(r.Context(), dsarSource{repo: o.repo, path: a.path, state: o.dir, ledger: ledger, live: o.Live, now: time.Now()}, subject, r.URL.Query()["tenant"])
		var archive []byte
		if err == nil {
			archive, err = packFiles(r.Context(), files, key)
		}
		if err != nil {
			answer(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
			return
		}
		w.Header().Set("Content-Type", "application/zip")
		w.Header().Set("Content-Disposition", `attachment; filename="dsar.zip"`)
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(archive)
	}
}

// writeArchive writes a zip as it is, or its files into a folder that must not be there yet.
func writeArchive(out string, archive []byte) error {
	if strings.HasSuffix(out, ".zip") {
		f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fmt.Errorf("writing the answer: %w", err)
		}
		_, err = f.Write(archive)
		return errors.Join(err, f.Close())
	}
	z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if err := os.Mkdir(out, 0o700); err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	for _, f := range z.File {
		if f.Name != filepath.Base(f.Name) || strings.HasPrefix(f.Name, ".") {
			return fmt.Errorf("the answer holds a file named %q", f.Name)
		}
		r, err := f.Open()
		if err != nil {
			return fmt.Errorf("reading the answer: %w", err)
		}
		src, err := io.ReadAll(io.LimitReader(r, 1<<30))
		if err = errors.Join(err, r.Close()); err != nil {
			return fmt.Errorf("reading the answer: %w", err)
		}
		if err := os.WriteFile(filepath.Join(out, f.Name), src, 0o600); err != nil {
			return fmt.Errorf("writing the answer: %w", err)
		}
	}
	return nil
}
