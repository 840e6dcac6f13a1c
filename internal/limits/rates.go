package limits

import (
	"fmt"
	"slices"
	"time"
)

// scope says which requests a limit counts together: all requests of a user, all requests in a
// thread, or all requests of a user in a thread.
type scope uint8

const (
	byUser scope = iota
	inThread
	byUserInThread
	numScopes
)

var scopeNames = [numScopes]string{
	byUser:         "by a user",
	inThread:       "in a thread",
	byUserInThread: "by a user in a thread",
}

// rate is a rate limit. The requests of all its operations are counted together, and the count
// must not exceed the limit of any of its windows.
type rate struct {
	name       string // name in Refusal.Limit
	operations []string
	scope      scope
	windows    []window
}

// window allows at most count requests in any period of length span.
type window struct {
	count int
	span  time.Duration
}

// The lengths of windows in the table of docs/contract/chat.md §9.
const (
	shortWindow = 10 * time.Second
	minute      = time.Minute
)

// azureRates holds the rate limits of Azure, in the order of docs/contract/chat.md §9.
//
// Unverified: that operations in one row of the documentation, such as "Send message / update
// message / delete message", are counted together, and operations in different rows are not. No
// recording has a refusal.
//
// Unverified: that windows slide, and that refused requests are not counted. The sentence "All
// requests accrue against your usage limits" may mean that refused requests count too, but then
// one client that retries too early would block a thread for all users.
var azureRates = []rate{
	{"create thread", ops("create thread"), byUser, []window{{10, shortWindow}}},
	{"delete thread", ops("delete thread"), byUser, []window{{10, shortWindow}}},
	{"update thread", ops("update thread"), inThread, []window{{5, shortWindow}}},
	{"add or remove participants", ops("add participants", "update participant", "remove participant"), inThread, []window{{10, shortWindow}, {30, minute}}},
	{"get or list threads", ops("get thread", "list threads"), byUser, []window{{50, shortWindow}}},
	{"get message", ops("get message"), byUserInThread, []window{{50, shortWindow}}},
	{"get message", ops("get message"), inThread, []window{{250, shortWindow}}},
	{"list messages", ops("list messages"), byUserInThread, []window{{50, shortWindow}, {200, minute}}},
	{"list messages", ops("list messages"), inThread, []window{{250, shortWindow}, {400, minute}}},
	{"list read receipts", ops("list read receipts"), byUserInThread, []window{{5, shortWindow}}},
	{"list read receipts", ops("list read receipts"), inThread, []window{{100, shortWindow}}},
	{"list participants", ops("list participants"), byUserInThread, []window{{10, shortWindow}}},
	{"list participants", ops("list participants"), inThread, []window{{250, shortWindow}}},
	{"send, update or delete message", ops("send message", "update message", "delete message"), inThread, []window{{10, shortWindow}, {30, minute}}},
	{"send read receipt", ops("send read receipt"), byUserInThread, []window{{10, shortWindow}, {30, minute}}},
	{"send typing notification", ops("send typing notification"), byUserInThread, []window{{5, shortWindow}, {15, minute}}},
	{"send typing notification", ops("send typing notification"), inThread, []window{{10, shortWindow}, {30, minute}}},
	{"upload, get or delete image", ops("upload image", "get image", "delete image"), byUserInThread, []window{{50, shortWindow}}}, // Unverified: Azure documents none.
}

// OpenEventStream is the name of the operation GET /chat/events. The route is Confab's own;
// Azure does not have it.
const OpenEventStream = "open event stream"

// fairRates allows each user 200 requests a second on average, in bursts of up to 1000. This is 40
// times the highest rate that Azure allows a user for one operation. It is enough for a bot that
// serves many people, but a small part of what a server can handle. The window is short, so that a
// refused client is soon allowed again. Threads have no limit, because a busy thread has many
// users.
var fairRates = []rate{
	{"chat requests", Operations(), byUser, []window{{1000, 5 * time.Second}}},
}

// liveOperations are OpenEventStream and the operations of the official protocol for live
// events. Azure documents no rate limits for them.
var liveOperations = ops(OpenEventStream, "get live configuration", "allocate live socket", "live handshake", "open live socket",
	"register live client", "unregister live client")

// Operations returns the sorted names of the operations that have a rate limit in some profile:
// the operations of all chat routes and of live events. Identity routes have no rate limit,
// because only the owner of the server, who has an access key, calls them.
func Operations() []string {
	all := LiveOperations()
	for _, r := range azureRates {
		all = append(all, r.operations...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// LiveOperations returns the names of the operations of the event stream and of the official
// protocol for live events.
func LiveOperations() []string { return slices.Clone(liveOperations) }

func ops(names ...string) []string { return names }

// text describes the limit of a window in the words that Refusal.Limit shows.
func (r rate) text(w window) string {
	return fmt.Sprintf("%s: %d per %d s %s", r.name, w.count, w.span/time.Second, scopeNames[r.scope])
}
