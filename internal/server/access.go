package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/why"
)

// accessOf returns a function to which handlers pass the record of each request. The function
// counts refused requests in the metrics, finds out the facts of their reasons, and stores the
// newest requests in s.traffic. It passes the records of the requests that LogRequests selects to
// the function access, or to logAccess if access is nil.
func (s *Server) accessOf(access func(rest.Record)) func(rest.Record) {
	logs := s.logs(access)
	return func(r rest.Record) {
		s.explain(&r)
		s.keep(r)
		if r.Status == 0 || r.Status >= http.StatusBadRequest {
			s.metrics.Refused(refusalReason(r))
			s.figures.Refused(refusalReason(r))
		}
		logs(r)
	}
}

// logs returns a function that passes on the records of the requests that LogRequests selects. It
// passes them to the function access, or to logAccess if access is nil.
func (s *Server) logs(access func(rest.Record)) func(rest.Record) {
	if access == nil {
		access = s.logAccess
	}
	return func(r rest.Record) {
		switch s.logged.Load() {
		case config.AccessOff:
		case config.AccessErrors:
			if r.Status == 0 || r.Status >= http.StatusBadRequest || r.Signed {
				access(r)
			}
		default:
			access(r)
		}
	}
}

// logAccess logs one line about a request, unless refusals.mayLog forbids it. It is the default
// of Options.Access.
func (s *Server) logAccess(r rest.Record) {
	now := time.Now()
	if !s.requests.Enabled(context.Background(), slog.LevelInfo) || !s.refused.mayLog(s.log, r.Status, now) {
		return
	}
	// Make the log record here, because a slog.Logger would also find out the source line of the
	// caller, which costs time.
	line := slog.NewRecord(now, slog.LevelInfo, "request", 0)
	line.AddAttrs(
		slog.Int("status", r.Status), slog.String("operation", r.Operation),
		slog.Float64("ms", float64(r.Duration.Microseconds())/1000),
		slog.String("method", r.Method), slog.String("path", r.Path),
		slog.String("thread", r.Thread), slog.String("user", r.User),
		slog.String("note", r.Note), slog.String("reason", r.Reason),
		slog.String("code", string(r.Why.Code)), slog.String("why", why.Of(r.Why).String()),
		slog.String("client", r.Client), slog.String("agent", r.UserAgent),
		slog.String("request", r.RequestID), slog.String("client_request", r.ClientID))
	_ = s.requests.Handle(context.Background(), line) // ignore the error, because a log line that cannot be written must not fail a request
}

// recorded returns a handler that passes each request to next and then the request's record to
// access. It is for handlers that write no records of their own.
func (s *Server) recorded(operation string, now func() time.Time, access func(rest.Record), next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		record, out := begin(w, r, now()), &statusWriter{ResponseWriter: w}
		record.Operation = operation
		defer func() {
			record.Duration, record.Status = now().Sub(record.Time), out.status
			if p := recover(); p != nil {
				record.Status, record.Note, record.Why = 0, "no answer", why.Because(why.NotWritten, "status", "of the request", "problem", "the handler ended the connection")
				defer panic(p)
			}
			access(record)
		}()
		next.ServeHTTP(out, r)
		if out.status == 0 {
			out.status = http.StatusOK
		}
	})
}

// devOperations maps each path below /dev/ to the name of its operation in access records. Other
// paths below /dev/ get the name "dev".
var devOperations = map[string]string{
	"/dev/clock": "clock", "/dev/faults": "faults", "/dev/join": "join", "/dev/token": "renew token",
}

// recordedDev returns a handler for the paths below /dev/ that records each request, as recorded does.
func (s *Server) recordedDev(now func() time.Time, access func(rest.Record), next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.recorded(cmp.Or(devOperations[r.URL.Path], "dev"), now, access, next).ServeHTTP(w, r)
	})
}

// begin returns the access record of a request that begins now. It makes an id for the request,
// and puts it into the record and into the headers of the response.
func begin(w http.ResponseWriter, r *http.Request, now time.Time) rest.Record {
	id := rand.Text() + ".0"
	w.Header().Set("Ms-Cv", id)
	w.Header().Set("X-Ms-Request-Id", id)
	return rest.Record{
		Time: now, Method: logged(r.Method), Path: logged(r.URL.EscapedPath()),
		UserAgent: logged(r.UserAgent()), Client: logged(hostOf(r.RemoteAddr)),
		RequestID: id, ClientID: logged(r.Header.Get("X-Ms-Client-Request-Id")),
		Request: r, Answer: w.Header(),
	}
}

// chatThreads is the prefix of the paths of most requests. No path of a live protocol begins with
// it, even if some of its letters are escaped. So withoutSecrets and Server.bare need not look at
// such paths further.
const chatThreads = "/chat/threads"

// secretPaths are the prefixes of paths that continue with a secret of a live connection. Package
// trouter does not need this list, because its access records have the pattern of a route instead
// of the path.
var secretPaths = []string{"/socket.io/1/", "/v4/a/", "/v3/registrations/"}

// withoutSecrets returns the escaped path of a request in the form for the log. If the path begins
// with one of secretPaths, "..." replaces the rest, which may be a secret.
func withoutSecrets(path string) string {
	if strings.HasPrefix(path, chatThreads) {
		return path
	}
	plain, err := url.PathUnescape(path)
	if err != nil { // this error means that the log's limit has cut the path in the middle of an escape
		plain = path
	}
	for strings.Contains(plain, "//") {
		plain = strings.ReplaceAll(plain, "//", "/")
	}
	for _, prefix := range secretPaths {
		if len(plain) > len(prefix) && strings.HasPrefix(plain, prefix) {
			return prefix + "..."
		}
	}
	return path
}

// statusWriter is an http.ResponseWriter that remembers the status of the response.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap returns the wrapped writer. http.ResponseController calls it.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func logged(text string) string { return clip.Text(text, rest.MaxLogged) }

// hostOf returns the host of an address of the form host:port. It returns an address without a
// port unchanged.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}
