package postgres

import (
	"cmp"
	"maps"
	"slices"

	"github.com/confab-chat/confab/internal/core"
)

// rows are what a batch writes, as its changes leave them in the end: a
// statement may touch a row only once. Within a batch later changes win, and a
// purge takes away what came before it.
type rows struct {
	heads    []*core.Head
	users    []core.User
	messages []message // added
	rewrites map[core.MessageKey]message
	members  map[core.ReceiptKey]core.Member
	receipts map[core.ReceiptKey]*core.Receipt // nil: deleted
	sent     map[core.SendKey]int64
	answers  []answer
	lists    map[entry]bool // false: deleted
	purged   map[string]bool
	events   []core.Event
	day      uint32
}

type message struct {
	thread string
	*core.Message
}

// entry of a user's list of threads.
type entry struct {
	user   string
	minute int64
	thread string
}

// collect gathers the rows of the changes that were applied. Heads and users are
// in the order of their ids, which is the order of locking.
func collect(outcomes []core.Outcome, s *core.BatchState) *rows {
	r := &rows{
		rewrites: map[core.MessageKey]message{}, members: map[core.ReceiptKey]core.Member{},
		receipts: map[core.ReceiptKey]*core.Receipt{}, sent: map[core.SendKey]int64{},
		lists: map[entry]bool{}, purged: map[string]bool{}, day: s.Day,
	}
	heads, users := map[string]bool{}, map[string]bool{}
	for _, o := range outcomes {
		if o.Status != core.Applied {
			continue
		}
		for _, u := range o.Change.PutUsers {
			users[u.ID] = true
		}
		if o.Change.Thread != "" {
			heads[o.Change.Thread] = true
			r.change(o.Change)
		}
		for _, m := range o.ListMoves {
			if m.From != 0 {
				r.lists[entry{m.User, m.From, m.Thread}] = false
			}
			r.lists[entry{m.User, m.To, m.Thread}] = true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(heads)) {
		r.heads = append(r.heads, s.Heads[id])
	}
	for _, id := range slices.Sorted(maps.Keys(users)) {
		r.users = append(r.users, s.Users[id])
	}
	return r
}

func (r *rows) empty() bool { return len(r.heads) == 0 && len(r.users) == 0 }

func (r *rows) change(c *core.Change) {
	for _, m := range c.Members {
		r.members[core.ReceiptKey{Thread: c.Thread, User: m.User}] = m
	}
	for i := range c.Messages {
		r.messages = append(r.messages, message{c.Thread, &c.Messages[i]})
	}
	for i := range c.Rewrites {
		m := &c.Rewrites[i].Message
		r.rewrites[core.MessageKey{Thread: c.Thread, ID: m.ID}] = message{c.Thread, m}
	}
	if c.Receipt != nil {
		r.receipts[core.ReceiptKey{Thread: c.Thread, User: c.Receipt.User}] = c.Receipt
	}
	for _, user := range c.DropReceipts {
		r.receipts[core.ReceiptKey{Thread: c.Thread, User: user}] = nil
	}
	if c.SendToken != "" {
		r.sent[core.SendKey{Thread: c.Thread, Caller: c.Caller, Token: c.SendToken}] = c.Messages[0].ID
	}
	if c.Answer != nil {
		r.answers = append(r.answers, answer{c.Thread, c.Answer})
	}
	if c.Purge {
		r.purge(c.Thread)
	}
	r.events = append(r.events, c.Events...)
}

// purge takes away everything of a thread but its head, members, first answer
// and events.
func (r *rows) purge(thread string) {
	r.purged[thread] = true
	r.messages = slices.DeleteFunc(r.messages, func(m message) bool { return m.thread == thread })
	maps.DeleteFunc(r.rewrites, func(k core.MessageKey, _ message) bool { return k.Thread == thread })
	maps.DeleteFunc(r.receipts, func(k core.ReceiptKey, _ *core.Receipt) bool { return k.Thread == thread })
	maps.DeleteFunc(r.sent, func(k core.SendKey, _ int64) bool { return k.Thread == thread })
}

// pair is a key with its row, in place of a map where columns are needed.
type pair[K comparable, V any] struct {
	key K
	row V
}

func pairs[K comparable, V any](m map[K]V, keep func(V) bool) (ps []pair[K, V]) {
	for k, v := range m {
		if keep == nil || keep(v) {
			ps = append(ps, pair[K, V]{k, v})
		}
	}
	return ps
}

// inOrder sorts entries of lists, so that neighbours in the index are written together.
func inOrder(es []entry) []entry {
	slices.SortFunc(es, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.user, b.user), cmp.Compare(a.minute, b.minute), cmp.Compare(a.thread, b.thread))
	})
	return es
}
