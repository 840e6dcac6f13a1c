package server

import (
	"cmp"
	"crypto/tls"
	"encoding/binary"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/metrics"
)

// Limits of open files. Without free file descriptors the store could open neither tables nor logs
// and would fail. So the listeners stop accepting connections before the process has reached its
// limit of open files.
const (
	// operatorConnections is the greatest number of connections to the operators' ports. They are
	// counted apart from the connections of clients, so that operators can read the metrics during a
	// flood of clients.
	operatorConnections = 16
	// ownFiles is the number of open files reserved for listeners, logs, the store's lock,
	// and connections that are just being accepted or closed. Connections of clients and
	// other files of the store are counted apart.
	ownFiles = 32
	// storeFiles is the least number of open files reserved for the store: for its tables, or
	// for its connections to the database.
	storeFiles = 64
	// manyFiles is the greatest number of open files reserved for the store.
	manyFiles = 1000
)

// holdTime is half of the longest time for which the connection of a request is held: see gated.hold.
// A client that goes away meanwhile is noticed at the end of that time.
const holdTime = 10 * time.Millisecond

// filesOfStore returns the number of open files reserved for the store, in a process that may
// have files open files: an eighth of them, but at least storeFiles and at most manyFiles.
func filesOfStore(files uint64) int {
	return int(min(max(files/8, storeFiles), manyFiles))
}

// Connections returns the number of connections of clients that a server accepts at a time, in a
// process that may open the given number of files. It is at least 1.
func Connections(files uint64) int {
	return max(int(files)-filesOfStore(files)-ownFiles-operatorConnections, 1)
}

// gate limits the number of connections of some listeners, both in total and from each address.
// When the total is reached, gate closes an idle connection for each new one. An idle connection
// is one that carries no request. gate chooses it from the address with the most connections, but
// spares addresses of trusted proxies while any other address has an idle connection. Of the
// chosen address it first closes a connection that has never carried a request. If no connection
// is idle, the listeners stop accepting until a connection ends or becomes idle.
type gate struct {
	most       int            // greatest number of connections at a time
	perAddress int            // greatest number of connections from one address; 0 means no limit
	exempt     []netip.Prefix // networks of addresses to which perAddress does not apply

	mu    sync.Mutex // guards the fields below, and the fields of all holders and connections of the gate
	ended sync.Cond  // signalled when a connection or a listener was closed
	open  int
	by    map[netip.Addr]*holder // the addresses that have connections

	// recent has the connections whose request began in this period or in the last one, the oldest
	// request first. A period lasts holdTime. endHolds runs at its end, until recent is empty.
	recent  connections
	period  uint64      // number of the current period
	periods *time.Timer // nil before the first request
	running bool        // endHolds will run at the end of the period

	refused, displaced, pauses uint64 // since the start
}

// holder is an address that has connections, with the lists of its connections that wait for a
// request.
type holder struct {
	address netip.Addr
	exempt  bool // whether the address is in a network of gate.exempt, because it is a proxy with the connections of many clients
	open    int
	// Two lists of connections that wait for a request, each with the longest wait first. The list
	// fresh has the connections that never had a request, and the list idle has the others.
	fresh, idle connections
}

func newGate(most, perAddress int, exempt []netip.Prefix) *gate {
	g := &gate{most: most, perAddress: perAddress, exempt: exempt, by: map[netip.Addr]*holder{}}
	g.ended.L = &g.mu
	return g
}

// clientGate returns the gate of the ports for clients. Its limits come from the settings and
// from the limit of open files.
func clientGate(c config.Config) *gate {
	var exempt []netip.Prefix
	if c.Explicit("trusted-proxies") { // use only proxies that the user has set, because the default ones include every program of this machine
		exempt = c.TrustedProxies
	}
	return newGate(Connections(openFiles()), c.ConnectionsPerAddress, exempt)
}

// stats returns the numbers of connections of the gate for the metrics.
func (g *gate) stats() metrics.Connections {
	g.mu.Lock()
	defer g.mu.Unlock()
	return metrics.Connections{Open: g.open, Most: g.most, Refused: g.refused, Displaced: g.displaced, Pauses: g.pauses}
}

// listener returns a listener that counts the connections of l in the gate. It returns a listener
// of a Unix socket unchanged, because its connections have no address and come from this machine
// only.
func (g *gate) listener(l net.Listener) net.Listener {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return l
	}
	return &gatedListener{TCPListener: tcp, gate: g}
}

type gatedListener struct {
	*net.TCPListener
	gate   *gate
	closed bool // guarded by gate.mu
}

// Accept waits for the next connection that the gate lets in. It closes each connection from an
// address that already has as many connections as are allowed.
func (l *gatedListener) Accept() (net.Conn, error) {
	for {
		tcp, err := l.AcceptTCP()
		if err != nil {
			return nil, err
		}
		c, err := l.gate.enter(l, tcp)
		if err != nil || c != nil {
			return c, err
		}
	}
}

// Close closes the listener. Connections that it has accepted stay open.
func (l *gatedListener) Close() error {
	err := l.TCPListener.Close()
	l.gate.mu.Lock()
	defer l.gate.mu.Unlock()
	l.closed = true
	l.gate.ended.Broadcast()
	return err
}

// gated is a connection that a gate counts until it is closed.
type gated struct {
	*net.TCPConn
	gate *gate
	of   *holder

	in         *connections // the list that the connection is in, or nil: fresh or idle of its address, or recent of the gate
	next, prev *gated       // in that list
	closed     bool
	asked      bool   // it has had a request
	since      uint64 // the period in which its last request began

	first atomic.Int32  // the first byte that was read, plus 256; 0 if nothing was read yet
	last  atomic.Uint64 // the last eight bytes that were read, as a big-endian number

	deadlines sync.Mutex // guards the fields below; while it is held, no other lock is acquired
	reading   int        // running calls of TCPConn.Read
	deadline  time.Time  // for reading
	applied   time.Time  // the read deadline that TCPConn has
	mayHold   bool       // a request has begun, is not answered, and may still be held
	held      bool       // Read waits: see hold
	unheld    sync.Cond  // signalled when held or deadline has changed
}

// hold makes Read wait until the request is answered, or until between one and two periods of holdTime
// have passed since it began. The caller is the handler of a request of HTTP/1 and has read its whole
// body. A deadline for reading ends the wait: Read then fails if the deadline has passed, and otherwise
// reads.
//
// While a handler runs, net/http reads from the connection to notice that the client has gone. When
// the handler has returned, net/http ends this read with a deadline in the past. Most requests are
// answered within some milliseconds, and their clients send nothing before that. Without hold, each
// such read is a system call that finds nothing.
func (c *gated) hold() {
	c.deadlines.Lock()
	defer c.deadlines.Unlock()
	c.held = c.mayHold
}

// release ends hold. mayHold says whether later calls of hold have an effect.
func (c *gated) release(mayHold bool) {
	c.deadlines.Lock()
	defer c.deadlines.Unlock()
	c.mayHold, c.held = mayHold, false
	c.unheld.Broadcast()
}

// SetReadDeadline sets the deadline for reading. It also applies to a Read that is running.
// net/http and the handlers set about ten read deadlines for a request, and replace most of them
// before anything is read. A deadline of TCPConn costs a timer of the runtime, so TCPConn gets a
// deadline only when a Read runs. SetReadDeadline fails if a Read is running and the connection is
// closed.
func (c *gated) SetReadDeadline(t time.Time) error {
	c.deadlines.Lock()
	defer c.deadlines.Unlock()
	c.deadline = t
	c.unheld.Broadcast()
	if c.reading == 0 {
		return nil
	}
	return c.applyDeadline()
}

// SetDeadline sets the deadlines for reading and for writing.
func (c *gated) SetDeadline(t time.Time) error {
	return cmp.Or(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// applyDeadline sets the read deadline of TCPConn to c.deadline. It fails if the connection is
// closed. The caller holds c.deadlines.
func (c *gated) applyDeadline() error {
	if c.deadline.Equal(c.applied) {
		return nil
	}
	c.applied = c.deadline
	return c.TCPConn.SetReadDeadline(c.deadline)
}

// read reads from TCPConn with the deadline of SetReadDeadline. Before that it waits while the
// connection is held and has no deadline.
func (c *gated) read(b []byte) (int, error) {
	c.deadlines.Lock()
	for c.held && c.deadline.IsZero() {
		c.unheld.Wait()
	}
	if c.held && time.Until(c.deadline) <= 0 { // as TCPConn would do, without setting two deadlines
		c.deadlines.Unlock()
		return 0, os.ErrDeadlineExceeded
	}
	c.reading++
	c.applyDeadline() // ignore the error: if the connection is closed, Read fails too
	c.deadlines.Unlock()
	n, err := c.TCPConn.Read(b)
	c.deadlines.Lock()
	c.reading--
	c.deadlines.Unlock()
	return n, err
}

// Read reads from the connection, and remembers the first byte and the last eight bytes.
func (c *gated) Read(b []byte) (int, error) {
	n, err := c.read(b)
	if n == 0 {
		return n, err
	}
	if c.first.Load() == 0 {
		c.first.Store(256 + int32(b[0]))
	}
	last := c.last.Load()
	for _, next := range b[max(0, n-8):n] {
		last = last<<8 | uint64(next)
	}
	c.last.Store(last)
	return n, err
}

// firstByte returns the first byte that the client has sent. sent is false if the client has
// sent nothing.
func (c *gated) firstByte() (b byte, sent bool) {
	first := c.first.Load()
	return byte(first), first != 0
}

// lastBytes returns the last eight bytes that the client has sent. If it has sent fewer, the
// array begins with zeros.
func (c *gated) lastBytes() (b [8]byte) {
	binary.BigEndian.PutUint64(b[:], c.last.Load())
	return b
}

// enter waits until the gate has room for the connection, and counts it. It returns nil if it
// closed the connection because its address has too many connections. It fails if the listener is
// closed while it waits.
func (g *gate) enter(l *gatedListener, tcp *net.TCPConn) (*gated, error) {
	address := addressOf(tcp)
	g.mu.Lock()
	defer g.mu.Unlock()
	if of := g.by[address]; of != nil && g.perAddress > 0 && of.open >= g.perAddress && !g.isExempt(tcp) {
		g.refused++
		tcp.SetLinger(0) // make Close send a reset, which frees the port at once
		tcp.Close()
		return nil, nil
	}
	for paused := false; g.open >= g.most && !l.closed; {
		if g.displace() {
			continue
		}
		if !paused {
			paused = true
			g.pauses++
		}
		g.ended.Wait()
	}
	if l.closed {
		tcp.Close()
		return nil, net.ErrClosed
	}
	of := g.by[address]
	if of == nil {
		of = &holder{address: address, exempt: g.isExempt(tcp)}
		g.by[address] = of
	}
	c := &gated{TCPConn: tcp, gate: g, of: of}
	c.unheld.L = &c.deadlines
	g.open++
	of.open++
	c.wait(&of.fresh)
	return c, nil
}

// displace closes a connection that waits for a request. The comment on the type gate says which
// one. displace returns false if no connection waits for a request.
func (g *gate) displace() bool {
	var most *holder
	for _, of := range g.by {
		switch {
		case of.fresh.first == nil && of.idle.first == nil:
		case most == nil, most.exempt && !of.exempt, most.exempt == of.exempt && of.open > most.open:
			most = of
		}
	}
	if most == nil {
		return false
	}
	c := cmp.Or(most.fresh.first, most.idle.first)
	g.displaced++
	c.leave()
	c.TCPConn.Close()
	return true
}

func (g *gate) isExempt(tcp *net.TCPConn) bool {
	ip := remote(tcp)
	for _, p := range g.exempt {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// remote returns the address of the client at the other end of the connection.
func remote(tcp *net.TCPConn) netip.Addr {
	a, ok := tcp.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{} // the connection has ended, so its address is unknown
	}
	return a.AddrPort().Addr().Unmap().WithZone("")
}

// addressOf returns the address under which the connections of a client are counted. For IPv6 it
// is the network of 64 bits that contains the client's address, because one client usually has all
// addresses of such a network.
func addressOf(tcp *net.TCPConn) netip.Addr {
	ip := remote(tcp)
	if !ip.Is6() || ip.IsLoopback() {
		return ip
	}
	network, err := ip.Prefix(64)
	if err != nil {
		return ip
	}
	return network.Addr()
}

// Close closes the connection and removes it from the gate's counts.
func (c *gated) Close() error {
	err := c.TCPConn.Close()
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	c.leave()
	return err
}

// leave removes the connection from the counts, so that the gate can accept another one. The
// caller holds the gate's lock.
func (c *gated) leave() {
	if c.closed {
		return
	}
	c.closed = true
	c.wait(nil)
	c.release(false)
	c.gate.open--
	if c.of.open--; c.of.open == 0 {
		delete(c.gate.by, c.of.address)
	}
	c.gate.ended.Broadcast()
}

// wait moves the connection to the end of in, one of the lists that the field in names. If in is
// nil, the connection is in no list. The caller holds the gate's lock.
func (c *gated) wait(in *connections) {
	if c.in != nil {
		c.in.remove(c)
	}
	if c.in = in; in != nil {
		in.add(c)
	}
}

// connections is a list of connections that are linked by their fields next and prev. The type
// container/list is not used, because it would allocate an element for each request.
type connections struct{ first, last *gated }

// add adds a connection at the end.
func (l *connections) add(c *gated) {
	c.prev, c.next = l.last, nil
	if l.last != nil {
		l.last.next = c
	} else {
		l.first = c
	}
	l.last = c
}

func (l *connections) remove(c *gated) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		l.first = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		l.last = c.prev
	}
	c.next, c.prev = nil, nil
}

// state updates whether a connection waits for a request, and whether it may be held. The function http.Server.ConnState of
// each server calls it.
func (g *gate) state(conn net.Conn, now http.ConnState) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	c, ok := conn.(*gated)
	if !ok {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	c.asked = c.asked || now == http.StateActive
	switch {
	case c.closed:
	case now == http.StateActive:
		c.since = g.period
		c.wait(&g.recent)
		c.release(true)
		g.runPeriods()
	case now == http.StateHijacked:
		c.wait(nil)
		c.release(false)
	case now == http.StateIdle:
		c.wait(&c.of.idle)
		c.release(false)
	}
	if now == http.StateIdle {
		g.ended.Broadcast() // wake a listener that has stopped accepting, because it may continue
	}
}

// runPeriods starts a period, unless one runs. The caller holds the gate's lock.
func (g *gate) runPeriods() {
	switch {
	case g.running:
	case g.periods == nil:
		g.periods = time.AfterFunc(holdTime, g.endHolds)
	default:
		g.periods.Reset(holdTime)
	}
	g.running = true
}

// endHolds ends the period. It releases the connections whose request began before this period,
// so that they notice again when their client goes away.
func (g *gate) endHolds() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := g.recent.first; c != nil && c.since < g.period; c = g.recent.first {
		c.wait(nil)
		c.release(false)
	}
	g.period++
	g.running = false
	if g.recent.first != nil {
		g.runPeriods()
	}
}

// served reports whether a connection has had at least one request.
func (g *gate) served(c *gated) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return c.asked
}
