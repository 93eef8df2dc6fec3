package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/internal/cli"
)

func run(ctx context.Context, env cli.Env) error { return cli.Run(ctx, newRoot(env), env, nil) }

func newRoot(env cli.Env) *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "notary [flags]",
		Short: "A local stand-in for an outside notary",
		Long: `notary confirms checkpoints for trying things out and for tests. It is no outside witness: it proves nothing about you to anybody else.

  POST /anchor    any JSON object; answers {"notary_id": "…"}. The same Idempotency-Key gives the same id
  GET  /anchors   what it has confirmed, newest last, one JSON object a line
  GET  /healthz   {"ok": true}
  PUT  /fault     {"fail": 503, "delay": "2s", "wrong": "empty"}: misbehave from now on; {} behaves again

With --store it keeps what it saw over a restart.`,
		Example: `  notary --listen 127.0.0.1:4700
  notary --tls-cert notary.pem --tls-key notary.key --client-ca rampart-ca.pem --token-file token`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd.Context(), env, s) },
	}
	f := cmd.Flags()
	f.StringVar(&s.listen, "listen", "127.0.0.1:4700", "`ADDRESS` to listen at; port 0 takes a free one")
	f.StringVar(&s.store, "store", "", "keep what was confirmed in `FILE`")
	f.StringVar(&s.cert, "tls-cert", "", "our certificate in `FILE`; with it the notary speaks TLS 1.2 or later only")
	f.StringVar(&s.key, "tls-key", "", "the certificate's key in `FILE`")
	f.StringVar(&s.clientCA, "client-ca", "", "ask clients for a certificate that comes from those in `FILE`")
	f.StringVar(&s.tokenFile, "token-file", "", "ask for the bearer token in `FILE`")
	return cmd
}

type settings struct{ listen, store, cert, key, clientCA, tokenFile string }

func serve(ctx context.Context, env cli.Env, s settings) error {
	n, err := openNotary(s.store)
	if err != nil {
		return err
	}
	defer n.close()
	if s.tokenFile != "" {
		token, err := os.ReadFile(s.tokenFile)
		if err != nil {
			return fmt.Errorf("reading the token: %w", err)
		}
		if n.token = strings.TrimSpace(string(token)); n.token == "" {
			return cli.Exit(cli.ExitUsage, fmt.Errorf("the token file %s is empty", s.tokenFile))
		}
	}
	conf, err := s.tls()
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", s.listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	scheme := "http"
	if conf != nil {
		scheme, ln = "https", tls.NewListener(ln, conf)
	}
	srv := &http.Server{
		Handler:           http.MaxBytesHandler(n.routes(), 1<<20),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	env.Talk("notary listens at %s://%s", scheme, ln.Addr())
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	// Requests that wait for a delay see the context end, so the grace is short.
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return srv.Shutdown(grace)
}

func (s settings) tls() (*tls.Config, error) {
	if s.cert == "" && s.key == "" {
		if s.clientCA != "" {
			return nil, cli.Exit(cli.ExitUsage, errors.New("--client-ca needs --tls-cert and --tls-key"))
		}
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(s.cert, s.key)
	if err != nil {
		return nil, fmt.Errorf("loading the certificate: %w", err)
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}
	if s.clientCA != "" {
		pem, err := os.ReadFile(s.clientCA)
		if err != nil {
			return nil, fmt.Errorf("reading the clients' CA: %w", err)
		}
		conf.ClientCAs, conf.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !conf.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("no certificate in %s", s.clientCA)
		}
	}
	return conf, nil
}
