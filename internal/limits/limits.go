// Package limits defines profiles of limits. A profile limits sizes, which package core checks, and
// request rates, which a [Limiter] checks.
//
// Azure has the documented limits of Microsoft's service; use it to test that a client stays within
// them. Fair, the default, prevents one user from slowing down the others: it limits the size of a
// message and, for each user, the rate of requests and the bytes written in an hour. Off has none
// of these limits; use it for benchmarks. The bounds of package core apply in every profile.
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

// Profile is a named set of limits. The zero Profile is Fair.
type Profile uint8

// The profiles. Azure has the documented limits of the real service, Fair has limits that keep
// users from harming one another, and Off has no limits.
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
	Fair:  {"fair", fairSizes, fairRates},
	Azure: {"azure", azureSizes, azureRates},
	Off:   {"off", core.Limits{}, nil},
}

// Parse returns the profile with the given name: fair, azure or off. It fails for any other
// name.
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

// String returns the name of the profile, which Parse accepts.
func (p Profile) String() string { return profiles[p].name }

// Sizes returns the size limits of the profile. Package core has further limits that
// apply in every profile, such as the length of a topic.
func (p Profile) Sizes() core.Limits { return profiles[p].sizes }

// fairSizes limits messages to 64 KiB, more than twice the limit of Azure. A page of messages of
// this size is small enough for many users to read at the same time.
var fairSizes = core.Limits{Content: 64 << 10}

// azureSizes holds the size limits of Azure (docs/contract/chat.md §9).
//
// Unverified: that a KB is 1024 bytes and that sizes are in bytes of UTF-8. The
// documentation says only "28 KB" and "1KB"; Microsoft Teams counts UTF-16 code units.
var azureSizes = core.Limits{
	Participants: 250,
	PerRequest:   200,
	Content:      28 << 10,
	Metadata:     1 << 10,
	Receipts:     20,
}
