package cli

import (
	"fmt"
	"runtime/debug"
)

// version is set at link time by a release: -ldflags "-X …/internal/cli.version=v1.2.3".
var version string

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

// versionLine is what --version prints, without the command's name.
func versionLine() string {
	commit, goVersion := "unknown", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		goVersion = info.GoVersion
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return fmt.Sprintf("%s (commit %s, %s)", Version(), commit, goVersion)
}
