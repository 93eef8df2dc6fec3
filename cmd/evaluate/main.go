// Command evaluate answers whether features are on, over OpenFeature's remote protocol, for programs in any language. It reads
// what a reconciler made live and can change nothing: it carries neither git nor a signing key, and any number of them may run.
package main

import "github.com/rampart-flags/rampart/internal/cli"

func main() { cli.Main("evaluate", run) }
