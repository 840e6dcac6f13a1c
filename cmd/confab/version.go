package main

import (
	"fmt"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// version is the version of a release, such as 0.1.0. The build of a release sets it with -ldflags
// "-X main.version=0.1.0"; in other builds it is empty.
var version string

// nextVersion is the version of the next release.
const nextVersion = "0.2.0"

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), versionLine())
			return err
		},
	}
}

// buildVersion returns the version of this program for files, metrics and reports. For a release
// it is the release's version, such as 0.1.0. Otherwise it is the next release's version with
// the commit, if that is known, such as 0.2.0-dev+137454b0bd21.
func buildVersion() string {
	info, _ := debug.ReadBuildInfo() // info is nil if the program has no build information
	return versionOf(version, info)
}

// shortVersion returns the version of this program without the commit, for people to read:
// 0.1.0, or 0.2.0-dev.
func shortVersion() string { return plainVersion(buildVersion()) }

// plainVersion removes the commit from a version: 0.2.0-dev+137454b0bd21 becomes 0.2.0-dev.
func plainVersion(version string) string {
	plain, _, _ := strings.Cut(version, "+")
	return plain
}

// released matches the version of a module that was built from a tag, such as v0.1.0. It does not
// match a version that Go makes of a time and a commit, or the version of a working folder with
// changes.
var released = regexp.MustCompile(`^v(\d+\.\d+\.\d+(-[A-Za-z][0-9A-Za-z.]*)?)$`)

// versionOf implements buildVersion. The argument set is the version that the linker set in a
// release, or empty. info is Go's build information, or nil.
func versionOf(set string, info *debug.BuildInfo) string {
	if set != "" {
		return strings.TrimPrefix(set, "v")
	}
	dev := nextVersion + "-dev"
	if info == nil {
		return dev
	}
	if tag := released.FindStringSubmatch(info.Main.Version); tag != nil {
		return tag[1]
	}
	if commit, _ := commitOf(info); commit != "" {
		return dev + "+" + commit
	}
	return dev
}

// commitOf returns the first 12 digits of the commit from which a program was built, and whether
// the code had changes since that commit. The commit is empty if it is unknown.
func commitOf(info *debug.BuildInfo) (commit string, changed bool) {
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			commit = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			changed = s.Value == "true"
		}
	}
	if made := madeUp.FindStringSubmatch(info.Main.Version); commit == "" && made != nil {
		commit = made[1] // after "go install ...@latest", only the version contains the commit
	}
	return commit, changed
}

// madeUp matches the end of a version that Go made of a time and a commit, such as
// v0.0.0-20261128173315-137454b0bd21.
var madeUp = regexp.MustCompile(`[-.]\d{14}-([0-9a-f]{12})(\+|$)`)

// versionLine returns the program's name with its version, Go's version, the platform and
// the commit, if known.
func versionLine() string {
	text := fmt.Sprintf("confab %s (%s, %s/%s", shortVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if info, ok := debug.ReadBuildInfo(); ok {
		if commit, changed := commitOf(info); commit != "" {
			text += ", commit " + commit
			if changed {
				text += " with changes"
			}
		}
	}
	return text + ")"
}
