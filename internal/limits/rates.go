package limits

import (
	"fmt"
	"slices"
	"time"
)

// scope is what a count is kept for.
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

// rate is one count, which its operations share, and the windows that it has to
// keep within.
type rate struct {
	name       string // in refusals
	operations []string
	scope      scope
	windows    []window
}

type window struct {
	count int
	span  time.Duration
}

// The columns of docs/contract/chat.md §9.
const (
	shortWindow = 10 * time.Second
	minute      = time.Minute
)

// azureRates is docs/contract/chat.md §9, row by row.
//
// Unverified: that the operations of a row share one count, and those of two
// rows do not. The documentation has a row for "Send message / update message /
// delete message" and one each for creating and deleting a thread; the service
// was never seen to refuse.
//
// Unverified: that windows slide rather than start at round times, and that a
// refused request is not counted. "All requests accrue against your usage
// limits" may mean that it is, but then one client that retries early would keep
// a thread shut to all.
var azureRates = []rate{
	{"create thread", ops("create thread"), byUser, []window{{10, shortWindow}}},
	{"delete thread", ops("delete thread"), byUser, []window{{10, shortWindow}}},
	{"update thread", ops("update thread"), inThread, []window{{5, shortWindow}}},
	{"add or remove participants", ops("add participants", "remove participant"), inThread, []window{{10, shortWindow}, {30, minute}}},
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
}

// fairRates lets a user do 200 requests a second for as long as they like, in
// bursts of up to 1000. That is 40 times the fastest that Azure lets a user do
// any one thing in a thread, far above a person with a few clients and enough
// for a bot that serves many, yet a small part of what a node can do. The window
// is short so that a refused client is soon let in again. There is no count by
// thread: a busy thread is many users, and each has a share.
var fairRates = []rate{
	{"chat requests", Operations(), byUser, []window{{1000, 5 * time.Second}}},
}

// Operations are the operations that can be limited, sorted: all of chat. Those
// on identities are called with an access key, by the one who runs the server.
func Operations() []string {
	var all []string
	for _, r := range azureRates {
		all = append(all, r.operations...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func ops(names ...string) []string { return names }

// text is what a refusal says of a window.
func (r rate) text(w window) string {
	return fmt.Sprintf("%s: %d per %d s %s", r.name, w.count, w.span/time.Second, scopeNames[r.scope])
}
