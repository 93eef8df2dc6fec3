package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// links are the TCP connections between the processes, each by a proxy that can be cut,
// held and slowed.
type links struct {
	mu     sync.Mutex
	server *toxiproxy.ApiServer
	all    map[string]*toxiproxy.Proxy
}

func newLinks() *links {
	zerolog.SetGlobalLevel(zerolog.Disabled) // the proxy has a logger of its own in places
	return &links{
		server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()),
		all:    map[string]*toxiproxy.Proxy{},
	}
}

// open makes a link and returns the address to dial instead of upstream.
func (l *links) open(name, listen, upstream string) error {
	p := toxiproxy.NewProxy(l.server, name, listen, upstream)
	if err := p.Start(); err != nil {
		return fmt.Errorf("opening the link %s: %w", name, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all[name] = p
	return nil
}

// cut closes the connections and refuses new ones.
func (l *links) cut(name string) { l.proxy(name).Stop() }

// hold takes connections and lets nothing through.
func (l *links) hold(name string) error {
	return l.toxics(name, `{"name":"hold","type":"timeout","stream":"downstream","attributes":{"timeout":0}}`,
		`{"name":"hold-up","type":"timeout","stream":"upstream","attributes":{"timeout":0}}`)
}

// delay adds this much, and as much again of jitter, to every answer.
func (l *links) delay(name string, d time.Duration) error {
	return l.toxics(name, fmt.Sprintf(`{"name":"delay","type":"latency","stream":"downstream","attributes":{"latency":%d,"jitter":%d}}`, d.Milliseconds(), d.Milliseconds()/2))
}

// narrow lets so many KB a second through.
func (l *links) narrow(name string, kb int) error {
	return l.toxics(name, fmt.Sprintf(`{"name":"narrow","type":"bandwidth","stream":"downstream","attributes":{"rate":%d}}`, kb))
}

func (l *links) toxics(name string, all ...string) error {
	p := l.proxy(name)
	for _, src := range all {
		if _, err := p.Toxics.AddToxicJson(strings.NewReader(src)); err != nil && !strings.Contains(err.Error(), "already exists") {
			return fmt.Errorf("slowing the link %s: %w", name, err)
		}
	}
	return nil
}

// mend makes a link whole again. Connections that were held are cut: what a broken
// network does to them in the end.
func (l *links) mend(name string) error {
	p := l.proxy(name)
	p.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	p.Toxics.ResetToxics(ctx)
	var last error // the old listener may take a moment to go
	err := eventually(10*time.Second, "the port of the link "+name, func() bool {
		last = p.Start()
		return last == nil || errors.Is(last, toxiproxy.ErrProxyAlreadyStarted)
	})
	if err != nil {
		return fmt.Errorf("mending the link %s: %w: %w", name, err, last)
	}
	return nil
}

func (l *links) proxy(name string) *toxiproxy.Proxy {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.all[name]
	if p == nil {
		panic("no link is called " + name)
	}
	return p
}

func (l *links) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.all {
		p.Stop()
	}
}
