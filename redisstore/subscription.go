package redisstore

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// firstAgain is the pause before a lost subscription begins anew; it doubles up to
	// lastAgain while it is in vain. The driver's own is the same for everybody: ten
	// thousand subscriptions would be back within the same tenth of a second, and each
	// asks for meta.
	firstAgain = time.Second
	lastAgain  = 5 * time.Second
	// pingEvery is how often a subscription that hears nothing says that it is there.
	pingEvery = 3 * time.Second
)

var errSettled = errors.New("a subscription that was lost begins anew after a pause")

// subscription keeps one subscription alive and hands on what it says: a
// *redis.Subscription each time it has begun, and each *redis.Message.
type subscription struct {
	s       *Store
	channel string
	events  chan any
	tried   bool // an answer is no longer the first
	up      bool // this connection was subscribed
}

// run goes on until the context ends, or the first answer of Redis denies access.
func (l *subscription) run(ctx context.Context) error {
	wait := firstAgain
	for {
		l.up = false
		err := l.connection(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !l.tried && errors.Is(familyOf(err), ErrDenied) {
			return err
		}
		l.tried = true
		if l.up {
			wait = firstAgain
		}
		l.s.log.Debug("a subscription was lost, and begins anew", slog.String("channel", l.channel), slog.Any("err", err))
		if err := pause(ctx, spread(wait)); err != nil {
			return err
		}
		wait = min(2*wait, lastAgain)
	}
}

// connection subscribes once and listens until that connection is lost.
func (l *subscription) connection(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var settled atomic.Bool
	only := context.WithValue(ctx, settledKey{}, &settled)
	ps := l.s.client.Subscribe(only, l.channel)
	settled.Store(true) // the driver would connect again as soon as it loses this one
	defer ps.Close()
	defer context.AfterFunc(ctx, func() { _ = ps.Close() })() // no deadline ends its read
	var heard atomic.Int64
	heard.Store(time.Now().UnixNano())
	go func() {
		for pause(ctx, pingEvery) == nil {
			silent := time.Since(time.Unix(0, heard.Load()))
			if silent < pingEvery {
				continue
			}
			if silent > 2*pingEvery+l.s.timeout || ps.Ping(only) != nil {
				_ = ps.Close() // its read never ends
				return
			}
		}
	}()
	for {
		event, err := ps.Receive(only)
		if err != nil {
			return err
		}
		heard.Store(time.Now().UnixNano())
		switch event.(type) {
		case *redis.Subscription:
			l.tried, l.up = true, true
		case *redis.Message:
		default:
			continue
		}
		select {
		case l.events <- event:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

type settledKey struct{}

type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

// unlessSettled connects, but not for a subscription that has had its connection.
func unlessSettled(dial dialer) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if settled, ok := ctx.Value(settledKey{}).(*atomic.Bool); ok && settled.Load() {
			return nil, errSettled
		}
		return dial(ctx, network, addr)
	}
}

// settledHook refuses such a connection before sentinels are asked where it would go.
type settledHook struct{}

func (settledHook) DialHook(next redis.DialHook) redis.DialHook { return unlessSettled(next) }

func (settledHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (settledHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
