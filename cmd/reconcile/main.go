// Command reconcile makes Redis hold what git says: the newest flags.json whose signers were allowed
// to make it. It decides nothing about flags and cannot write git; that is propose's work.
package main

import "github.com/rampart-flags/rampart/internal/cli"

func main() { cli.Main("reconcile", run) }
