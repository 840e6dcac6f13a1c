package trouter

import (
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/gateway/requests"
	"github.com/confab-chat/confab/internal/token"
)

// pending is what a sid stands for until its socket opens.
type pending struct {
	sid     string
	claims  token.Claims
	params  params
	made    time.Time
	user    string
	taken   bool    // used for a WebSocket
	socket  *socket // that WebSocket once it is open
	settled bool    // used for polling
}

// newSids returns an empty set. As many sids may wait as sessions may be open, and two for
// each session that a user may have.
func newSids(b gateway.Bounds) sids {
	return sids{max: b.Sessions, maxOfUser: 2 * b.PerUser, pending: map[string]*pending{}, polls: map[string]*poll{}}
}

// sids has the sids that this server has issued in the last 30 seconds, and the polling
// transports that are open.
type sids struct {
	max, maxOfUser int // sids that wait for their sockets

	mu      sync.Mutex // guards the fields below
	pending map[string]*pending
	order   []*pending // as they were made
	polls   map[string]*poll
}

// add returns a new sid. ok is false if there are too many.
func (s *sids) add(c token.Claims, p params) (sid string, ok bool) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	of := 0
	for _, q := range s.order {
		if q.user == c.User {
			of++
		}
	}
	if of >= s.maxOfUser || len(s.order) >= s.max {
		return "", false
	}
	q := &pending{sid: requests.RandomText(24), claims: c, params: p, made: now, user: c.User}
	s.pending[q.sid] = q
	s.order = append(s.order, q)
	return q.sid, true
}

// expire forgets the sids that are too old. The caller holds s.mu.
func (s *sids) expire(now time.Time) {
	n := 0
	for n < len(s.order) && now.Sub(s.order[n].made) >= sidLife {
		delete(s.pending, s.order[n].sid)
		n++
	}
	s.order = s.order[n:]
}

// take uses a sid for a WebSocket. It returns nil if the sid is not valid.
func (s *sids) take(sid string) *pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(time.Now())
	p := s.pending[sid]
	if p == nil || p.taken || p.settled {
		return nil
	}
	p.taken = true
	return p
}

// opened records the WebSocket that was opened with a sid.
func (s *sids) opened(p *pending, socket *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.socket = socket
}

// takePoll uses a sid for polling. The sid may be that of a WebSocket on which nothing was
// heard from the client, for example because a proxy holds its frames back: then it returns
// that socket too, which must end. It returns nil if the sid is not valid.
func (s *sids) takePoll(sid string) (p *pending, mute *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(time.Now())
	p = s.pending[sid]
	if p == nil || p.settled || p.taken && (p.socket == nil || !p.socket.mute()) {
		return nil, nil
	}
	p.settled = true
	return p, p.socket
}

// addPoll adds an open polling transport.
func (s *sids) addPoll(sid string, p *poll) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.polls[sid] = p
}

// poll returns the open polling transport with a sid, or nil.
func (s *sids) poll(sid string) *poll {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.polls[sid]
}

// removePoll removes a polling transport.
func (s *sids) removePoll(sid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.polls, sid)
}
