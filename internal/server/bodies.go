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

// heldBodies is the greatest number of bytes of request bodies that the server may hold in
// memory at a time, for all clients together. If four bodies of the largest allowed size have
// more bytes, their size is the limit.
const heldBodies = 64 << 20

// bodies counts the bytes of request bodies that handlers have read, until the handlers return.
// If they exceed the limit, it closes the connection that holds the most bytes, so that clients
// whose bodies never end lose their connections and clients with short bodies do not. On a
// connection of a proxy it ends only the request that holds the most, because the other requests
// on that connection are those of other clients.
//
// Bytes of a closed connection no longer count, although its handler still holds them: otherwise
// the next client with a short body would lose its connection because of bytes of others. They
// count again when all held bytes exceed twice the limit.
type bodies struct {
	most int64

	memory sync.Pool // of *copied

	mu      sync.Mutex // guards the fields below and those of carriers
	held    int64
	ending  int64             // the bytes in held that belong to carriers that were cut
	by      map[*carrier]bool // the carriers that hold bytes
	dropped uint64
}

func newBodies(most int64) *bodies { return &bodies{most: most, by: map[*carrier]bool{}} }

// carrier is a connection of a client, for counting the bytes and the abandoned requests on it.
// HTTP/2 sends many requests on one connection. Each request on a connection of a proxy gets a
// carrier of its own.
type carrier struct {
	conn   *gated // the connection if a gate has accepted it, or nil
	end    func() // closes the connection, or ends the one request of the carrier
	shared bool   // this is the connection of a proxy, which has no bounds
	held   int64
	cut    bool // end was called
	whole  bool // the body of a request of a proxy has arrived, so end would hit the next request on the connection

	since     time.Time // begin of the second in which abandoned counts
	abandoned int       // requests for whose answer the client did not wait
}

// maxAbandoned is the number of requests in a second that a client may reset or leave without
// waiting for the answer, on one connection. An abandoned request causes work for the server,
// but none for the client.
const maxAbandoned = 100

type carrierKey struct{}

// withCarrier adds a new carrier to the context of the requests of a connection. It is the
// function http.Server.ConnContext of all servers.
func withCarrier(ctx context.Context, conn net.Conn) context.Context {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn() // unlike Close of a TLS connection, Close of this one does not wait for the client
	}
	c, ok := conn.(*gated)
	return context.WithValue(ctx, carrierKey{}, &carrier{conn: c, end: func() { conn.Close() }, shared: ok && c.of.exempt})
}

// limit returns a handler that passes requests to next. It counts the bytes of their bodies, and
// the requests that clients abandon.
//
// next gets a copy of a request with a body, with another Body. net/http must find its own Body in the
// original request: it then closes the connection of a client that still waits for a 100
// (Continue). Later requests use the memory of the copy again, so next must not keep the copy after
// it has returned, unless it has panicked or has taken over the connection.
func (b *bodies) limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		of, ok := r.Context().Value(carrierKey{}).(*carrier)
		var last func() // see countedBody.last
		if ok && of.shared {
			of = &carrier{conn: of.conn, end: func() { http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0)) }}
			last = func() {
				if r.ProtoMajor == 1 { // the streams of HTTP/2 have deadlines of their own
					w.Header().Set("Connection", "close")
				}
			}
		}
		if ok {
			if r.Context().Err() != nil {
				b.abandon(of)
				panic(http.ErrAbortHandler) // nobody waits for an answer
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

// copied is the copy of a request for the next handler, with the memory of its body.
type copied struct {
	request http.Request
	body    countedBody
}

// abandon counts a request that the client did not wait for. If there are more than maxAbandoned
// in a second, it closes the connection.
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

// cut closes the connection of the carrier, or ends its request on a
// connection of a proxy. The caller holds b.mu.
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
	last   func() // called if a request of a proxy was cut just after its body; nil for a client's connection
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
		c.last() // the request was cut just after its body arrived: close the connection, or the deadline would end its next request
	}
	return n, err
}

// complete notes that the body of a request of a proxy has arrived. It reports whether the
// request was cut meanwhile.
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

// release subtracts the bytes of this body from the number of held bytes.
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
