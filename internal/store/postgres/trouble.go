package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// StartError is an error of Open or Inspect whose cause an operator can remove. Its text is one
// line that names the database's host. It never contains a password.
type StartError struct {
	What string // what is wrong
	Next string // what to do, as one sentence without a full stop
	Err  error  // the cause
}

// Error returns the text that says what is wrong.
func (e *StartError) Error() string { return e.What }

// Unwrap returns the error that was the cause.
func (e *StartError) Unwrap() error { return e.Err }

// Remedy returns one sentence, without a full stop, that says what an operator can do.
func (e *StartError) Remedy() string { return e.Next }

// trouble is a reason why a database cannot be used.
type trouble uint8

const (
	unknownTrouble trouble = iota
	nobodyListens
	noSocket
	socketForbidden
	unknownHost
	unreachable
	silent
	tlsRefused
	untrusted
	wrongPassword
	noPassword
	noRole
	notAdmitted
	noDatabase
	starting
	stopping
	crowded
	standby
	readOnly
	noRights
	tooOld
	badEncoding
)

// troubles has the texts for each trouble. reason is for /readyz: a sentence about the
// database, "it", that names neither host nor user. what and next are the texts of a
// StartError; {host}, {user}, {database} and {said}, the message of the server, are replaced.
var troubles = map[trouble]struct{ reason, what, next string }{
	nobodyListens: {"it refuses connections",
		"PostgreSQL does not run at {host}: the connection was refused",
		"start PostgreSQL, or correct the host and the port in the address of the database"},
	noSocket: {"its socket does not exist",
		"PostgreSQL does not run at {host}: there is no such socket",
		"start PostgreSQL, or correct the host in the address of the database"},
	socketForbidden: {"its socket may not be used",
		"this user may not use PostgreSQL's socket at {host}",
		"let this user into the socket's folder, or name a host in the address of the database"},
	unknownHost: {"its host is not found",
		"the host of the database is not found: {said}",
		"correct the host in the address of the database, or the names that this machine resolves"},
	unreachable: {"there is no way to its host",
		"there is no way to the database at {host}: {said}",
		"look at the network between this machine and the database, or correct the host in its address"},
	silent: {"it does not answer",
		"PostgreSQL at {host} does not answer",
		"does it run, and does a firewall let this machine reach it? The address of the database may be wrong too"},
	tlsRefused: {"it has no TLS",
		"PostgreSQL at {host} has no TLS, which the address of the database demands",
		"turn ssl on in PostgreSQL; sslmode=disable in the address does without, and then whoever is between can read everything"},
	untrusted: {"its certificate is not trusted",
		"the certificate of PostgreSQL at {host} is not trusted: {said}",
		"name the file of the authority that has signed it with sslrootcert=FILE in the address of the database, and the host by the name in the certificate"},
	wrongPassword: {"it refuses the password",
		`PostgreSQL at {host} refuses the password of the user "{user}"`,
		"correct the user and the password in the address of the database, which --database-file or CONFAB_DATABASE holds"},
	noPassword: {"it asks for a password",
		`PostgreSQL at {host} asks for the password of the user "{user}", and the address of the database has none`,
		"put the address with the password into a file, postgres://USER:PASSWORD@HOST/NAME, and name that with --database-file"},
	noRole: {"its user does not exist",
		`PostgreSQL at {host} has no user "{user}"`,
		`make it, such as with CREATE ROLE "{user}" LOGIN PASSWORD '...', or correct the user in the address of the database`},
	notAdmitted: {"it lets this server not in",
		`PostgreSQL at {host} does not let the user "{user}" in: {said}`,
		"add a line to its pg_hba.conf that lets this user and this machine in, and let it read the file again"},
	noDatabase: {"the database does not exist",
		`PostgreSQL at {host} has no database "{database}"`,
		`make it, such as with CREATE DATABASE "{database}" OWNER "{user}", or correct the name in the address of the database`},
	starting: {"it is starting or stopping",
		"PostgreSQL at {host} takes no connections at the moment: {said}",
		"try again when it has started; its log says what it waits for"},
	stopping: {"it is being stopped",
		"PostgreSQL at {host} is being stopped: {said}",
		"start PostgreSQL"},
	crowded: {"it has too many connections",
		"PostgreSQL at {host} has too many connections: {said}",
		"raise max_connections, as each server of Confab takes up to 16"},
	standby: {"it is a standby, which takes no writes",
		"PostgreSQL at {host} is a standby, which takes no writes",
		"name the primary in the address of the database, or all hosts with target_session_attrs=read-write"},
	readOnly: {"it is read-only",
		"the database at {host} is read-only: {said}",
		"turn default_transaction_read_only off for the database and the user; a full disk and a standby are other reasons"},
	noRights: {"its user may not do this",
		`the user "{user}" may not do what is needed in the database "{database}" at {host}: {said}`,
		`make it the owner: ALTER DATABASE "{database}" OWNER TO "{user}"`},
	tooOld: {"its version is too old",
		"PostgreSQL at {host} has version {said}, and Confab needs 13 or later",
		"upgrade PostgreSQL, or name another one"},
	badEncoding: {"its encoding cannot hold all texts",
		`the database "{database}" at {host} has the encoding {said}, which cannot hold all texts`,
		`make one that can: CREATE DATABASE NAME ENCODING 'UTF8' TEMPLATE template0`},
}

// troubleError is an error that this package detects itself, unlike errors of the driver.
type troubleError struct {
	of   trouble
	said string
}

func (e *troubleError) Error() string {
	if e.said == "" {
		return troubles[e.of].reason
	}
	return troubles[e.of].reason + ": " + e.said
}

// codes maps the SQLSTATE codes of PostgreSQL's errors to troubles.
var codes = map[string]trouble{
	"28P01": wrongPassword,
	"28000": notAdmitted,
	"3D000": noDatabase,
	"57P03": starting,
	"57P01": stopping, "57P02": stopping,
	"53300": crowded,
	"25006": readOnly,
	"42501": noRights,
}

// troubleOf returns the trouble that err stands for, and the message of the server or the
// operating system, if there is one.
func troubleOf(err error) (t trouble, said string) {
	var own *troubleError
	var server *pgconn.PgError
	var name *net.DNSError
	var certificate *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var wait net.Error
	switch {
	case errors.As(err, &own):
		return own.of, own.said
	case errors.As(err, &server):
		t := codes[server.Code]
		if t == notAdmitted && strings.Contains(server.Message, "does not exist") { // only the text of the server's message says that the role does not exist
			t = noRole
		}
		return t, server.Message
	case errors.Is(err, syscall.ECONNREFUSED):
		return nobodyListens, ""
	case errors.Is(err, fs.ErrNotExist):
		return noSocket, ""
	case errors.Is(err, fs.ErrPermission):
		return socketForbidden, ""
	case errors.As(err, &name):
		return unknownHost, name.Error()
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return unreachable, root(err).Error()
	case errors.As(err, &certificate):
		return untrusted, certificate.Err.Error()
	case errors.As(err, &authority), errors.As(err, &host):
		return untrusted, root(err).Error()
	case strings.Contains(err.Error(), "refused TLS"): // only the text of the driver's error says that the server refused TLS
		return tlsRefused, ""
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &wait) && wait.Timeout():
		return silent, ""
	}
	return unknownTrouble, ""
}

// root returns the innermost error that err wraps. If an error wraps several, it follows the
// first.
func root(err error) error {
	for {
		inner := errors.Unwrap(err)
		if several, ok := err.(interface{ Unwrap() []error }); ok && len(several.Unwrap()) > 0 {
			inner = several.Unwrap()[0]
		}
		if inner == nil {
			return err
		}
		err = inner
	}
}

// Reason returns in a few words why a database cannot be used, such as "it refuses
// connections". It names neither the host nor the user.
func Reason(err error) string {
	t, _ := troubleOf(err)
	switch {
	case t != unknownTrouble:
		return troubles[t].reason
	case classify(err) == lost:
		return "its connections break"
	}
	return "it refuses to work"
}

// explain returns an error of Open or Inspect as a *StartError if its cause is known or no
// connection was made. It returns other errors unchanged.
func explain(config *pgx.ConnConfig, err error) error {
	t, said := troubleOf(err)
	if t == wrongPassword && config.Password == "" {
		t = noPassword
	}
	e := &StartError{Err: err}
	var connect *pgconn.ConnectError
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, ErrNewer):
		e.What, e.Next = err.Error(), "install that version or a later one: an older one cannot use these tables"
	case t != unknownTrouble:
		fill := strings.NewReplacer("{host}", hostsOf(config), "{user}", config.User, "{database}", config.Database, "{said}", said).Replace
		e.What, e.Next = fill(troubles[t].what), fill(troubles[t].next)
	case errors.As(err, &connect):
		e.What = fmt.Sprintf("what answers at %s is no PostgreSQL, or refuses to talk: %v", hostsOf(config), root(err))
		e.Next = "correct the address of the database; PostgreSQL's log may say more"
	default:
		return err
	}
	e.What = strings.Join(strings.Fields(e.What), " ") // one line
	return e
}

// hostsOf returns the addresses of all hosts in the configuration, separated by commas.
func hostsOf(config *pgx.ConnConfig) string {
	var all []string
	add := func(host string, port uint16) {
		if _, address := pgconn.NetworkAddress(host, port); !slices.Contains(all, address) {
			all = append(all, address)
		}
	}
	add(config.Host, config.Port)
	for _, f := range config.Fallbacks {
		add(f.Host, f.Port)
	}
	return strings.Join(all, ", ")
}
