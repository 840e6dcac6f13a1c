// Package limits refuses what is too big or too often.
//
// What is too much is a profile. Azure has the documented ceilings of the real
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
	sizes Sizes
	rates []rate
}{
	Fair:  {"fair", Sizes{}, fairRates},
	Azure: {"azure", azureSizes, azureRates},
	Off:   {"off", Sizes{}, nil},
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

// Sizes are the ceilings of a profile. Those that hold in every profile, such
// as the length of a topic or of a page, belong to package core.
func (p Profile) Sizes() Sizes { return profiles[p].sizes }

// Sizes are ceilings; 0 is none.
type Sizes struct {
	MaxParticipants int // of a thread
	MaxPerRequest   int // participants in one create or add
	MaxContent      int // bytes of a message's content
	MaxMetadata     int // bytes of all names and values of one thread or participant

	// Read receipts and typing notifications work in threads of up to so many
	// participants. In bigger ones they are accepted and have no effect
	// (chat.md §4.3, §4.4).
	ReceiptsUpTo int
	TypingUpTo   int
}

// azureSizes is chat.md §9.
//
// Unverified: that a KB is 1024 bytes, and that bytes of UTF-8 are counted. The
// documentation says only "28 KB" and "1KB"; Teams counts UTF-16.
var azureSizes = Sizes{
	MaxParticipants: 250,
	MaxPerRequest:   200,
	MaxContent:      28 << 10,
	MaxMetadata:     1 << 10,
	ReceiptsUpTo:    20,
	TypingUpTo:      20,
}
