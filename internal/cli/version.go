package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version and commit are set at link time by a release: -ldflags "-X …/internal/cli.version=v1.2.3".
var version, commit string

// Version is the release, or what the build knows of itself: "v1.2.3", "devel".
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

// Commit is the full commit that this program was built from, "" where the build does not know, or
// was made from more than a commit: "go install …@v1.2.3" knows the version only.
func Commit() string {
	if hash, modified := revision(); !modified {
		return hash
	}
	return ""
}

func revision() (hash string, modified bool) {
	if commit != "" {
		return commit, false
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "", false
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			hash = s.Value
		case "vcs.modified":
			modified = s.Value == "true"
		}
	}
	return hash, modified
}

// versionLine is what --version prints, without the command's name.
func versionLine() string {
	built := "unknown"
	if hash, modified := revision(); hash != "" {
		built = hash[:min(12, len(hash))]
		if modified {
			built += ", modified"
		}
	}
	return fmt.Sprintf("%s (commit %s, %s)", Version(), built, runtime.Version())
}
