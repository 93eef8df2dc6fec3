package client

import "time"

// Spread replaces how a client chooses its time within a window.
func Spread(c *Client, choose func(time.Duration) time.Duration) { c.spread.Store(&choose) }

// Knock has the Redis source look whether it is time.
func Knock(c *Client) { c.redis.Load().nudge() }

// Window is the window of a spec of that many bytes.
func Window(size int) time.Duration { return window(size) }

// Wider is the window after a failure in one.
func Wider(d, took time.Duration) time.Duration { return wider(d, took) }

// Advance moves a client's clock on.
func Advance(c *Client, d time.Duration) { c.skew.Add(int64(d)) }
