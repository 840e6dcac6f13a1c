// Package gateway tells connected users at once what happens in their threads. A Hub holds all
// sessions of a server and hands the events of the event log to them. A Session is one
// client's cursor in the log and a bounded queue of events. If events do not fit the queue,
// the session drops the queue and later reads these events from the store. The package knows
// no protocol: the packages sse and trouter open sessions and write the events to clients.
package gateway

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/token"
)

// Bounds limit the memory and the reads that sessions cost a server. A zero field means its
// default.
type Bounds struct {
	PerUser  int // maximum number of sessions of one user; 0 means DefaultPerUser
	Sessions int // maximum number of sessions of all users; 0 means DefaultSessions
	// maximum number of bytes of events that wait in one session, unless a single event is larger;
	// 0 means DefaultQueue
	Queue  int
	Queues int64 // maximum number of bytes of events that wait in all sessions together; 0 means DefaultQueues
	// maximum number of sessions that read missed events at the same time; 0 means DefaultCatchUps
	// for each core
	CatchUps int
	// maximum number of threads in which a session reads missed events; with more it reports a gap;
	// 0 means DefaultNews
	News int
}

// Defaults of Bounds.
const (
	DefaultPerUser  = 20
	DefaultSessions = 10_000
	DefaultQueue    = 256 << 10
	DefaultQueues   = 64 << 20
	DefaultCatchUps = 4
	DefaultNews     = 10_000
)

func (b Bounds) withDefaults() Bounds {
	def := func(n *int, value int) {
		if *n == 0 {
			*n = value
		}
	}
	def(&b.PerUser, DefaultPerUser)
	def(&b.Sessions, DefaultSessions)
	def(&b.Queue, DefaultQueue)
	def(&b.CatchUps, DefaultCatchUps*runtime.GOMAXPROCS(0))
	def(&b.News, DefaultNews)
	b.Queues = cmp.Or(b.Queues, DefaultQueues)
	return b
}

// Times that apply to all sessions (live connections of clients) of a hub.
const (
	// Heartbeat is the time between two heartbeats of a session. At a heartbeat a session without
	// events to write moves its cursor to the hub's cursor.
	Heartbeat = 15 * time.Second
	// WriteTimeout is the time after which a session ends if its client reads no byte. The
	// implementations of Sink apply it.
	WriteTimeout = 30 * time.Second
	// linger is the time for which the hub still follows the event log after its last session has
	// ended.
	linger = 10 * time.Second
)

// Keys reports whether an access key, named by its id, is current. token.Authority implements
// it.
type Keys interface {
	HasKey(kid string) bool
}

// Options of a Hub. Core, Store, Bus and Keys are required.
type Options struct {
	Core   *core.Service
	Store  core.Store
	Bus    core.Bus
	Keys   Keys
	Now    func() time.Time // returns the time by which tokens expire; nil means time.Now
	Logger *slog.Logger     // nil: nothing is logged
	Bounds Bounds
}

// Hub holds the sessions of a server and tells them the events of the event log. It is safe
// for concurrent use.
type Hub struct {
	o      Options
	bounds Bounds
	log    *slog.Logger
	now    func() time.Time
	wanted chan struct{} // signals, with capacity 1, that a session waits until the hub follows the event log
	slots  chan struct{} // semaphore of capacity Bounds.CatchUps: a session holds a slot while it reads missed events

	writers *writers
	queued  atomic.Int64 // number of bytes of events in the queues of all sessions
	stats   stats

	// mu guards the fields of the hub below it. Lock it before a session's mu. The goroutine that
	// reads the log holds it while it hands events to the sessions, so a session that is added
	// meanwhile gets exactly the events after h.at.
	mu   sync.Mutex
	feed *core.Feed
	// cursor up to which the hub has handed all events to the sessions; valid while live is closed
	at       core.Cursor
	live     chan struct{} // a channel that is closed while the hub follows the log
	users    map[string]*user
	count    int
	sinks    int         // number of sessions whose sink is not closed yet, including sessions that have ended
	idle     *time.Timer // stops the feed when there was no session for the time linger
	draining bool
	empty    chan struct{} // closed when the hub drains and all sinks are closed
}

// user holds the sessions of one user.
type user struct {
	sessions []*Session
	// semaphore of capacity 1: a session of the user holds the slot while it reads missed events
	catching chan struct{}
}

// NewHub returns a hub without sessions. Sessions can be opened only while the method Run runs.
func NewHub(o Options) *Hub {
	h := &Hub{o: o, bounds: o.Bounds.withDefaults(), log: o.Logger, now: o.Now, wanted: make(chan struct{}, 1),
		live: make(chan struct{}), users: map[string]*user{}, empty: make(chan struct{}), writers: newWriters()}
	h.slots = make(chan struct{}, h.bounds.CatchUps)
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.now == nil {
		h.now = time.Now
	}
	return h
}

// Run follows the event log while there are sessions, and hands the events to them. It returns
// when ctx is done.
func (h *Hub) Run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-h.wanted:
		}
		var broken core.GapReason
		for again := true; again && ctx.Err() == nil; {
			broken, again = h.follow(ctx, broken)
		}
	}
}

// follow hands the new events of the log to the sessions. It returns when there were no sessions
// for the time linger, or when the log breaks off, which means that the log no longer has the
// events after the feed's cursor. broken is the reason why the log broke off during the previous
// call, or 0. If broken is not 0, follow first tells the sessions of a gap. If again is true, the
// caller must call follow again at once with the returned reason.
func (h *Hub) follow(ctx context.Context, broken core.GapReason) (_ core.GapReason, again bool) {
	tip, err := h.o.Store.Tip(ctx)
	if err != nil {
		h.log.Error("read the end of the event log", "error", err)
		pause(ctx, time.Second)
		return broken, true
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	feed := core.NewFeed(h.o.Store, h.o.Bus, tip, core.FeedOptions{Failed: func(err error) {
		h.log.Error("follow the event log", "error", err)
	}})
	h.start(feed, tip, broken, stop)
	err = feed.Run(ctx, func(hs []*core.Happening) { h.tell(ctx, hs) })
	h.mu.Lock()
	h.idle.Stop()
	h.feed = nil
	select {
	case <-h.live:
		h.live = make(chan struct{})
	default: // stopIdle has replaced it
	}
	h.mu.Unlock()
	var gap *core.GapError
	if !errors.As(err, &gap) {
		return 0, false
	}
	h.log.Error("the event log does not continue", "reason", gap.Reason.String())
	// forget cached threads, because the store may have been restored to an older state
	h.o.Core.ForgetThreads()
	// renew the epoch only after GapLost: after GapEpoch another server has renewed it already
	if gap.Reason == core.GapLost {
		epoch := strconv.FormatUint(rand.Uint64(), 36) + strconv.FormatUint(rand.Uint64(), 36)
		if err := h.o.Store.RenewEpoch(ctx, tip.Epoch, epoch); err != nil {
			h.log.Error("renew the epoch of the event log", "error", err)
		}
	}
	return gap.Reason, true
}

// start records that the hub follows the log from the cursor tip on. If the log broke off
// before (broken is not 0), the sessions read what they have missed from the store, and a
// session whose events are lost is told of a gap.
func (h *Hub) start(feed *core.Feed, tip core.Cursor, broken core.GapReason, stop func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.feed, h.at = feed, tip
	if broken != 0 {
		for _, u := range h.users {
			for _, s := range u.sessions {
				s.breakOff(tip)
			}
		}
	}
	close(h.live)
	h.idle = time.AfterFunc(linger, func() { h.stopIdle(feed, stop) })
}

// stopIdle stops the feed, the goroutine that reads the log, if it still runs and there are no
// sessions.
func (h *Hub) stopIdle(feed *core.Feed, stop func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.feed != feed || h.count > 0 {
		return // do not stop the feed; the hub starts this timer again when its last session leaves
	}
	h.feed = nil
	h.live = make(chan struct{})
	stop()
}

// Open opens a session of the user in the token's claims c. The session gets the events after
// the cursor from, or only new ones if from is nil. The caller must call Session.Start, after
// which the session writes to sink, or Session.End. Open fails with an *OpenError.
func (h *Hub) Open(ctx context.Context, c token.Claims, from *core.Cursor, o SessionOptions, sink Sink) (*Session, error) {
	s, err := h.open(ctx, c, from, o, sink)
	h.stats.refused(err)
	return s, err
}

// open opens a session, but does not count a refusal. See Open.
func (h *Hub) open(ctx context.Context, c token.Claims, from *core.Cursor, o SessionOptions, sink Sink) (*Session, error) {
	s := newSession(h, c, o, sink)
	// Add the session first and check its token afterwards. A revocation at the same time is then
	// either in the user's row already, or ends the added session.
	for entered := false; !entered; { // repeat if the hub stops to follow the log before the session is added
		if err := h.waitLive(ctx); err != nil {
			return nil, err
		}
		var err error
		if entered, err = h.enter(s, from); err != nil {
			return nil, err
		}
	}
	if why, err := h.judge(ctx, c); why != 0 {
		s.abandon(why)
		return nil, refusal(ctx, why, err)
	}
	return s, nil
}

// Admit returns nil if Open would accept a session with these claims now, and otherwise the
// *OpenError with which it would fail.
func (h *Hub) Admit(ctx context.Context, c token.Claims) error {
	err := h.admit(ctx, c)
	h.stats.refused(err)
	return err
}

// admit checks whether a session can be opened, but does not count a refusal. See Admit.
func (h *Hub) admit(ctx context.Context, c token.Claims) error {
	if why, err := h.judge(ctx, c); why != 0 {
		return refusal(ctx, why, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.room(c.User)
}

// Bounds returns the bounds of the hub, with defaults for fields that were zero.
func (h *Hub) Bounds() Bounds { return h.bounds }

// At returns the cursor up to which the hub has handed events to sessions. It fails with an
// *OpenError if the hub cannot follow the log, or refuses sessions because of Drain.
func (h *Hub) At(ctx context.Context) (core.Cursor, error) {
	if err := h.waitLive(ctx); err != nil {
		return core.Cursor{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at, nil
}

// waitLive makes the hub follow the log, and waits until it does, for at most ten seconds. It
// fails with an *OpenError.
func (h *Hub) waitLive(ctx context.Context) error {
	select {
	case h.wanted <- struct{}{}:
	default:
	}
	h.mu.Lock()
	live, draining := h.live, h.draining
	h.lingerOn()
	h.mu.Unlock()
	if draining {
		return &OpenError{Why: Draining}
	}
	timer := time.NewTimer(10 * time.Second)
	defer timer.Stop()
	select {
	case <-live:
		return nil
	case <-timer.C:
		return &OpenError{Why: Away, Cause: errors.New("the event log cannot be read")}
	case <-ctx.Done():
		return refusal(ctx, Away, ctx.Err())
	}
}

// refusal returns the *OpenError for a reason. It replaces Away, which blames the server, by
// Gone if ctx was canceled, because then the client has hung up.
func refusal(ctx context.Context, why Reason, cause error) *OpenError {
	if why == Away && errors.Is(ctx.Err(), context.Canceled) {
		why = Gone
	}
	return &OpenError{Why: why, Cause: cause}
}

// enter adds a session to the hub, which then hands the session all events after h.at. It
// returns false if the hub does not follow the log, and an *OpenError if there are too many
// sessions.
func (h *Hub) enter(s *Session, from *core.Cursor) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.room(s.claims.User); err != nil {
		return false, err
	}
	select {
	case <-h.live:
	default:
		return false, nil
	}
	u := h.users[s.claims.User]
	if u == nil {
		u = &user{catching: make(chan struct{}, 1)}
		h.users[s.claims.User] = u
	}
	u.sessions = append(u.sessions, s)
	h.count++
	h.sinks++
	s.user, s.at, s.told = u, h.at, h.at
	if from != nil && *from != h.at {
		s.at, s.behind = *from, true
	}
	return true, nil
}

// room returns an *OpenError if the user with this id may not open one more session. The
// caller holds h.mu.
func (h *Hub) room(id string) error {
	switch u := h.users[id]; {
	case h.draining:
		return &OpenError{Why: Draining}
	case u != nil && len(u.sessions) >= h.bounds.PerUser:
		return &OpenError{Why: UserFull}
	case h.count >= h.bounds.Sessions:
		return &OpenError{Why: NodeFull}
	}
	return nil
}

// leave removes a session from the hub. It does nothing if the session was removed already.
func (h *Hub) leave(s *Session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	id := s.claims.User
	u := h.users[id]
	if u == nil {
		return
	}
	i := slices.Index(u.sessions, s)
	if i < 0 {
		return
	}
	u.sessions = slices.Delete(u.sessions, i, i+1)
	h.count--
	if len(u.sessions) == 0 {
		delete(h.users, id)
	}
	if h.count == 0 {
		h.lingerOn()
	}
}

// closed records that the sink of a session is closed. Call it once for each session that enter has
// added.
func (h *Hub) closed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sinks--
	if h.draining && h.sinks == 0 {
		close(h.empty)
	}
}

// lingerOn makes a running feed follow the log for the time linger from now, even without
// sessions. The caller holds h.mu.
func (h *Hub) lingerOn() {
	if h.feed != nil {
		h.idle.Reset(linger)
	}
}

// judge returns the reason why a session with these claims must end, or 0. It reads the user's
// row from the store. If that fails, it returns Away and the error.
func (h *Hub) judge(ctx context.Context, c token.Claims) (Reason, error) {
	if !h.now().Before(c.Expires) {
		return Expired, nil
	}
	if !h.o.Keys.HasKey(c.Key) {
		return Revoked, nil
	}
	u, err := h.o.Core.StoredUser(ctx, c.User)
	switch {
	case err != nil:
		return Away, err
	case u.State != core.UserLive:
		return Deleted, nil
	case u.Generation != c.Generation:
		return Revoked, nil
	}
	return 0, nil
}

// Judge ends the sessions whose access key was replaced or whose token has expired. Call it
// after the keys have changed or a development clock was set forward.
func (h *Hub) Judge() {
	for _, s := range h.sessions() {
		if !h.o.Keys.HasKey(s.claims.Key) {
			s.End(Revoked)
			continue
		}
		s.expire()
	}
}

// EndAll ends all open sessions for a reason and returns their number.
func (h *Hub) EndAll(why Reason) (ended int) {
	all := h.sessions()
	for _, s := range all {
		s.End(why)
	}
	return len(all)
}

// Cut ends all open sessions with Dropped, so that their clients see broken connections. It
// waits until their sinks are closed or ctx is done, and returns the number of sessions.
func (h *Hub) Cut(ctx context.Context) int {
	all := h.sessions()
	for _, s := range all {
		s.End(Dropped)
	}
	for _, s := range all {
		select {
		case <-s.Done():
		case <-ctx.Done():
			return len(all)
		}
	}
	return len(all)
}

func (h *Hub) sessions() (all []*Session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, u := range h.users {
		all = append(all, u.sessions...)
	}
	return all
}

// Drain makes the hub refuse new sessions and ends all others with Draining. It waits until
// their clients were told and their sinks are closed, or until ctx is done.
func (h *Hub) Drain(ctx context.Context) {
	h.mu.Lock()
	if !h.draining {
		h.draining = true
		if h.sinks == 0 {
			close(h.empty)
		}
	}
	h.mu.Unlock()
	h.EndAll(Draining)
	select {
	case <-h.empty:
	case <-ctx.Done():
	}
}

// tell hands happenings, which are events of the log with their messages or members, to the
// sessions that may see them. The feed calls it. While the store cannot be read, tell tries again
// every second. It hands on nothing if ctx is done first.
func (h *Hub) tell(ctx context.Context, hs []*core.Happening) {
	threads := map[string]*core.Thread{}
	for _, hp := range hs {
		if hp.Thread == "" {
			h.judgeUser(ctx, hp.Actor)
			continue
		}
		if t := threads[hp.Thread]; t != nil && t.Revision >= hp.Revision {
			continue
		}
		t, err := h.o.Core.ThreadSince(ctx, hp.Thread, hp.Revision)
		for err != nil {
			h.log.Error("read who is in a thread", "thread", hp.Thread, "error", err)
			if pause(ctx, time.Second); ctx.Err() != nil {
				return
			}
			t, err = h.o.Core.ThreadSince(ctx, hp.Thread, hp.Revision)
		}
		threads[hp.Thread] = t
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, hp := range hs {
		at := h.at
		if hp.Position != 0 {
			at.Position, at.Check = hp.Position, hp.Check
		}
		if t := threads[hp.Thread]; t != nil {
			h.fanOut(hp, t, at)
		}
		h.at = at
	}
	if h.queued.Load() > h.bounds.Queues {
		h.shrink()
	}
}

// fanOut hands a happening to the sessions of the members of the thread t. at is the cursor
// after the happening. The caller holds h.mu.
func (h *Hub) fanOut(hp *core.Happening, t *core.Thread, at core.Cursor) {
	var shared *Event
	hand := func(m *core.Member, u *user) {
		// The hub has not yet read the newest events, and m is the state of the member at a time
		// after this event. The sessions therefore read from the store which version of the event
		// the user may see.
		if m.Forgot(hp.Number) || m.ReadsOlder(hp) {
			for _, s := range u.sessions {
				if s.wants(hp.Thread) {
					s.reread()
				}
			}
			return
		}
		if !m.Hears(hp) {
			return
		}
		if shared == nil {
			shared = newEvent(hp, t)
		}
		e := shared.forMember(m)
		for _, s := range u.sessions {
			if s.wants(hp.Thread) {
				s.push(e, at)
			}
		}
	}
	if len(h.users) < t.Size() {
		for id, u := range h.users {
			if m := t.Member(id); m != nil {
				hand(m, u)
			}
		}
		return
	}
	for _, ms := range [][]*core.Member{t.Participants(), t.Former()} {
		for _, m := range ms {
			if u := h.users[m.User]; u != nil {
				hand(m, u)
			}
		}
	}
}

// judgeUser ends the sessions of a user whose tokens were revoked or who was deleted.
func (h *Hub) judgeUser(ctx context.Context, id string) {
	h.mu.Lock()
	var all []*Session
	if u := h.users[id]; u != nil {
		all = slices.Clone(u.sessions)
	}
	h.mu.Unlock()
	for _, s := range all {
		if why, err := h.judge(ctx, s.claims); why != 0 {
			if err != nil {
				h.log.Error("read a user whose tokens have ended", "error", err)
			}
			s.End(why)
		}
	}
}

// shrink drops the largest queues of sessions until all queues together hold at most three
// quarters of Bounds.Queues bytes. The affected sessions read the events from the store later.
// The caller holds h.mu.
func (h *Hub) shrink() {
	var all []*Session
	for _, u := range h.users {
		all = append(all, u.sessions...)
	}
	slices.SortFunc(all, func(a, b *Session) int { return b.waiting() - a.waiting() })
	for _, s := range all {
		if h.queued.Load() <= h.bounds.Queues/4*3 {
			return
		}
		s.drop()
	}
}

// pause waits for the time d or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
