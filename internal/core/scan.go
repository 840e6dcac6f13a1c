package core

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// The functions in this file are for the server's operator. They check no permissions.

// Bounds of a scan. A scan is a read that also reads rows which it does not return.
const (
	// ScanRows is the greatest number of rows that one call of a scan reads. A call may exceed it
	// to finish the members of a thread.
	ScanRows = 10_000
	scanTime = time.Second
	scanPage = 500
)

// Scanned says how many rows a scan has read, and whether it has read all.
type Scanned struct {
	Looked   int  // rows read
	Complete bool // all rows were read
}

// scan counts the rows of a scan until one of its bounds is reached.
type scan struct {
	Scanned
	ends time.Time
}

func newScan() *scan { return &scan{ends: time.Now().Add(scanTime)} }

// over reports whether the scan must stop now.
func (s *scan) over() bool { return s.Looked >= ScanRows || time.Now().After(s.ends) }

// LogBefore returns up to limit events with positions less than before, the greatest first. If
// before is 0, it begins with the newest event.
func (s *Service) LogBefore(ctx context.Context, before uint64, limit int) ([]Event, error) {
	events, err := s.store.LogBefore(ctx, before, limit)
	if err != nil {
		return nil, fmt.Errorf("read the event log before %d: %w", before, err)
	}
	return events, nil
}

// LogAfter returns up to limit events after a cursor, as Store.Log does. It first gives positions
// to events that have none yet.
func (s *Service) LogAfter(ctx context.Context, after Cursor, limit int) (LogPage, error) {
	if _, err := s.store.Sequence(ctx); err != nil {
		return LogPage{}, fmt.Errorf("give positions to events: %w", err)
	}
	page, err := s.store.Log(ctx, after, limit)
	if err != nil {
		return LogPage{}, fmt.Errorf("read the event log after %d: %w", after.Position, err)
	}
	return page, nil
}

// LogEnd returns the cursor after the newest event that has a position.
func (s *Service) LogEnd(ctx context.Context) (Cursor, error) {
	tip, err := s.store.Tip(ctx)
	if err != nil {
		return Cursor{}, fmt.Errorf("read the end of the event log: %w", err)
	}
	return tip, nil
}

// LogCursor returns the cursor after the event at a position. ok is false if the log does not
// have this event.
func (s *Service) LogCursor(ctx context.Context, position uint64) (c Cursor, ok bool, err error) {
	if c, err = s.LogEnd(ctx); err != nil || position == c.Position {
		return c, err == nil, err
	}
	events, err := s.LogBefore(ctx, position+1, 1)
	if err != nil || len(events) == 0 || events[0].Position != position {
		return c, false, err
	}
	return Cursor{Epoch: c.Epoch, Position: position, Check: events[0].Check}, true, nil
}

// EventsQuery selects events of the log, newest first. An empty field selects events with any
// value.
type EventsQuery struct {
	Thread  string
	Actor   string
	Kind    EventKind
	Message int64
	// Before selects only events with positions less than Before, or numbers if Thread is set. 0:
	// begin with the newest event.
	Before uint64
	Limit  int // most events; 1 or more
}

// Matches reports whether the query selects the event.
func (q *EventsQuery) Matches(e *Event) bool {
	return (q.Thread == "" || e.Thread == q.Thread) && (q.Actor == "" || e.Actor == q.Actor) &&
		(q.Kind == 0 || e.Kind == q.Kind) && (q.Message == 0 || e.MessageID == q.Message)
}

// EventsPage is the result of Service.Events. Next is the value of EventsQuery.Before for the next
// page, or 0 after the last page.
type EventsPage struct {
	Events []Event
	Next   uint64
	Scanned
}

// Events scans the log for events. It fails with 404 if the query names a thread that does not
// exist.
func (s *Service) Events(ctx context.Context, q EventsQuery) (page EventsPage, err error) {
	read := s.LogBefore
	if q.Thread != "" {
		v, err := s.store.View(ctx, q.Thread, "")
		if err != nil {
			return page, err
		}
		if v.Head.Revision == 0 {
			return page, errThreadNotFound
		}
		if q.Before == 0 || q.Before > v.Head.LastEvent {
			q.Before = v.Head.LastEvent + 1
		}
		read = func(ctx context.Context, before uint64, limit int) ([]Event, error) {
			return s.threadEventsBefore(ctx, q.Thread, before, limit)
		}
	}
	sc := newScan()
	for before := q.Before; ; {
		size := min(scanPage, max(q.Limit, 50))
		events, err := read(ctx, before, size)
		if err != nil {
			return page, err
		}
		for i := range events {
			e := &events[i]
			sc.Looked++
			if before = e.Position; q.Thread != "" {
				before = e.Number
			}
			if q.Matches(e) {
				page.Events = append(page.Events, *e)
			}
			if len(page.Events) == q.Limit {
				page.Next, page.Scanned = before, sc.Scanned
				return page, nil
			}
		}
		if len(events) < size {
			sc.Complete = true
			page.Scanned = sc.Scanned
			return page, nil
		}
		if sc.over() {
			page.Next, page.Scanned = before, sc.Scanned
			return page, nil
		}
	}
}

// threadEventsBefore returns up to limit events of a thread with numbers less than before, the
// greatest first. It returns fewer events only if the log has no more of the thread.
func (s *Service) threadEventsBefore(ctx context.Context, thread string, before uint64, limit int) (found []Event, err error) {
	for before > 1 && len(found) < limit {
		from := before - min(before-1, uint64(limit-len(found)))
		events, err := s.store.ThreadEvents(ctx, thread, from, int(before-from))
		if err != nil {
			return nil, fmt.Errorf("read events of thread %s: %w", thread, err)
		}
		for i := len(events) - 1; i >= 0; i-- {
			if events[i].Number < before {
				found = append(found, events[i])
			}
		}
		if len(events) == 0 && before-from > 0 && len(found) > 0 {
			break // the earlier events of the thread were deleted from the log
		}
		if len(events) == 0 && len(found) == 0 {
			break // the thread's events were all deleted from the log, or the newest of them have no position yet
		}
		before = from
	}
	return found, nil
}

// RecentPage is the result of Service.RecentThreads. Next is the value of before for the next page,
// or 0 after the last page.
type RecentPage struct {
	Threads []Head
	Next    uint64
	Scanned
}

// RecentThreads scans the event log backwards from the position before, or from its end if before
// is 0, for up to limit threads. The thread with the newest event comes first. A thread that has
// got a new event since the first page was read is left out of later pages.
func (s *Service) RecentThreads(ctx context.Context, before uint64, limit int) (page RecentPage, err error) {
	sc, seen, first := newScan(), map[string]bool{}, before == 0
	for {
		size := min(scanPage, max(limit, 50))
		events, err := s.LogBefore(ctx, before, size)
		if err != nil {
			return page, err
		}
		for i := range events {
			e := &events[i]
			sc.Looked++
			before = e.Position
			if e.Thread == "" || seen[e.Thread] {
				continue
			}
			seen[e.Thread] = true
			v, err := s.store.View(ctx, e.Thread, "")
			if err != nil {
				return page, fmt.Errorf("read thread %s: %w", e.Thread, err)
			}
			if v.Head.Revision == 0 || !first && v.Head.LastEvent != e.Number {
				continue
			}
			page.Threads = append(page.Threads, v.Head)
			if len(page.Threads) == limit {
				page.Next, page.Scanned = before, sc.Scanned
				return page, nil
			}
		}
		if len(events) < size {
			sc.Complete = true
			page.Scanned = sc.Scanned
			return page, nil
		}
		if sc.over() {
			page.Next, page.Scanned = before, sc.Scanned
			return page, nil
		}
	}
}

// ThreadsFound is the result of Service.FindThreads. Next is the value of after for the next page,
// or empty after the last page.
type ThreadsFound struct {
	Threads []Head
	Next    string
	Scanned
}

// FindThreads scans the threads with ids greater than after, in the order of ids. It returns up to
// limit threads whose topic contains text without regard to case, or whose id begins with text. It
// also finds deleted threads.
func (s *Service) FindThreads(ctx context.Context, text, after string, limit int) (page ThreadsFound, err error) {
	sc, folded := newScan(), strings.ToLower(text)
	for {
		heads, err := s.store.ListHeads(ctx, after, scanPage)
		if err != nil {
			return page, fmt.Errorf("list threads after %q: %w", after, err)
		}
		for i := range heads {
			sc.Looked++
			after = heads[i].ID
			if strings.HasPrefix(heads[i].ID, text) || strings.Contains(strings.ToLower(heads[i].Topic), folded) {
				page.Threads = append(page.Threads, heads[i])
			}
			if len(page.Threads) == limit {
				page.Next, page.Scanned = after, sc.Scanned
				return page, nil
			}
		}
		if len(heads) < scanPage {
			sc.Complete = true
			page.Scanned = sc.Scanned
			return page, nil
		}
		if sc.over() {
			page.Next, page.Scanned = after, sc.Scanned
			return page, nil
		}
	}
}

// UsersFound is the result of Service.FindUsers. Next is the value of after for the next page, or
// empty after the last page.
type UsersFound struct {
	Users []FoundUser
	Next  string
	Scanned
}

// FoundUser is a user whom a search has found. DisplayName is set if the search has found the user
// by the display name in a thread.
type FoundUser struct {
	User
	DisplayName string
}

// FindUsers reads the users first, then the members of threads. Its cursor consists of a letter,
// which says whether users or threads are being read, and the id of the last user or thread that
// was read.
const (
	findInUsers   = "u"
	findInThreads = "t"
)

// FindUsers scans the users, and then the members of all threads, for up to limit users whose id,
// custom id or display name contains text, without regard to case. A user with a matching name in
// several threads may be on several pages.
func (s *Service) FindUsers(ctx context.Context, text, after string, limit int) (page UsersFound, err error) {
	kind, from := findInUsers, ""
	if after != "" {
		if kind, from = after[:1], after[1:]; kind != findInUsers && kind != findInThreads {
			return page, Invalid("next", "The parameter next is not one of this list.")
		}
	}
	f := &userSearch{Service: s, scan: newScan(), text: strings.ToLower(text), limit: limit, found: map[string]bool{}}
	if kind == findInUsers {
		if from, err = f.users(ctx, from); err != nil {
			return page, err
		}
		if from == "" {
			kind = findInThreads
		}
	}
	if kind == findInThreads && !f.full() {
		if from, err = f.members(ctx, from); err != nil {
			return page, err
		}
		f.Complete = from == ""
	}
	page.Users, page.Scanned = f.matches, f.Scanned
	if !f.Complete {
		page.Next = kind + from
	}
	return page, nil
}

// userSearch is the state of one call of FindUsers.
type userSearch struct {
	*Service
	*scan
	text    string
	limit   int
	matches []FoundUser
	found   map[string]bool
}

func (f *userSearch) full() bool { return len(f.matches) >= f.limit || f.scan.over() }

func (f *userSearch) contains(s string) bool { return strings.Contains(strings.ToLower(s), f.text) }

// users searches the users with ids greater than after. It returns the id of the last user that
// it has read, or "" after the last user of the store.
func (f *userSearch) users(ctx context.Context, after string) (string, error) {
	for {
		us, err := f.ListUsers(ctx, after, scanPage)
		if err != nil {
			return "", err
		}
		for _, u := range us {
			f.Looked++
			after = u.ID
			if f.contains(u.ID) || f.contains(u.CustomID) {
				f.found[u.ID] = true
				f.matches = append(f.matches, FoundUser{User: u})
			}
			if len(f.matches) == f.limit {
				return after, nil
			}
		}
		if len(us) < scanPage {
			return "", nil
		}
		if f.full() {
			return after, nil
		}
	}
}

// members searches the members of the threads with ids greater than after. It returns the id
// of the last thread that it has read, or "" after the last thread of the store.
func (f *userSearch) members(ctx context.Context, after string) (string, error) {
	for {
		heads, err := f.store.ListHeads(ctx, after, scanPage)
		if err != nil {
			return "", fmt.Errorf("list threads after %q: %w", after, err)
		}
		for i := range heads {
			after = heads[i].ID
			if err := f.membersOf(ctx, after); err != nil {
				return "", err
			}
			if f.full() {
				return after, nil
			}
		}
		if len(heads) < scanPage {
			return "", nil
		}
	}
}

// membersOf adds the members of a thread whose display name contains the searched text. It may
// exceed the limit of the page, because the next page begins with another thread.
func (f *userSearch) membersOf(ctx context.Context, thread string) error {
	t, err := f.store.Thread(ctx, thread)
	if err != nil || t == nil {
		return err
	}
	names := map[string]string{}
	var ids []string
	f.Looked++
	for _, m := range t.Members() {
		f.Looked++
		if m.DisplayName != "" && !f.found[m.User] && f.contains(m.DisplayName) {
			f.found[m.User] = true
			names[m.User] = m.DisplayName
			ids = append(ids, m.User)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	us, err := f.store.Users(ctx, ids)
	if err != nil {
		return fmt.Errorf("read the users of thread %s: %w", thread, err)
	}
	for _, u := range us {
		f.matches = append(f.matches, FoundUser{User: u, DisplayName: names[u.ID]})
	}
	return nil
}

// UserWithCustomID returns the user who has a custom id, or a user in state UserUnknown. Unlike
// UserByCustomID, it never creates a user.
func (s *Service) UserWithCustomID(ctx context.Context, customID string) (User, error) {
	if CheckCustomID(customID) != nil {
		return User{}, nil
	}
	u, err := s.store.UserByCustomID(ctx, customID)
	if err != nil {
		return User{}, fmt.Errorf("look up a custom id: %w", err)
	}
	return u, nil
}
