package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// signer is a key pair in two files.
type signer struct {
	file, pub string // plain PKCS #8, and PKIX
	pem       string // the public half
}

func makeKeys(dir string, names ...string) (map[string]signer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making keys: %w", err)
	}
	all := map[string]signer{}
	for _, name := range names {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("making the key of %s: %w", name, err)
		}
		s := signer{file: filepath.Join(dir, name+".key"), pub: filepath.Join(dir, name+".pub")}
		if err := writeKey(s.file, key); err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
		if err != nil {
			return nil, fmt.Errorf("making the key of %s: %w", name, err)
		}
		s.pem = string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		if err := os.WriteFile(s.pub, []byte(s.pem), 0o600); err != nil {
			return nil, fmt.Errorf("making the key of %s: %w", name, err)
		}
		all[name] = s
	}
	return all, nil
}

func writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err == nil {
		err = os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return nil
}

// trustPolicy is what every run goes by: alice may do everything, the bot may ramp by
// ten, the one on call may only lower. Reverts are let through in both directions, so
// that the schedule may use them freely.
func trustPolicy(keys map[string]signer) []byte {
	type object = map[string]any
	signers := object{}
	for _, name := range []string{"alice", "bot", "oncall"} {
		signers[name] = object{"key": keys[name].pem}
	}
	out, err := json.MarshalIndent(object{
		"version": 1, "environment": environment, "signers": signers,
		"roles": object{
			"maintainer": object{"signers": []string{"alice"}, "may": []string{"*"}},
			"ramp":       object{"signers": []string{"bot"}, "may": []string{"ramp.up", "ramp.down"}, "max_step": 10},
			"brake":      object{"signers": []string{"oncall"}, "may": []string{"ramp.down", "disable"}},
		},
		"rollback": object{"max_generations": 100000, "max_age": "8760h", "raise": true},
	}, "", "  ")
	if err != nil {
		panic(err) // maps of strings always encode
	}
	return out
}

// makeCertificate makes a certificate for 127.0.0.1 that vouches for itself. It is
// valid for a long time, since clocks jump.
func makeCertificate(dir string) (certFile, keyFile string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("making the notary's certificate: %w", err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "notary"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return "", "", fmt.Errorf("making the notary's certificate: %w", err)
	}
	certFile, keyFile = filepath.Join(dir, "notary.pem"), filepath.Join(dir, "notary.key")
	if err := os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		return "", "", fmt.Errorf("writing the notary's certificate: %w", err)
	}
	return certFile, keyFile, writeKey(keyFile, key)
}
