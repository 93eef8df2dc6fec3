package redisstore

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/rampart-flags/rampart/flags"
)

// pipelined is how many keys one pipeline reads.
const pipelined = 10_000

// Read gives the values of these entries, in their order. nil stands for one that
// is missing, or is of a type that no entry has.
func (s *Store) Read(ctx context.Context, keys []flags.Key) ([][]byte, error) {
	values := make([][]byte, 0, len(keys))
	for part := range slices.Chunk(keys, pipelined) {
		var err error
		if s.oneSlot() {
			values, err = s.readTogether(ctx, values, part)
		} else {
			values, err = s.readApart(ctx, values, part)
		}
		if err != nil {
			return nil, wrap(err, "reading %d entries of %s", len(keys), s.ns)
		}
	}
	return values, nil
}

func (s *Store) readTogether(ctx context.Context, values [][]byte, keys []flags.Key) ([][]byte, error) {
	p := s.client.Pipeline()
	var cmds []*redis.SliceCmd
	for part := range slices.Chunk(keys, batch) {
		names := make([]string, len(part))
		for i, k := range part {
			names[i] = s.ns.entry(k)
		}
		cmds = append(cmds, p.MGet(ctx, names...))
	}
	if _, err := s.patiently(ctx, p); err != nil {
		return nil, err
	}
	for _, cmd := range cmds {
		for _, v := range cmd.Val() {
			if text, ok := v.(string); ok {
				values = append(values, []byte(text))
			} else {
				values = append(values, nil)
			}
		}
	}
	return values, nil
}

func (s *Store) readApart(ctx context.Context, values [][]byte, keys []flags.Key) ([][]byte, error) {
	p := s.client.Pipeline()
	cmds := make([]*redis.StringCmd, len(keys))
	for i, k := range keys {
		cmds[i] = p.Get(ctx, s.ns.entry(k))
	}
	if _, err := s.patiently(ctx, p); err != nil && !isAnswer(err) {
		return nil, err
	}
	for _, cmd := range cmds {
		b, err := bytesOf(cmd)
		if err != nil {
			return nil, err
		}
		values = append(values, b)
	}
	return values, nil
}

// Entries yields every entry in the namespace with its value, in no order; one that
// is written while it is being read may come twice or with either value. It ends at
// the first error.
func (s *Store) Entries(ctx context.Context) iter.Seq2[KV, error] {
	return func(yield func(KV, error) bool) {
		scan := s.NewScan()
		for {
			keys, more, err := scan.Next(ctx)
			if err != nil {
				yield(KV{}, err)
				return
			}
			values, err := s.Read(ctx, keys)
			if err != nil {
				yield(KV{}, err)
				return
			}
			for i, k := range keys {
				if values[i] != nil && !yield(KV{k, values[i]}, nil) {
					return
				}
			}
			if !more {
				return
			}
		}
	}
}

// scanCount is how many keys of the whole Redis one SCAN looks at.
const scanCount = 1_000

// Scan goes through the names of all entries in the namespace, known to a spec or
// not. It may rest between two calls of Next for any time: it holds nothing on the
// server. An entry that is there from beginning to end is seen at least once.
type Scan struct {
	s      *Store
	nodes  []redis.Cmdable // still to be asked; nil before the first call
	begun  bool
	cursor uint64
	inner  map[string]bool // feature -> is a namespace of its own
}

// NewScan starts a scan.
func (s *Store) NewScan() *Scan { return &Scan{s: s} }

// Next gives some names, perhaps none, and whether there may be more. Keys of a
// namespace that lies inside this one are left out. After an error the same step
// can be tried again.
func (c *Scan) Next(ctx context.Context) (keys []flags.Key, more bool, err error) {
	ctx, cancel := c.s.bound(ctx)
	defer cancel()
	if err := c.begin(ctx); err != nil {
		return nil, false, wrap(err, "going through the keys of %s", c.s.ns)
	}
	names, cursor, err := c.nodes[0].Scan(ctx, c.cursor, c.s.ns.pattern(), scanCount).Result()
	if err != nil {
		return nil, false, wrap(err, "going through the keys of %s", c.s.ns)
	}
	for _, name := range names {
		k, ok := c.s.ns.parse(name)
		if !ok {
			continue
		}
		if inner, err := c.isInner(ctx, k); err != nil {
			return nil, false, wrap(err, "going through the keys of %s", c.s.ns)
		} else if !inner {
			keys = append(keys, k)
		}
	}
	if c.cursor = cursor; cursor == 0 {
		c.nodes = c.nodes[1:]
	}
	return keys, len(c.nodes) > 0, nil
}

// begin lists the servers to ask: each master of a Cluster, or the one that holds
// the namespace's slot.
func (c *Scan) begin(ctx context.Context) error {
	if c.begun && len(c.nodes) > 0 {
		return nil
	}
	if c.begun {
		return errors.New("the scan is over")
	}
	switch s := c.s; {
	case s.cluster == nil:
		c.nodes = []redis.Cmdable{s.single}
	case s.ns.tagged():
		node, err := s.cluster.MasterForKey(ctx, s.ns.system(nameMeta))
		if err != nil {
			return err
		}
		c.nodes = []redis.Cmdable{node}
	default:
		var mu sync.Mutex
		err := s.cluster.ForEachMaster(ctx, func(_ context.Context, node *redis.Client) error {
			mu.Lock()
			defer mu.Unlock()
			c.nodes = append(c.nodes, node)
			return nil
		})
		if err != nil {
			c.nodes = nil
			return err
		}
	}
	c.begun, c.inner = true, map[string]bool{}
	return nil
}

func (c *Scan) isInner(ctx context.Context, k flags.Key) (bool, error) {
	if !slices.Contains(systemNames, k.Tenant) {
		return false, nil
	}
	if inner, known := c.inner[k.Feature]; known {
		return inner, nil
	}
	inner, err := c.s.isNamespace(ctx, k.Feature)
	if err == nil {
		c.inner[k.Feature] = inner
	}
	return inner, err
}
