package trouter

import (
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/gateway/requests"
	"github.com/confab-chat/confab/internal/token"
)

// pending is a sid, a one-time id from the handshake, with the data that the server needs to open a
// socket for it.
type pending struct {
	sid     string
	claims  token.Claims
	params  params
	made    time.Time
	user    string
	taken   bool    // true if the sid (one-time id) was used to open a WebSocket
	socket  *socket // the socket on the WebSocket that was opened with the sid; nil until the WebSocket is open
	settled bool    // true if the sid (one-time id) was used for long polls
}

// newSids returns an empty set of sids (one-time ids for opening sockets). It may hold as many
// unused sids as the server may have sessions, and for each user twice as many as the user may have
// sessions.
func newSids(b gateway.Bounds) sids {
	return sids{max: b.Sessions, maxOfUser: 2 * b.PerUser, pending: map[string]*pending{}, polls: map[string]*poll{}}
}

// sids holds the sids (one-time ids) that handshakes have issued in the last 30 seconds, and the
// open sockets that use long polls.
type sids struct {
	max, maxOfUser int // maximum number of unused sids (one-time ids) in pending, of all users and of one user

	mu      sync.Mutex // guards the fields below
	pending map[string]*pending
	order   []*pending // the sids in pending, oldest first
	polls   map[string]*poll
}

// add makes a sid, a one-time id for opening a socket, for a user's parameters. It returns false if
// there are too many unused sids.
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

// expire removes the sids (one-time ids) that are older than sidLife. The caller holds s.mu.
func (s *sids) expire(now time.Time) {
	n := 0
	for n < len(s.order) && now.Sub(s.order[n].made) >= sidLife {
		delete(s.pending, s.order[n].sid)
		n++
	}
	s.order = s.order[n:]
}

// take uses up a sid, the one-time id from a handshake, to open a WebSocket. It returns nil if the
// sid is unknown, expired or already used.
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

// opened records which socket was opened with the sid (one-time id) of p.
func (s *sids) opened(p *pending, socket *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.socket = socket
}

// takePoll uses up a sid, the one-time id from a handshake, to open a socket with long polls. The
// sid may already have a WebSocket, if the client has sent nothing on it, for example because a
// proxy delays the client's frames. takePoll then returns the WebSocket's socket too, which the
// caller must end. It returns nil if the sid is not valid.
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

// addPoll records which transport for long polls was opened with a sid (one-time id).
func (s *sids) addPoll(sid string, p *poll) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.polls[sid] = p
}

// poll returns the transport for long polls that was opened with a sid (one-time id), or nil.
func (s *sids) poll(sid string) *poll {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.polls[sid]
}

// removePoll removes the transport for long polls that was opened with a sid (one-time id).
func (s *sids) removePoll(sid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.polls, sid)
}
