package keyless

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"
)

// SignOptions says which sigstore to sign with.
type SignOptions struct {
	// Token gets the OpenID token that says who signs: [GitHubToken], [BrowserToken],
	// or one that was given.
	Token func(context.Context) (string, error)
	// SigningConfig names the services, as JSON of media type
	// "application/vnd.dev.sigstore.signingconfig.v0.2+json". Nil: that of the public
	// sigstore, fetched and verified through its TUF repository.
	SigningConfig []byte
	// TrustedRoot checks the new bundle before it is returned. Nil: that of the public
	// sigstore where SigningConfig is nil too; else nothing is checked.
	TrustedRoot []byte
	// Timeout is for each request. Zero means 30 seconds.
	Timeout time.Duration
}

// Sign makes a keyless bundle over message: an ephemeral key, a certificate for it
// from Fulcio, a timestamp and a log entry from those services that the signing
// config names. The result is one line of JSON and a line end. The private key never
// leaves memory and is forgotten at the end.
func Sign(ctx context.Context, message []byte, opt SignOptions) ([]byte, error) {
	config, trusted, err := opt.services()
	if err != nil {
		return nil, err
	}
	if opt.Token == nil {
		return nil, errors.New("signing without a key: no way to get an OpenID token")
	}
	token, err := opt.Token(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking who signs: %w", err)
	}
	bundleOpt, err := bundleOptions(ctx, config, token, opt.timeout())
	if err != nil {
		return nil, err
	}
	if trusted != nil {
		bundleOpt.TrustedRoot = trusted
	}
	keypair, err := sign.NewEphemeralKeypair(nil)
	if err != nil {
		return nil, fmt.Errorf("making an ephemeral key: %w", err)
	}
	pb, err := sign.Bundle(&sign.PlainData{Data: message}, keypair, bundleOpt)
	if err != nil {
		return nil, fmt.Errorf("signing without a key: %w", err)
	}
	wire, err := protojson.Marshal(pb)
	if err != nil {
		return nil, fmt.Errorf("encoding the bundle: %w", err)
	}
	var out bytes.Buffer // protojson varies its white space on purpose
	if err := json.Compact(&out, wire); err != nil {
		return nil, fmt.Errorf("encoding the bundle: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

func (o SignOptions) timeout() time.Duration {
	if o.Timeout == 0 {
		return 30 * time.Second
	}
	return o.Timeout
}

// services reads, or fetches, what to sign with and what to check the result with.
func (o SignOptions) services() (*root.SigningConfig, root.TrustedMaterial, error) {
	if o.SigningConfig == nil && o.TrustedRoot == nil {
		config, err := root.FetchSigningConfig()
		if err != nil {
			return nil, nil, fmt.Errorf("fetching the public sigstore's signing config: %w", err)
		}
		trusted, err := root.FetchTrustedRoot()
		if err != nil {
			return nil, nil, fmt.Errorf("fetching the public sigstore's trusted root: %w", err)
		}
		return config, trusted, nil
	}
	var trusted root.TrustedMaterial
	if o.TrustedRoot != nil {
		tr, err := root.NewTrustedRootFromJSON(o.TrustedRoot)
		if err != nil {
			return nil, nil, fmt.Errorf("reading the trusted root: %w: %w", ErrTrustedRoot, err)
		}
		trusted = tr
	}
	if o.SigningConfig == nil {
		config, err := root.FetchSigningConfig()
		if err != nil {
			return nil, nil, fmt.Errorf("fetching the public sigstore's signing config: %w", err)
		}
		return config, trusted, nil
	}
	config, err := root.NewSigningConfigFromJSON(o.SigningConfig)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the signing config: %w", err)
	}
	return config, trusted, nil
}

// bundleOptions picks one Fulcio and as many logs and timestamp authorities as the
// signing config asks for.
func bundleOptions(ctx context.Context, config *root.SigningConfig, token string, timeout time.Duration) (sign.BundleOptions, error) {
	now := time.Now()
	opt := sign.BundleOptions{Context: ctx, CertificateProviderOptions: &sign.CertificateProviderOptions{IDToken: token}}
	fulcio, err := root.SelectService(config.FulcioCertificateAuthorityURLs(), sign.FulcioAPIVersions, now)
	if err != nil {
		return opt, fmt.Errorf("choosing a certificate authority from the signing config: %w", err)
	}
	opt.CertificateProvider = sign.NewFulcio(&sign.FulcioOptions{BaseURL: fulcio.URL, Timeout: timeout, Retries: 1})
	if urls := config.TimestampAuthorityURLs(); len(urls) > 0 {
		tsas, err := root.SelectServices(urls, config.TimestampAuthorityURLsConfig(), sign.TimestampAuthorityAPIVersions, now)
		if err != nil {
			return opt, fmt.Errorf("choosing a timestamp authority from the signing config: %w", err)
		}
		for _, s := range tsas {
			opt.TimestampAuthorities = append(opt.TimestampAuthorities,
				sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{URL: s.URL, Timeout: timeout, Retries: 1}))
		}
	}
	if urls := config.RekorLogURLs(); len(urls) > 0 {
		logs, err := root.SelectServices(urls, config.RekorLogURLsConfig(), sign.RekorAPIVersions, now)
		if err != nil {
			return opt, fmt.Errorf("choosing a log from the signing config: %w", err)
		}
		for _, s := range logs {
			opt.TransparencyLogs = append(opt.TransparencyLogs,
				sign.NewRekor(&sign.RekorOptions{BaseURL: s.URL, Timeout: timeout, Retries: 1, Version: s.MajorAPIVersion}))
		}
	}
	if len(opt.TimestampAuthorities)+len(opt.TransparencyLogs) == 0 {
		return opt, errors.New("the signing config names neither log nor timestamp authority: nobody could check the signature once the certificate has run out")
	}
	return opt, nil
}
