package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// TestTroubles calls explain with errors that a real PostgreSQL does not return quickly enough
// for a test; package failures tests the others. Each text must be one line, name the host, say
// what to do, and contain no password.
func TestTroubles(t *testing.T) {
	config, err := pgx.ParseConfig("postgres://ann:hush@db.example.org:5433,db2.example.org/chat")
	if err != nil {
		t.Fatal(err)
	}
	dial := func(err error) error {
		return fmt.Errorf("dial: %w", &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", err)})
	}
	const hosts = "db.example.org:5433, db2.example.org:5432"
	for _, tt := range []struct {
		err          error
		what, reason string
	}{
		{&net.DNSError{Err: "no such host", Name: "db.example.org", IsNotFound: true}, "the host of the database is not found: lookup db.example.org: no such host", "its host is not found"},
		{dial(syscall.EHOSTUNREACH), "there is no way to the database at " + hosts + ": no route to host", "there is no way to its host"},
		{dial(syscall.ENETUNREACH), "there is no way to the database at " + hosts + ": network is unreachable", "there is no way to its host"},
		{dial(syscall.EACCES), "this user may not use PostgreSQL's socket at " + hosts, "its socket may not be used"},
		{errors.Join(dial(context.DeadlineExceeded), errors.New("another host")), "PostgreSQL at " + hosts + " does not answer", "it does not answer"},
		{&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "the certificate of PostgreSQL at " + hosts + " is not trusted: x509: certificate signed by unknown authority", "its certificate is not trusted"},
		{&pgconn.PgError{Severity: "FATAL", Code: "57P03", Message: "the database system is starting up"}, "PostgreSQL at " + hosts + " takes no connections at the moment: the database system is starting up", "it is starting or stopping"},
		{&pgconn.PgError{Severity: "FATAL", Code: "57P01", Message: "terminating connection due to administrator command"}, "PostgreSQL at " + hosts + " is being stopped: terminating connection due to administrator command", "it is being stopped"},
	} {
		wrapped := fmt.Errorf("open the store in PostgreSQL: %w", tt.err)
		var e *StartError
		if got := explain(config, wrapped); !errors.As(got, &e) || e.Error() != tt.what || !errors.Is(got, tt.err) {
			t.Errorf("%v: %v, want %q", tt.err, got, tt.what)
		}
		if got := Reason(wrapped); got != tt.reason {
			t.Errorf("%v: reason %q, want %q", tt.err, got, tt.reason)
		}
	}
	for of, texts := range troubles {
		for _, text := range []string{texts.reason, texts.what, texts.next} {
			if text == "" || strings.ContainsAny(text, "\n") || strings.HasSuffix(text, ".") {
				t.Errorf("trouble %d: %q is not one line without a full stop", of, text)
			}
		}
		var e *StartError
		if err := explain(config, &troubleError{of, "x"}); !errors.As(err, &e) || strings.ContainsAny(e.What+e.Next, "{}") || strings.Contains(e.What+e.Next, "hush") || strings.Contains(texts.reason, "{") {
			t.Errorf("trouble %d: %+v", of, err)
		}
	}
	// explain must return errors that no operator can solve unchanged, and also the error of a
	// cancelled start.
	for _, err := range []error{errors.New("a bug"), fmt.Errorf("begin: %w", context.Canceled)} {
		if got := explain(config, err); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
}
