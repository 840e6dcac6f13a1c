package core

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Decision decides on an operation: it returns the change that the operation makes, or an
// *Error if it refuses. It may be called several times, with newer rows each time, so it must
// depend only on the rows that it reads and must have no side effects. A change that writes no
// row is not committed.
type Decision func(Rows) (*Change, error)

// Rows provides the rows that a Decision reads.
type Rows interface {
	// Thread returns a thread with its members, or nil if it does not exist.
	Thread(id string) (*Thread, error)
	// Users returns the rows of the users with these ids. The key of the map is the id. A user
	// that was never created has a row with state UserUnknown.
	Users(ids ...string) (map[string]User, error)
	// Messages returns a map of the thread's messages with these ids. The map has no entry for
	// a message that does not exist.
	Messages(thread string, ids ...int64) (map[int64]Message, error)
}

// storedRows implements Rows with the caches and the store of a Service.
type storedRows struct {
	*Service
	ctx    context.Context
	fresh  bool // read from the store only
	cached bool // true if one of the returned rows may have come from a cache
}

func (r *storedRows) Thread(id string) (*Thread, error) {
	if t, ok := r.threads.Get(id); ok && !r.fresh {
		r.cached = true
		return t, nil
	}
	return r.loadThread(r.ctx, id)
}

func (r *storedRows) Users(ids ...string) (map[string]User, error) {
	r.cached = true
	if r.fresh {
		return r.loadUsers(r.ctx, ids)
	}
	us := make(map[string]User, len(ids))
	var rest []string
	for _, id := range ids {
		if u, ok := r.cachedUser(id); ok {
			us[id] = u
		} else {
			rest = append(rest, id)
		}
	}
	if len(rest) == 0 {
		return us, nil
	}
	loaded, err := r.loadUsers(r.ctx, rest)
	maps.Copy(us, loaded)
	return us, err
}

func (r *storedRows) Messages(thread string, ids ...int64) (map[int64]Message, error) {
	page, err := r.store.Messages(r.ctx, MessagesQuery{Thread: thread, IDs: ids})
	if err != nil {
		return nil, fmt.Errorf("load messages %d of %s: %w", ids, thread, err)
	}
	ms := make(map[int64]Message, len(ids))
	for _, m := range page.Messages {
		ms[m.ID] = m
	}
	return ms, nil
}

// lockedRows implements Rows with the rows that an engine has locked for a batch.
type lockedRows struct {
	*BatchState
	unread unread
}

// unread names the rows that a decision asked for although the engine had not locked them.
type unread struct {
	users    []string
	messages []int64
}

// errUnread is the error that a decision gets when it asks for a row that is not locked.
var errUnread = errors.New("a row is not locked")

func (r *lockedRows) Thread(id string) (*Thread, error) {
	head := r.Heads[id]
	if head == nil {
		return nil, nil
	}
	return newThread(*head, r.Members[id]), nil
}

func (r *lockedRows) Users(ids ...string) (map[string]User, error) {
	us := make(map[string]User, len(ids))
	for _, id := range ids {
		if _, locked := r.Reads.Users[id]; !locked {
			r.unread.users = append(r.unread.users, id)
			continue
		}
		u := r.BatchState.Users[id]
		u.ID = id
		us[id] = u
	}
	return us, r.unread.err()
}

func (r *lockedRows) Messages(thread string, ids ...int64) (map[int64]Message, error) {
	ms := make(map[int64]Message, len(ids))
	for _, id := range ids {
		if _, locked := r.Reads.Messages[MessageKey{thread, id}]; !locked {
			r.unread.messages = append(r.unread.messages, id)
		} else if m, ok := r.BatchState.Messages[MessageKey{thread, id}]; ok {
			ms[id] = m
		}
	}
	return ms, r.unread.err()
}

func (u unread) err() error {
	if len(u.users)+len(u.messages) > 0 {
		return errUnread
	}
	return nil
}

// withReads returns a copy of the change that also lists the rows of u among its reads, so that the
// engine locks them when the copy is committed.
func (c *Change) withReads(u unread) *Change {
	n := *c
	n.ReadUsers, n.Rewrites = slices.Clone(c.ReadUsers), slices.Clone(c.Rewrites)
	for _, id := range u.users {
		n.ReadUsers = append(n.ReadUsers, User{ID: id})
	}
	for _, id := range u.messages {
		n.Rewrites = append(n.Rewrites, Rewrite{Message: Message{ID: id}})
	}
	return &n
}
