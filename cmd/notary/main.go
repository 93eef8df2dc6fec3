// Command notary is a small notary for trying things out and for tests: it confirms what it is sent, keeps it, and can be told
// to fail, to be slow, or to answer wrongly. A notary that proves something is run by somebody else.
package main

import "github.com/rampart-flags/rampart/internal/cli"

func main() { cli.Main("notary", run) }
