package redisstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"
)

// What a caller can act on. Every other error of this package is a mistake in
// what it was given.
var (
	// ErrNoMeta: the namespace holds no readable meta. It is new, was flushed, or
	// meta was damaged by hand.
	ErrNoMeta = errors.New("no generation is live")
	// ErrConflict: what is live is no longer what the plan was made from. Nothing of
	// a write that would have appeared at once was written. Read again, plan again.
	ErrConflict = errors.New("the live set has moved on")
	// ErrHeld: another holder has the lease.
	ErrHeld = errors.New("the lease is held by another")
	// ErrUnavailable: Redis could not be reached, did not answer in time, or says
	// that it cannot serve now. Trying again later may help.
	ErrUnavailable = errors.New("redis is unavailable")
	// ErrReadOnly: the server is a replica. It is an ErrUnavailable: after a failover
	// the client finds the new master.
	ErrReadOnly = fmt.Errorf("the server is a read-only replica: %w", ErrUnavailable)
	// ErrDenied: Redis wants other credentials, or its ACL forbids a command or key.
	// A person must act.
	ErrDenied = errors.New("redis denies access")
)

// errNoDatabase: the address names a database that the server does not have.
var errNoDatabase = fmt.Errorf("there is no such database: %w", ErrDenied)

// errElsewhere: the client does not know that it talks to a Cluster, or the Cluster
// changes faster than it can follow.
var errElsewhere = fmt.Errorf("the key is on another node (a Cluster is given by several addresses, or ?cluster=true): %w", ErrUnavailable)

// refusals are beginnings of Redis' own errors and what they mean to a caller.
// None of them carries a credential.
var refusals = []struct {
	prefix string
	err    error
}{
	{"READONLY", ErrReadOnly},
	{"LOADING", ErrUnavailable}, {"MASTERDOWN", ErrUnavailable}, {"CLUSTERDOWN", ErrUnavailable},
	{"TRYAGAIN", ErrUnavailable}, {"ASK", errElsewhere}, {"MOVED", errElsewhere}, {"CROSSSLOT", errElsewhere}, {"BUSY", ErrUnavailable},
	{"OOM", ErrUnavailable}, {"MISCONF", ErrUnavailable}, {"NOREPLICAS", ErrUnavailable}, {"UNBLOCKED", ErrUnavailable},
	{"ERR max number of clients", ErrUnavailable},
	{"ERR DB index", errNoDatabase}, {"NOAUTH", ErrDenied}, {"WRONGPASS", ErrDenied}, {"NOPERM", ErrDenied}, {"ERR invalid password", ErrDenied},
	{"ERR AUTH", ErrDenied}, {"ERR Client sent AUTH", ErrDenied}, {"DENIED", ErrDenied},
}

// wrap says what was being done and puts the error into its family. A context
// that the caller cancelled stays just that.
func wrap(err error, doing string, args ...any) error {
	if err == nil {
		return nil
	}
	doing = fmt.Sprintf(doing, args...)
	if family := familyOf(err); family != nil {
		return fmt.Errorf("%s: %w: %w", doing, family, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func familyOf(err error) error {
	if err == nil {
		return nil
	}
	for _, own := range []error{ErrConflict, ErrHeld, ErrUnavailable, ErrDenied, ErrNoMeta, context.Canceled} {
		if errors.Is(err, own) {
			return nil
		}
	}
	var answer redis.Error
	if errors.As(err, &answer) && !isNetwork(err) {
		text := strings.TrimPrefix(answer.Error(), "EXECABORT Transaction discarded because of: ")
		for _, r := range refusals {
			if strings.HasPrefix(text, r.prefix) {
				return r.err
			}
		}
		return nil
	}
	if isNetwork(err) {
		return ErrUnavailable
	}
	// What is left of the client's errors says that no server was found: a closed
	// pool, "all sentinels specified in configuration are unreachable", "cluster has no nodes".
	if text := err.Error(); strings.HasPrefix(text, "redis: ") || strings.Contains(text, "unreachable") || strings.Contains(text, "cluster") {
		return ErrUnavailable
	}
	return nil
}

// isNetwork tells whether the connection or the time ran out, so that what was
// sent may or may not have been done.
func isNetwork(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, redis.ErrClosed) ||
		errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrPoolExhausted)
}
