package limits_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/limits"
)

func TestParse(t *testing.T) {
	for _, p := range []limits.Profile{limits.Azure, limits.Fair, limits.Off} {
		if got, err := limits.Parse(p.String()); got != p || err != nil {
			t.Errorf("Parse(%q) = %v, %v; want %v", p.String(), got, err, p)
		}
	}
	for _, name := range []string{"", "Azure", "none"} {
		_, err := limits.Parse(name)
		for _, want := range []string{`"` + name + `"`, "azure", "fair", "off"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Parse(%q) failed with %v, want a mention of %s", name, err, want)
			}
		}
	}
}

func TestZeroProfileIsFair(t *testing.T) {
	if got := limits.Profile(0).String(); got != "fair" {
		t.Errorf("the zero profile is %s, want fair", got)
	}
}

// TestUnverifiedSizes checks the size limits of each profile. The limits of Azure are from
// docs/contract/chat.md §9. Unverified: that the real service counts bytes, and that it counts 1024
// bytes per KB.
func TestUnverifiedSizes(t *testing.T) {
	for p, want := range map[limits.Profile]core.Limits{
		limits.Azure: {Participants: 250, PerRequest: 200, Content: 28672, Metadata: 1024, Receipts: 20},
		limits.Fair:  {Content: 65536},
		limits.Off:   {},
	} {
		if got := p.Sizes(); got != want {
			t.Errorf("sizes of %v are %+v, want %+v", p, got, want)
		}
	}
}

func TestOperations(t *testing.T) {
	want := []string{
		"add participants", "allocate live socket", "create thread", "delete image", "delete message", "delete thread",
		"get image", "get live configuration", "get message", "get thread", "list messages", "list participants",
		"list read receipts", "list threads", "live handshake", "open event stream", "open live socket",
		"register live client", "remove participant", "send message", "send read receipt",
		"send typing notification", "unregister live client", "update message", "update participant", "update thread", "upload image",
	}
	if got := limits.Operations(); !slices.Equal(got, want) {
		t.Errorf("operations are %q, want %q", got, want)
	}
}

func TestTablesAreConsistent(t *testing.T) {
	for _, p := range []limits.Profile{limits.Azure, limits.Fair, limits.Off} {
		if !limits.Consistent(p) {
			t.Errorf("%v has an operation with two limits of a scope, or limits by user alone and others", p)
		}
	}
}
