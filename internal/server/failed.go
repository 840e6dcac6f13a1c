package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// FailureKind says why a connection ended before its first request.
type FailureKind string

// The kinds of failures, which are the values of the label kind of the metric
// confab_connections_failed_total.
const (
	Untrusted FailureKind = "untrusted"   // the client refused the certificate, and sent a TLS alert that says so
	HungUp    FailureKind = "hung_up"     // the client ended the connection when it had received the server's certificate
	PlainHTTP FailureKind = "plain_http"  // the client sent plain http to the https port
	TLSToHTTP FailureKind = "tls_to_http" // the client sent TLS to an http port
	OtherTLS  FailureKind = "other"       // the client and the server did not agree on TLS parameters
)

var failureKinds = []FailureKind{Untrusted, HungUp, PlainHTTP, TLSToHTTP, OtherTLS}

// FailedConnection is a connection that ended before its first request.
type FailedConnection struct {
	Time   time.Time
	Kind   FailureKind
	Client string // its address, without a port
	Port   string // of the server
	Detail string // the TLS alert of the client or the error of the TLS library, or empty
	Times  int    // number of failed connections of this kind and client since the last report, including this one
}

// What returns a sentence that says how the connection failed, without a full stop.
func (c FailedConnection) What() string {
	var what string
	switch c.Kind {
	case Untrusted:
		what = fmt.Sprintf("not trusted by %s: %s", c.Client, c.Detail)
	case HungUp:
		what = fmt.Sprintf("%s hung up in the handshake: it may not trust this server", c.Client)
	case PlainHTTP:
		what = fmt.Sprintf("%s speaks http to the https port %s", c.Client, c.Port)
	case TLSToHTTP:
		what = fmt.Sprintf("%s speaks https to the http port %s", c.Client, c.Port)
	default:
		what = fmt.Sprintf("no TLS with %s: %s", c.Client, c.Detail)
	}
	if c.Times > 1 {
		what += fmt.Sprintf(" (%d times)", c.Times)
	}
	return what
}

// distrust lists the TLS alerts with which a client refuses a certificate. Go sends the alert "bad
// certificate", OpenSSL (curl, Python) sends "unknown CA", and browsers and Java send "certificate
// unknown".
var distrust = []tls.AlertError{
	42, // bad certificate
	43, // unsupported certificate
	44, // certificate revoked
	45, // certificate expired
	46, // certificate unknown
	48, // unknown CA
}

// failures counts the connections that ended before their first request, and reports some of
// them.
type failures struct {
	report func(FailedConnection)
	now    func() time.Time

	mu     sync.Mutex // guards the fields below
	recent map[failureOf]*recentFailure
	counts map[FailureKind]uint64 // since the start
}

// failureOf is a kind of failure and the client that failed. Of several failures with an equal
// failureOf within failureEvery, only one is reported.
type failureOf struct {
	kind   FailureKind
	client netip.Addr // the client's address, for IPv6 its network; the zero address stands for all clients beyond maxFailures
}

type recentFailure struct {
	until time.Time // time before which no failure is reported
	held  int       // number of failures since the last report
}

const (
	// failureEvery is the least time between two reports of failures of the same kind and
	// client.
	failureEvery = time.Minute
	// maxFailures is the number of pairs of a kind and a client that are counted separately. Failures
	// of further clients are counted together, as if they came from one client.
	maxFailures = 256
)

func newFailures(report func(FailedConnection), now func() time.Time) *failures {
	return &failures{report: report, now: now, recent: map[failureOf]*recentFailure{}, counts: map[FailureKind]uint64{}}
}

// count returns the number of failures of the kind since the server has started.
func (f *failures) count(kind FailureKind) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[kind]
}

// state reports a connection that was closed before its first request. The function
// http.Server.ConnState of each server calls it, after gate.state.
func (f *failures) state(conn net.Conn, now http.ConnState) {
	if now != http.StateClosed {
		return
	}
	raw := conn
	secure, ok := conn.(*tls.Conn)
	if ok {
		raw = secure.NetConn()
	}
	c, ok := raw.(*gated)
	if !ok || secure != nil && c.gate.served(c) { // of a connection without TLS ignore whether it had a request, because net/http counts any data as one
		return
	}
	kind, detail := failureOfConn(c, secure)
	if kind == "" {
		return
	}
	failed := FailedConnection{Time: f.now(), Kind: kind, Detail: detail, Client: hostOf(c.RemoteAddr().String())}
	if a, ok := c.LocalAddr().(*net.TCPAddr); ok {
		failed.Port = fmt.Sprint(a.Port)
	}
	if failed.Times = f.note(failureOf{kind, c.of.address}, failed.Time); failed.Times > 0 {
		f.report(failed)
	}
}

// note counts a failure. It returns 0 if the failure must not be reported now, because another
// failure with the same key was reported less than failureEvery ago. Otherwise it returns the
// number of failures since the last report, including this one.
func (f *failures) note(key failureOf, now time.Time) (times int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[key.kind]++
	if f.recent[key] == nil && len(f.recent) >= maxFailures {
		for k, r := range f.recent {
			if !now.Before(r.until) {
				delete(f.recent, k)
			}
		}
		if len(f.recent) >= maxFailures {
			key.client = netip.Addr{}
		}
	}
	r := f.recent[key]
	if r == nil {
		r = &recentFailure{}
		f.recent[key] = r
	}
	r.held++
	if now.Before(r.until) {
		return 0
	}
	times, r.held, r.until = r.held, 0, now.Add(failureEvery)
	return times
}

// failureOfConn returns why a closed connection had no request. The argument secure is the TLS
// connection on top of c, or nil. The kind is empty if nothing failed: for example, if the client
// opened the connection for later use, or only checked whether the port is open.
func failureOfConn(c *gated, secure *tls.Conn) (kind FailureKind, detail string) {
	first, sent := c.firstByte()
	switch {
	case !sent:
		return "", ""
	case secure == nil:
		if first == tlsHandshake {
			return TLSToHTTP, ""
		}
		return "", ""
	}
	err := secure.Handshake() // get the error of the handshake, which has already ended
	if err == nil {
		// Some clients refuse the certificate only after the handshake. Because the connection is
		// closed, Read returns the error that ended it.
		_, err = secure.Read(make([]byte, 1))
		if kind, detail := alertOf(err); kind == Untrusted {
			return kind, detail
		}
		return "", ""
	}
	if kind, detail := alertOf(err); kind != "" {
		return kind, detail
	}
	if alert, ok := plainAlert(c.lastBytes()); ok && slices.Contains(distrust, alert) {
		return Untrusted, alertText(alert)
	}
	var record tls.RecordHeaderError
	switch {
	case errors.Is(err, net.ErrClosed): // this server has closed the connection
		return "", ""
	case errors.As(err, &record) && slices.Contains(httpBegins, string(record.RecordHeader[:])):
		return PlainHTTP, ""
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return HungUp, ""
	}
	return OtherTLS, strings.TrimPrefix(err.Error(), "tls: ")
}

// tlsHandshake is the first byte that a TLS client sends: the type of a handshake record.
const tlsHandshake = 22

// httpBegins lists the first five bytes of HTTP requests. TLS first reads the header of a record,
// which has five bytes. So if a client sends HTTP to a TLS port, the error of the TLS library
// contains these bytes.
var httpBegins = []string{"GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "PATCH", "DELET", "CONNE", "PRI *"}

// alertOf returns the kind of failure if err says that the client ended the connection with a
// TLS alert. Otherwise the kind is empty.
func alertOf(err error) (kind FailureKind, detail string) {
	var remote *net.OpError
	if !errors.As(err, &remote) || remote.Op != "remote error" {
		return "", ""
	}
	for _, alert := range distrust {
		if remote.Err.Error() == alert.Error() { // compare the texts of the errors, because crypto/tls does not export the type of the alert
			return Untrusted, alertText(alert)
		}
	}
	return OtherTLS, "the client says: " + strings.TrimPrefix(remote.Err.Error(), "tls: ")
}

// plainAlert returns the TLS alert in the last bytes that a client sent. ok is false if they
// contain none. OpenSSL (curl, Python) sends the alert without encryption even where TLS 1.3
// requires encryption, so that crypto/tls cannot read it and reports a bad record.
func plainAlert(last [8]byte) (alert tls.AlertError, ok bool) {
	const alertRecord, fatal = 21, 2
	record := last[1:] // type, version, length, level, alert
	ok = record[0] == alertRecord && record[1] == 3 && record[3] == 0 && record[4] == 2 && record[5] == fatal
	return tls.AlertError(record[6]), ok
}

func alertText(alert tls.AlertError) string { return strings.TrimPrefix(alert.Error(), "tls: ") }

// logFailed returns a function that logs a connection that ended before its first request. It is
// the default of Options.Failed. A development server also logs what the developer can do about
// the failure, with command lines that the function command returns.
func (s *Server) logFailed(dev bool, command func(name string) string) func(FailedConnection) {
	return func(c FailedConnection) {
		fields := []any{slog.String("kind", string(c.Kind)), slog.String("client", c.Client), slog.String("port", c.Port), slog.Int("times", c.Times)}
		if dev && (c.Kind == Untrusted || c.Kind == HungUp) {
			next := fmt.Sprintf("start the client with %s -- COMMAND, or see %s and %s", command("run"), command("env"), command("trust"))
			if s.info.Memory {
				next = "let the client trust " + s.info.CAFile
			}
			fields = append(fields, slog.String("next", next))
		}
		c.Times = 0 // clear the number in the text, because the log line has a field for it
		s.log.Info("no request: "+c.What(), fields...)
	}
}

// command returns Options.Command. If that is nil, it returns a function that puts "confab "
// before a command name: for "token" it returns "confab token".
func (o Options) command() func(name string) string {
	if o.Command != nil {
		return o.Command
	}
	return func(name string) string { return "confab " + name }
}

// failuresOf returns a new counter of failed connections. It reports them to Options.Failed, or
// logs them if that is nil.
func (s *Server) failuresOf(o Options) *failures {
	report := o.Failed
	if report == nil {
		report = s.logFailed(o.Config.Dev, o.command())
	}
	return newFailures(report, o.Now)
}
