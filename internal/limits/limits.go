// Package limits holds the profiles of limits, and refuses requests that come too
// often. Package core applies the sizes of a profile.
//
// Azure has the documented ceilings of the real
// service, so that a client that passes here passes there. Fair, the default,
// lifts them and keeps one user from starving the others. Off is for benchmarks.
//
//	l := limits.New(limits.Azure, time.Now)
//	if refusal, ok := l.Allow("send message", user, thread); !ok {
//		// 429: refusal.Limit was hit, retry after refusal.RetryAfter
//	}
package limits

import (
	"fmt"
	"strings"

	"github.com/confab-chat/confab/internal/core"
)

// Profile is a set of limits. The zero Profile is Fair.
type Profile uint8

// The profiles.
const (
	Fair Profile = iota
	Azure
	Off
)

var profiles = [...]struct {
	name  string
	sizes core.Limits
	rates []rate
}{
	Fair:  {"fair", core.Limits{}, fairRates},
	Azure: {"azure", azureSizes, azureRates},
	Off:   {"off", core.Limits{}, nil},
}

// Parse finds a profile by its name.
func Parse(name string) (Profile, error) {
	var names []string
	for p := range profiles {
		if profiles[p].name == name {
			return Profile(p), nil
		}
		names = append(names, profiles[p].name)
	}
	return 0, fmt.Errorf("unknown limits profile %q: it is one of %s", name, strings.Join(names, ", "))
}

// String is the name that Parse reads.
func (p Profile) String() string { return profiles[p].name }

// Sizes returns the sizes that a profile allows. Those that hold in every profile,
// such as the length of a topic or of a page, belong to package core.
func (p Profile) Sizes() core.Limits { return profiles[p].sizes }

// azureSizes is docs/contract/chat.md §9.
//
// Unverified: that a KB is 1024 bytes, and that bytes of UTF-8 are counted. The
// documentation says only "28 KB" and "1KB"; Teams counts UTF-16.
var azureSizes = core.Limits{
	Participants: 250,
	PerRequest:   200,
	Content:      28 << 10,
	Metadata:     1 << 10,
	Receipts:     20,
}
