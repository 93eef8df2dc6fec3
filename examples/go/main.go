// A small Go service that asks Rampart whether a feature is on.
//
//	FLAGS_REDIS_URL=redis://127.0.0.1:6379 go run ./examples/go
//	curl -i -H 'X-Tenant-ID: acme' -H 'X-User-ID: user-123' http://127.0.0.1:3002/pay
//
// Without Redis, RAMPART_SPEC=specs/flags.json or FLAGS_JSON='{"receipts:__default__":{"enabled":true,"ramp_pct":50}}' does.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rampart-flags/rampart/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	flags, err := client.Open(ctx, client.Options{})
	if err != nil {
		return err
	}
	defer flags.Close()
	flags.OnChange(func(e client.Event) {
		log.Printf("flags %s: generation %d from %s", e.Kind, e.Snapshot.Generation, e.Snapshot.Source)
	})
	if flags.Worker("receipts").On {
		log.Print("this process leaves receipts")
	}

	mux := http.NewServeMux()
	mux.Handle("/pay", flags.Gate("receipts", withReceipt)(http.HandlerFunc(pay)))
	mux.HandleFunc("/features", func(w http.ResponseWriter, r *http.Request) {
		who, _ := client.FromContext(r.Context())
		all := map[string]client.Decision{}
		for name, d := range who.All() {
			all[name] = d
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(all)
	})
	srv := &http.Server{Handler: flags.Middleware(mux), ReadHeaderTimeout: 5 * time.Second}
	l, err := net.Listen("tcp", cmp.Or(os.Getenv("ADDRESS"), "127.0.0.1:3002"))
	if err != nil {
		return err
	}
	log.Printf("listening at http://%s", l.Addr())
	context.AfterFunc(ctx, func() { srv.Close() })
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// pay is what the service does with and without the feature.
func pay(w http.ResponseWriter, r *http.Request) {
	who, _ := client.FromContext(r.Context())
	fmt.Fprintf(w, "paid by %s of %s\n", who.User(), who.Tenant())
}

// withReceipt is what the feature adds.
func withReceipt(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Receipt", "signed")
		next.ServeHTTP(w, r)
	})
}
