package postgres

import (
	"cmp"
	"maps"
	"slices"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
)

// rows has the rows that a batch writes. Each row occurs at most once, in its final state: a
// later change of the batch replaces what an earlier one wrote, and a purge of a thread removes
// the messages that earlier changes wrote to it.
type rows struct {
	heads      []row.DatedHead
	users      []core.User
	messages   []core.ThreadMessage // new messages
	rewrites   map[core.MessageKey]core.ThreadMessage
	kept       map[core.SupersededKey]core.ThreadSuperseded // superseded messages by key; a row whose Until is 0 will be deleted
	members    map[core.ReceiptKey]core.ThreadMember
	receipts   map[core.ReceiptKey]core.ThreadReceipt // receipts by key; a row whose message id is 0 will be deleted
	sent       map[core.SendKey]core.SentToken
	answers    []core.ThreadAnswer
	lists      map[core.ListMove]bool // for each list entry, true to insert it or false to delete it
	purged     map[string]bool        // ids of the purged threads
	relistings []core.Relisting       // those that begin
	events     []core.Event
	audits     map[core.AuditKey]core.Audit
}

// rowsOf collects the rows that the applied changes write. Heads are sorted by id and
// users by custom id and id, because that is the order in which rows are locked.
func rowsOf(outcomes []core.Outcome, s *core.BatchState) *rows {
	r := &rows{
		rewrites: map[core.MessageKey]core.ThreadMessage{}, kept: map[core.SupersededKey]core.ThreadSuperseded{}, members: map[core.ReceiptKey]core.ThreadMember{},
		receipts: map[core.ReceiptKey]core.ThreadReceipt{}, sent: map[core.SendKey]core.SentToken{},
		lists: map[core.ListMove]bool{}, purged: map[string]bool{}, audits: map[core.AuditKey]core.Audit{},
	}
	heads, users := map[string]bool{}, map[string]bool{}
	for _, o := range outcomes {
		if o.Status != core.Applied {
			continue
		}
		for _, u := range o.Change.PutUsers {
			users[u.ID] = true
		}
		for _, a := range o.Change.Audits {
			r.audits[a.AuditKey] = a
		}
		if o.Change.Thread != "" {
			heads[o.Change.Thread] = true
			r.change(o.Change)
		} else {
			r.events = append(r.events, o.Change.Events...)
		}
		for _, m := range o.ListMoves {
			if m.From != 0 {
				r.lists[core.ListMove{User: m.User, Thread: m.Thread, To: m.From}] = false
			}
			r.lists[core.ListMove{User: m.User, Thread: m.Thread, To: m.To}] = true
		}
		if o.Relisting != nil {
			r.relistings = append(r.relistings, *o.Relisting)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(heads)) {
		r.heads = append(r.heads, row.DatedHead{Head: *s.Heads[id], LastDay: s.Day})
	}
	for _, id := range slices.Sorted(maps.Keys(users)) {
		r.users = append(r.users, s.Users[id])
	}
	// Two transactions that insert the same custom id wait for each other, and so do two that
	// insert the same user id. A user with a custom id has a new user id, so no insert waits for
	// both. Sorting the users gives all batches the same order.
	slices.SortStableFunc(r.users, func(a, b core.User) int { return cmp.Compare(a.CustomID, b.CustomID) })
	return r
}

// empty reports whether the batch writes nothing. It looks only at heads, users and audit rows,
// because every applied change writes one of these.
func (r *rows) empty() bool { return len(r.heads)+len(r.users)+len(r.audits) == 0 }

// change adds the rows that an applied change writes to its thread.
func (r *rows) change(c *core.Change) {
	for _, m := range c.Members {
		r.members[core.ReceiptKey{Thread: c.Thread, User: m.User}] = core.ThreadMember{Thread: c.Thread, Member: m}
	}
	for _, m := range c.Messages {
		r.messages = append(r.messages, core.ThreadMessage{Thread: c.Thread, Message: m})
	}
	for _, w := range c.Rewrites {
		r.rewrites[core.MessageKey{Thread: c.Thread, ID: w.ID}] = core.ThreadMessage{Thread: c.Thread, Message: w.Message}
	}
	for _, v := range c.Superseded {
		k := core.ThreadSuperseded{Thread: c.Thread, Superseded: v}
		r.kept[k.Key()] = k
	}
	for _, k := range c.DropSuperseded {
		r.kept[k] = core.ThreadSuperseded{Thread: k.Thread, Superseded: core.Superseded{Message: core.Message{ID: k.ID, Sequence: k.Sequence}}}
	}
	if c.Receipt != nil {
		r.receipts[core.ReceiptKey{Thread: c.Thread, User: c.Receipt.User}] = core.ThreadReceipt{Thread: c.Thread, Receipt: *c.Receipt}
	}
	for _, user := range c.DropReceipts {
		r.receipts[core.ReceiptKey{Thread: c.Thread, User: user}] = core.ThreadReceipt{Thread: c.Thread, Receipt: core.Receipt{User: user}}
	}
	if c.SendToken != "" {
		k := core.SendKey{Thread: c.Thread, Caller: c.Caller, Token: c.SendToken}
		r.sent[k] = core.SentToken{SendKey: k, MessageID: c.Messages[0].ID}
	}
	if c.Answer != nil {
		r.answers = append(r.answers, core.ThreadAnswer{Thread: c.Thread, CreateAnswer: *c.Answer})
	}
	if c.Purge {
		r.purge(c.Thread)
	}
	r.events = append(r.events, c.Events...)
}

// purge removes from r the messages of a thread, superseded ones too, its receipts and its send
// tokens. It marks the thread, so that the rows in the database are deleted as well.
func (r *rows) purge(thread string) {
	r.purged[thread] = true
	r.messages = slices.DeleteFunc(r.messages, func(m core.ThreadMessage) bool { return m.Thread == thread })
	maps.DeleteFunc(r.rewrites, func(k core.MessageKey, _ core.ThreadMessage) bool { return k.Thread == thread })
	maps.DeleteFunc(r.kept, func(k core.SupersededKey, _ core.ThreadSuperseded) bool { return k.Thread == thread })
	maps.DeleteFunc(r.receipts, func(k core.ReceiptKey, _ core.ThreadReceipt) bool { return k.Thread == thread })
	maps.DeleteFunc(r.sent, func(k core.SendKey, _ core.SentToken) bool { return k.Thread == thread })
}

// listOrder compares two entries of users' lists of threads by the primary key of the table
// user_threads. A batch writes its entries in this order.
func listOrder(a, b core.ListMove) int {
	return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(a.To, b.To), cmp.Compare(a.Thread, b.Thread))
}
