package client

import "time"

// Advance moves a client's clock on.
func Advance(c *Client, d time.Duration) { c.skew.Add(int64(d)) }
