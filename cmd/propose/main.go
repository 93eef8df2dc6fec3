// Command propose changes feature flags in git: it edits flags.json, signs it and commits it. It
// never touches what is live; that is reconcile's work, which decides nothing.
package main

import "github.com/rampart-flags/rampart/internal/cli"

func main() { cli.Main("propose", run) }
