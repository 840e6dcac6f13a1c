package server

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/metrics"
)

// heldBodies is the greatest number of bytes of request bodies that the server may hold in memory
// at a time, for all clients together. If four bodies of the largest allowed size need more, the
// limit is four times that size.
const heldBodies = 64 << 20

// bodies counts the bytes of request bodies that handlers have read, until the handlers return. If
// the bytes exceed the limit, bodies closes the connection that holds the most bytes. So clients
// whose bodies never end lose their connections, and clients with short bodies do not. On a
// connection of a proxy, bodies ends only the request that holds the most bytes, because the other
// requests on that connection are from other clients.
//
// Bytes of a closed connection no longer count, although its handler still holds them. Otherwise
// the next client with a short body would lose its connection because of the bytes of other
// clients. They count again when all held bytes exceed twice the limit.
type bodies struct {
	most int64

	memory sync.Pool // of *copied

	mu      sync.Mutex // guards the fields below and the fields of all carriers
	held    int64
	ending  int64             // number of the held bytes that came over connections or requests that the server has ended
	by      map[*carrier]bool // the carriers that hold bytes
	dropped uint64
}

func newBodies(most int64) *bodies { return &bodies{most: most, by: map[*carrier]bool{}} }

// carrier is a connection of a client, for which the server counts the bytes of request bodies and
// the abandoned requests. One connection may have many requests at a time (HTTP/2). Each request
// on a connection of a proxy gets a carrier of its own.
type carrier struct {
	conn   *gated // the connection if a gate has accepted it, or nil
	end    func() // closes the connection, or ends the one request of the carrier
	shared bool   // the carrier is a whole connection of a proxy, to which the limits do not apply
	held   int64
	cut    bool // end was called
	whole  bool // whether the body of the proxy's request has arrived, so that calling end would hit the next request on the connection

	since     time.Time // beginning of the second for which the field abandoned counts requests
	abandoned int       // number of requests in this second for whose answer the client did not wait
}

// maxAbandoned is the number of requests that a client may abandon in a second on one connection,
// by resetting them or by not waiting for the answer. An abandoned request costs the server work,
// but the client nothing.
const maxAbandoned = 100

type carrierKey struct{}

// withCarrier adds a new carrier to the context of the requests of a connection. It is the
// function http.Server.ConnContext of all servers.
func withCarrier(ctx context.Context, conn net.Conn) context.Context {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn() // close the TCP connection, because closing a TLS connection would wait for the client
	}
	c, ok := conn.(*gated)
	return context.WithValue(ctx, carrierKey{}, &carrier{conn: c, end: func() { conn.Close() }, shared: ok && c.of.exempt})
}

// limit returns a handler that passes requests to next. It counts the bytes of their bodies, and
// the requests that clients abandon.
//
// If a request has a body, next gets a copy of the request with another Body. The original request
// must keep the Body of net/http, because net/http uses it to close the connection of a client
// that still waits for a 100 (Continue). Later requests reuse the memory of the copy, so next must
// not use the copy after it has returned, unless next has panicked or has taken over the
// connection.
func (b *bodies) limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		of, ok := r.Context().Value(carrierKey{}).(*carrier)
		var last func() // called when a request of a proxy was ended just after its body had arrived
		if ok && of.shared {
			of = &carrier{conn: of.conn, end: func() { http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0)) }}
			last = func() {
				if r.ProtoMajor == 1 { // close the connection only over HTTP/1, because over HTTP/2 each stream has a deadline of its own
					w.Header().Set("Connection", "close")
				}
			}
		}
		if ok {
			if r.Context().Err() != nil {
				b.abandon(of)
				panic(http.ErrAbortHandler) // abort the request without an answer, because the client no longer waits for one
			}
			defer func() {
				if r.Context().Err() != nil {
					b.abandon(of)
				}
			}()
		}
		var hold *gated
		if ok && r.ProtoMajor == 1 { // a connection of HTTP/2 has other requests to read
			hold = of.conn
		}
		if hold != nil && r.ContentLength == 0 {
			hold.hold()
		}
		if !ok || r.ContentLength == 0 {
			next.ServeHTTP(w, r)
			return
		}
		other, ok := b.memory.Get().(*copied)
		if !ok {
			other = new(copied)
		}
		other.body = countedBody{ReadCloser: r.Body, bodies: b, of: of, last: last, hold: hold}
		other.request = *r
		other.request.Body = &other.body
		returned := false
		defer func() {
			other.body.release()
			if returned && !other.body.memory.out.taken {
				*other = copied{}
				b.memory.Put(other)
			}
		}()
		next.ServeHTTP(w, &other.request)
		returned = true
	})
}

// copied is the copy of a request that the next handler gets, with the memory for the copy's body.
type copied struct {
	request http.Request
	body    countedBody
}

// abandon counts a request for whose answer the client did not wait. If the client has abandoned
// more than maxAbandoned requests in this second, abandon closes the connection.
func (b *bodies) abandon(of *carrier) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := time.Now(); now.Sub(of.since) >= time.Second {
		of.since, of.abandoned = now, 0
	}
	if of.abandoned++; of.abandoned > maxAbandoned && !of.cut {
		b.cut(of)
	}
}

// cut closes the connection of a client or, on a connection of a proxy, ends the one request of
// the carrier. The caller holds b.mu.
func (b *bodies) cut(of *carrier) {
	of.cut = true
	b.ending += of.held
	b.dropped++
	of.end()
}

// countedBody is the body of a request. The bytes that a handler reads from it count as held
// until release is called.
type countedBody struct {
	io.ReadCloser
	bodies *bodies
	of     *carrier
	last   func() // called if a request of a proxy was ended just after its body had arrived; nil for a client's own connection
	held   int64  // guarded by bodies.mu
	hold   *gated // held when the whole body has been read; or nil
	memory limitMemory
}

// Read reads from the body and counts the bytes as held.
func (c *countedBody) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if n > 0 {
		c.bodies.take(c, int64(n))
	}
	if err == io.EOF && c.hold != nil {
		c.hold.hold()
	}
	if err == io.EOF && c.last != nil && c.bodies.complete(c.of) {
		c.last() // close the connection, because the request was ended just after its body had arrived and the expired deadline would end the next request on the connection
	}
	return n, err
}

// complete notes that the body of a request of a proxy has arrived. It reports whether the server
// has ended the request meanwhile.
func (b *bodies) complete(of *carrier) (cut bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	of.whole = true
	return of.cut
}

func (b *bodies) take(c *countedBody, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c.held += n
	c.of.held += n
	b.held += n
	b.by[c.of] = true
	if c.of.cut {
		b.ending += n
	}
	if b.held-b.ending <= b.most && b.held <= 2*b.most {
		return
	}
	var largest *carrier
	for of := range b.by {
		if !of.cut && !of.whole && (largest == nil || of.held > largest.held) {
			largest = of
		}
	}
	if largest != nil {
		b.cut(largest)
	}
}

// release subtracts the bytes of this body from the number of bytes that the server holds.
func (c *countedBody) release() {
	b := c.bodies
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held -= c.held
	if c.of.cut {
		b.ending -= c.held
	}
	if c.of.held -= c.held; c.of.held == 0 {
		delete(b.by, c.of)
	}
	c.held = 0
}

// connectionStats returns the numbers about the connections of clients for the metrics.
func (s *Server) connectionStats() metrics.Connections {
	m := s.clients.stats()
	s.bodies.mu.Lock()
	defer s.bodies.mu.Unlock()
	m.Dropped, m.Held = s.bodies.dropped, s.bodies.held
	return m
}
