// Package rampart holds what the repository itself is the source of: the workflows that "propose init --github" writes
// into a repository of flags are this project's own.
package rampart

import "embed"

// Workflows are .github/workflows/{flags-validate,flags-toggle,ramp}.yml of this repository. They call its action as "./";
// elsewhere that is an address and a commit.
//
//go:embed .github/workflows/flags-validate.yml .github/workflows/flags-toggle.yml .github/workflows/ramp.yml
var Workflows embed.FS
