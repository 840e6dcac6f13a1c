package trouter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/core"
)

// Intervals at which endpoints are stored, and the time after which they are removed from memory.
const (
	storeEvery = 4 * time.Second // interval at which changed endpoints are stored, so that each is stored within five seconds
	// interval at which an endpoint is stored if its cursor has moved but its client has answered
	// nothing
	restoreEvery = 10 * time.Minute
	forgetAfter  = 10 * time.Minute // time after which an endpoint without a socket is removed from memory
	// firstSocket limits how long after an allocation a new endpoint may open its first socket and
	// still get the events since the allocation. After this time the client gets only new events,
	// unless the store has a row of the endpoint.
	firstSocket = time.Minute
)

// endpoints holds the endpoints of users who are or recently were connected to this server.
type endpoints struct {
	store core.Store
	owner string // random name of this server; empty if only one server uses the store

	// saving is locked while save writes rows of endpoints, and read-locked while take or create
	// writes a single row, so that save does not run at the same time as take or create. Lock it
	// before the mu of an endpoint.
	saving sync.RWMutex

	mu    sync.Mutex // guards the map users; lock it before the mu of an endpoint
	users map[string]map[string]*endpoint
}

// get returns the endpoint (a client such as a browser tab) with this id of a user. It makes a new
// one if there is none in memory.
func (es *endpoints) get(user, id string) *endpoint {
	es.mu.Lock()
	defer es.mu.Unlock()
	all := es.users[user]
	if all == nil {
		all = map[string]*endpoint{}
		es.users[user] = all
	}
	e := all[id]
	if e == nil {
		e = &endpoint{user: user, id: id}
		all[id] = e
	}
	return e
}

// lock returns the endpoint of a user with this id, with its mutex opening locked. It makes a
// new endpoint if there is none in memory.
func (es *endpoints) lock(user, id string) *endpoint {
	for {
		e := es.get(user, id)
		e.opening.Lock()
		if es.find(user, id) == e {
			return e
		}
		e.opening.Unlock() // tidy has removed the endpoint from memory meanwhile, so try again
	}
}

// find returns the endpoint (a client such as a browser tab) with this id of a user, or nil if it
// is not in memory.
func (es *endpoints) find(user, id string) *endpoint {
	es.mu.Lock()
	defer es.mu.Unlock()
	return es.users[user][id]
}

// count returns the number of endpoints (clients such as browser tabs) in memory.
func (es *endpoints) count() (n int) {
	es.mu.Lock()
	defer es.mu.Unlock()
	for _, all := range es.users {
		n += len(all)
	}
	return n
}

// load reads the endpoint's row from the store and returns the cursor after which its next socket
// begins. The row may be newer than the endpoint in memory, if the client was connected to another
// server meanwhile. Without a row, load returns the cursor in memory, or else the cursor of the
// allocation p if p is at most firstSocket old. If all three are missing, the server does not know
// which events the client has answered: load returns false, and the socket must begin with new
// events. The caller holds e.opening.
func (es *endpoints) load(ctx context.Context, e *endpoint, p params, now time.Time) (from core.Cursor, ok bool, err error) {
	rows, err := es.store.Endpoints(ctx, e.user)
	if err != nil {
		return core.Cursor{}, false, fmt.Errorf("read the endpoints of a user: %w", err)
	}
	var spare []core.Endpoint
	kept := 1 // the endpoint e itself
	var row *core.Endpoint
	for i := range rows { // the most recently seen endpoint comes first
		switch {
		case rows[i].ID == e.id:
			row = &rows[i]
		case kept < core.MaxEndpoints:
			kept++
		case !es.connected(e.user, rows[i].ID):
			spare = append(spare, rows[i])
		}
	}
	if len(spare) > 0 {
		if err := es.store.DropEndpoints(ctx, spare); err != nil {
			return core.Cursor{}, false, fmt.Errorf("drop the oldest endpoints of a user: %w", err)
		}
		es.unstore(spare)
	}
	if row != nil && es.owner != "" {
		taken, err := es.take(ctx, e, *row)
		if err != nil {
			return core.Cursor{}, false, err
		}
		row = &taken
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dropped, e.seen = false, now
	switch {
	case row != nil:
		e.restore(*row, row.Owner != es.owner)
	case e.known: // the endpoint is in memory, but its row was deleted from the store
		e.storedAt = time.Time{}
	case now.Sub(p.issued) < firstSocket:
		e.low = p.at
	default:
		return core.Cursor{}, false, nil
	}
	e.known = true
	return e.low, true, nil
}

// connected reports whether an endpoint, a client such as a browser tab, has a socket on this
// server.
func (es *endpoints) connected(user, id string) bool {
	e := es.find(user, id)
	if e == nil {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.current != nil
}

// unstore records that rows of endpoints were deleted from the store. An endpoint without a
// socket also forgets which events its client has answered, so that a user cannot fill the
// memory with endpoints.
func (es *endpoints) unstore(rows []core.Endpoint) {
	for _, r := range rows {
		if e := es.find(r.User, r.ID); e != nil {
			idle := e.opening.TryLock() // true if no socket of the endpoint is being opened
			e.mu.Lock()
			e.storedAt = time.Time{}
			if idle && e.current == nil {
				e.known, e.moved, e.flights = false, false, nil
			}
			e.mu.Unlock()
			if idle {
				e.opening.Unlock()
			}
		}
	}
}

// remove removes an endpoint from memory. The caller holds es.mu.
func (es *endpoints) remove(user, id string) {
	delete(es.users[user], id)
	if len(es.users[user]) == 0 {
		delete(es.users, user)
	}
}

// create stores the row of an endpoint when its first socket opens, unless the store already has
// the row. from is the cursor at which the socket begins.
func (es *endpoints) create(ctx context.Context, e *endpoint, from core.Cursor, now time.Time) error {
	e.mu.Lock()
	if !e.known {
		e.known, e.low = true, from
	}
	r := core.Endpoint{User: e.user, ID: e.id, At: e.low, Seen: now.UnixMilli(), Owner: es.owner, Open: es.owner != ""}
	has := !e.storedAt.IsZero()
	e.mu.Unlock()
	if has {
		return nil
	}
	es.saving.RLock()
	defer es.saving.RUnlock()
	taken, err := es.store.PutEndpoints(ctx, []core.Endpoint{r})
	if err == nil && len(taken) > 0 {
		err = errors.New("another server has just stored it")
	}
	if err != nil {
		return fmt.Errorf("store an endpoint: %w", err)
	}
	e.mu.Lock()
	dropped := e.dropped
	if !dropped {
		e.stored, e.storedAt, e.holds, e.taken = r.At, now, r.Open, false
	}
	e.mu.Unlock()
	if dropped { // the user was deleted, or the client has unregistered, before the row was written
		return es.deleteRow(ctx, e.user, e.id)
	}
	return nil
}

// settle records, after an attempt to open a socket, whether the endpoint has a socket now. It
// calls save if the stored row does not say the same.
func (es *endpoints) settle(e *endpoint, save func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if open := es.owner != "" && e.current != nil; open != e.holds {
		e.holds, e.moved = open, true
		save()
	}
}

// stay records that a client has registered. The server then keeps the client's endpoint when its
// socket closes, even if the client had unregistered before.
func (es *endpoints) stay(user, id string) {
	if e := es.find(user, id); e != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.leaving = false
	}
}

// drop removes an endpoint from memory and its row from the store, because its client has
// unregistered. If the endpoint has an open socket, it is removed when the socket closes, unless
// the client registers again before.
func (es *endpoints) drop(ctx context.Context, user, id string) error {
	if e := es.find(user, id); e != nil {
		e.mu.Lock()
		live := e.current != nil && e.current.session.Why() == 0
		if e.leaving = live; !live {
			e.forget()
		}
		e.mu.Unlock()
		if live {
			return nil
		}
	}
	return es.deleteRow(ctx, user, id)
}

// deleteRow deletes the row of an endpoint from the store.
func (es *endpoints) deleteRow(ctx context.Context, user, id string) error {
	if err := es.store.DropEndpoints(ctx, []core.Endpoint{{User: user, ID: id}}); err != nil {
		return fmt.Errorf("drop an endpoint: %w", err)
	}
	return nil
}

// save stores all endpoints whose stored rows are out of date, with one call of the store.
func (es *endpoints) save(ctx context.Context, now time.Time) error {
	es.saving.Lock()
	defer es.saving.Unlock()
	var rows []core.Endpoint
	for _, e := range es.all() {
		if r, due := e.row(now); due {
			r.Owner = es.owner
			rows = append(rows, r)
		}
	}
	if len(rows) == 0 {
		return nil
	}
	taken, err := es.store.PutEndpoints(ctx, rows)
	// endpoints that were dropped while PutEndpoints wrote their rows again, so delete these rows
	// once more
	var again []core.Endpoint
	for _, r := range rows {
		e := es.find(r.User, r.ID)
		if e == nil {
			continue
		}
		e.mu.Lock()
		switch {
		case e.dropped:
			again = append(again, r)
		case err != nil:
			e.moved = true
		default:
			e.stored, e.storedAt = r.At, now
		}
		e.mu.Unlock()
	}
	if err != nil {
		return fmt.Errorf("store %d endpoints: %w", len(rows), err)
	}
	for _, r := range taken {
		if e := es.find(r.User, r.ID); e != nil {
			e.lose()
		}
	}
	if err := es.store.DropEndpoints(ctx, again); err != nil {
		return fmt.Errorf("drop %d endpoints: %w", len(again), err)
	}
	return nil
}

// all returns all endpoints in memory.
func (es *endpoints) all() (all []*endpoint) {
	es.mu.Lock()
	defer es.mu.Unlock()
	for _, of := range es.users {
		for _, e := range of {
			all = append(all, e)
		}
	}
	return all
}

// tidy removes endpoints from memory that have had no socket for the time forgetAfter and that need
// not be stored.
func (es *endpoints) tidy(now time.Time) {
	es.mu.Lock()
	defer es.mu.Unlock()
	for user, of := range es.users {
		for id, e := range of {
			if e.opening.TryLock() {
				e.mu.Lock()
				// true if removing the endpoint from memory loses nothing: it has no changes to
				// store, or must not be stored
				stored := !e.moved || e.dropped || e.storedAt.IsZero()
				if e.current == nil && stored && now.Sub(e.seen) >= forgetAfter {
					es.remove(user, id)
				}
				e.mu.Unlock()
				e.opening.Unlock()
			}
		}
	}
}
