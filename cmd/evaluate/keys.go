package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/ofrep"
	"github.com/rampart-flags/rampart/schema"
)

// apiKeys is who may ask. The file holds digests of the keys, never the keys:
//
//	{"version":1,"keys":[{"name":"web","sha256":"9f86d0…","tenants":["acme"],"rate":50}]}
type apiKeys struct {
	file string
	now  atomic.Pointer[keyTable]
}

type keyTable struct {
	byDigest map[[sha256.Size]byte]ofrep.Access
	tokens   map[string]bool
}

// apiKey is one line of the file. Without tenants it may ask about all.
type apiKey struct {
	Name    string   `json:"name"`
	SHA256  string   `json:"sha256"`
	Tenants []string `json:"tenants,omitzero"`
	Rate    float64  `json:"rate,omitzero"`
}

func openKeys(file string) (*apiKeys, error) {
	k := &apiKeys{file: file}
	return k, k.load()
}

// load reads the file. On an error the keys stay as they were.
func (k *apiKeys) load() error {
	src, err := os.ReadFile(k.file)
	if err != nil {
		return fmt.Errorf("reading the API keys: %w", err)
	}
	var doc struct {
		Schema  string   `json:"$schema"`
		Version int      `json:"version"`
		Keys    []apiKey `json:"keys"`
	}
	if err := schema.Decode("api-keys", k.file, src, &doc); err != nil {
		return cli.Exit(cli.ExitRefused, err)
	}
	t := &keyTable{byDigest: map[[sha256.Size]byte]ofrep.Access{}, tokens: map[string]bool{}}
	names := map[string]bool{}
	for _, key := range doc.Keys {
		var digest [sha256.Size]byte
		if _, err := hex.Decode(digest[:], []byte(key.SHA256)); err != nil {
			return cli.Exit(cli.ExitRefused, fmt.Errorf("%s: the digest of key %q: %w", k.file, key.Name, err))
		}
		if _, twice := t.byDigest[digest]; twice || names[key.Name] {
			return cli.Exit(cli.ExitRefused, fmt.Errorf("%s: key %q stands there twice", k.file, key.Name))
		}
		names[key.Name] = true
		token := ofrep.StreamToken(key.Name, digest[:])
		t.byDigest[digest] = ofrep.Access{Name: key.Name, Tenants: key.Tenants, Rate: key.Rate, Token: token}
		t.tokens[token] = true
	}
	k.now.Store(t)
	return nil
}

// authenticate takes the key from "Authorization: Bearer …" or X-API-Key. Keys are
// compared by their digests, so the time it takes says nothing about them.
func (k *apiKeys) authenticate(r *http.Request) (ofrep.Access, error) {
	key := r.Header.Get("X-Api-Key")
	if kind, bearer, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(kind, "bearer") {
		key = strings.TrimSpace(bearer)
	}
	if key == "" {
		return ofrep.Access{}, ofrep.ErrNoKey
	}
	a, ok := k.now.Load().byDigest[sha256.Sum256([]byte(key))]
	if !ok {
		return ofrep.Access{}, ofrep.ErrWrongKey
	}
	return a, nil
}

func (k *apiKeys) listen(token string) bool { return k.now.Load().tokens[token] }

const keyLong = `key makes an API key for programs that ask. The key goes to stdout: it is shown once, and is for the program. The line
for the file of --api-keys, which holds only the key's digest, goes to stderr.

With --tenant the key is for those tenants alone.`

func keyCommand(env cli.Env) *cobra.Command {
	var k apiKey
	cmd := &cobra.Command{
		Use:     "key --name NAME",
		Short:   "Make an API key",
		Long:    keyLong,
		Example: "  evaluate key --name web --tenant acme --tenant globex",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if k.Name == "" {
				return cli.Exit(cli.ExitUsage, cli.Hint(errors.New("no name given"), "set --name NAME: it tells keys apart in the file and for limits"))
			}
			var secret [24]byte
			_, _ = rand.Read(secret[:]) // never fails
			key := "rk_" + base64.RawURLEncoding.EncodeToString(secret[:])
			sum := sha256.Sum256([]byte(key))
			k.SHA256 = hex.EncodeToString(sum[:])
			fmt.Fprintln(env.Stdout, key)
			return printLine(env, k)
		},
	}
	f := cmd.Flags()
	f.StringVar(&k.Name, "name", "", "the key's `NAME`")
	f.StringSliceVar(&k.Tenants, "tenant", nil, "a tenant, by `NAME`, that the key is for")
	f.Float64Var(&k.Rate, "rate", 0, "requests a second, a `NUMBER`, that it may make; 0 for the server's --rate")
	cli.NoEnv(cmd, "name", "tenant", "rate")
	return cmd
}

func printLine(env cli.Env, k apiKey) error {
	line, err := json.Marshal(k)
	if err != nil {
		return err
	}
	env.Talk("for the file: %s", line)
	return nil
}
