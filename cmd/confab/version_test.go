package main

import (
	"runtime/debug"
	"testing"
)

// TestVersions checks that the version for people has no time or commit, and that the version
// for files and reports has the commit.
func TestVersions(t *testing.T) {
	const commit = "137454b0bd2132f2c9a1b6b8e9f3a5c4d7e6f8a9"
	info := func(version, revision string) *debug.BuildInfo {
		b := &debug.BuildInfo{Main: debug.Module{Version: version}}
		if revision != "" {
			b.Settings = []debug.BuildSetting{{Key: "vcs.revision", Value: revision}, {Key: "vcs.modified", Value: "true"}}
		}
		return b
	}
	for _, c := range []struct {
		set   string
		info  *debug.BuildInfo
		full  string
		plain string
	}{
		{"0.1.0", info("(devel)", commit), "0.1.0", "0.1.0"},
		{"", nil, "0.2.0-dev", "0.2.0-dev"},
		{"", info("", ""), "0.2.0-dev", "0.2.0-dev"},
		{"", info("(devel)", ""), "0.2.0-dev", "0.2.0-dev"},
		{"", info("(devel)", commit), "0.2.0-dev+137454b0bd21", "0.2.0-dev"},
		{"", info("v0.0.0-20261128173315-137454b0bd21", ""), "0.2.0-dev+137454b0bd21", "0.2.0-dev"},
		{"", info("v0.0.0-20261128173315-137454b0bd21+dirty", commit), "0.2.0-dev+137454b0bd21", "0.2.0-dev"},
		{"", info("v0.1.1-0.20261128173315-137454b0bd21", ""), "0.2.0-dev+137454b0bd21", "0.2.0-dev"},
		{"", info("v0.2.0-rc.1.0.20261128173315-137454b0bd21", ""), "0.2.0-dev+137454b0bd21", "0.2.0-dev"},
		{"", info("v0.1.3+dirty", commit), "0.2.0-dev+137454b0bd21", "0.2.0-dev"},
		{"", info("v0.1.3", commit), "0.1.3", "0.1.3"},
		{"", info("v0.2.0-rc.1", ""), "0.2.0-rc.1", "0.2.0-rc.1"},
	} {
		full := versionOf(c.set, c.info)
		if plain := plainVersion(full); full != c.full || plain != c.plain {
			t.Errorf("%q, %+v: got %s and %s, want %s and %s", c.set, c.info, full, plain, c.full, c.plain)
		}
	}
}
