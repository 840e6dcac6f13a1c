//go:build unix

package failures

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// TestUnusableDatabases starts servers on databases that cannot be used for different reasons.
// Each server must end with one message that names the host and says what to do, and that does
// not contain the password. It must not create its data folder. confab doctor must print the
// same reason. For a database that can be used confab doctor must describe its content.
func TestUnusableDatabases(t *testing.T) {
	address := database(t)
	c := newServers(t)
	u := &unusable{cluster: c, t: t, address: address, stamp: time.Now().UnixNano()}
	c.postgres = postgres{os.Getenv("TEST_POSTGRES_BIN"), os.Getenv("TEST_POSTGRES_DATA"), os.Getenv("TEST_POSTGRES_USER")}
	host := u.parsed().Host
	const begin = "PostgreSQL at HOST "

	nobody := freePort(t)
	u.fails("nobody listens", "postgres://ann:hush@"+nobody+"/chat", true,
		"PostgreSQL does not run at "+nobody+": the connection was refused.", "Start PostgreSQL, or correct the host and the port in the address of the database.")
	u.fails("no socket", "postgres:///chat?host=/nowhere", false,
		"PostgreSQL does not run at /nowhere/.s.PGSQL.5432: there is no such socket.", "Start PostgreSQL, ")
	u.fails("no database", u.url("", "", "none", ""), true,
		begin+`has no database "none".`, `Make it, such as with CREATE DATABASE "none" OWNER "confab", or correct the name `)
	u.fails("no user", u.url("nobody", "", "postgres", ""), false, begin+`has no user "nobody".`, `Make it, such as with CREATE ROLE "nobody" LOGIN PASSWORD '...', `)
	u.fails("no TLS", u.url("", "", "postgres", "sslmode=require"), false,
		begin+"has no TLS, which the address of the database demands.", "Turn ssl on in PostgreSQL; ")

	locked, barred, crowded, plain := u.role("locked"), u.role("barred"), u.role("crowded"), u.role("plain")
	u.admit(locked, barred)
	u.fails("wrong password", u.url(locked, "hush", "postgres", ""), false,
		begin+`refuses the password of the user "`+locked+`".`, "Correct the user and the password in the address of the database, ")
	u.fails("no password", u.url(locked, "", "postgres", ""), false,
		begin+`asks for the password of the user "`+locked+`", and the address of the database has none.`, "Put the address with the password into a file, ")
	u.fails("not admitted", u.url(barred, "", "postgres", ""), false,
		begin+`does not let the user "`+barred+`" in: pg_hba.conf rejects connection for host "127.0.0.1", user "`+barred+`", database "postgres", no encryption.`, "Add a line to its pg_hba.conf ")

	u.do(`CREATE ROLE ` + crowded + ` LOGIN CONNECTION LIMIT 0`)
	u.fails("too many connections", u.url(crowded, "", "postgres", ""), false,
		begin+`has too many connections: too many connections for role "`+crowded+`".`, "Raise max_connections, as each server of Confab takes up to 16.")
	own := u.newDatabase("")
	u.do(`CREATE ROLE ` + plain + ` LOGIN`)
	u.on(own, `REVOKE CREATE ON SCHEMA public FROM PUBLIC`)
	u.fails("no rights", u.url(plain, "", own, ""), false,
		`the user "`+plain+`" may not do what is needed in the database "`+own+`" at HOST: `, `Make it the owner: ALTER DATABASE "`+own+`" OWNER TO "`+plain+`"`)
	u.do(`ALTER ROLE ` + plain + ` SET default_transaction_read_only = on`)
	u.do(`ALTER DATABASE "` + own + `" OWNER TO ` + plain)
	u.fails("read-only", u.url(plain, "", own, ""), false, "the database at HOST is read-only: ", "Turn default_transaction_read_only off ")
	u.fails("an encoding of few letters", u.url("", "", u.newDatabase(`ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0`), ""), false,
		`has the encoding LATIN1, which cannot hold all texts.`, "Make one that can: CREATE DATABASE ")

	silent, err := net.Listen("tcp", "127.0.0.1:0") // the operating system accepts connections to this listener, but no program answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	u.fails("no answer", "postgres://ann:hush@"+silent.Addr().String()+"/chat?sslmode=disable&connect_timeout=1", false,
		"PostgreSQL at "+silent.Addr().String()+" does not answer.", "Does it run, and does a firewall let this machine reach it?")
	mail := serveTCP(t, func(conn net.Conn) { io.WriteString(conn, "220 mail.example.org ready\r\n") })
	u.fails("a mail server", "postgres://ann:hush@"+mail+"/chat?sslmode=disable", false,
		"what answers at "+mail+" is no PostgreSQL, or refuses to talk: ", "Correct the address of the database; ")
	old := serveTCP(t, talkLikeOldPostgres)
	u.fails("an old version", "postgres://ann:hush@"+old+"/chat?sslmode=disable", false,
		"PostgreSQL at "+old+" has version 12.22 (Debian 12.22-1), and Confab needs 13 or later.", "Upgrade PostgreSQL, or name another one.")

	fresh := u.newDatabase("")
	u.doctor(u.url("", "", fresh, ""), "^ok        database      PostgreSQL ", ` at `+host+`, database "`+fresh+`": no tables yet, the first start makes them`+"\n")
	n := c.addNode(t, "CONFAB_DATABASE="+u.url("", "", fresh, ""))
	n.kill()
	u.doctor(u.url("", "", fresh, ""), "^ok        database      PostgreSQL ", ` at `+host+`, database "`+fresh+`": tables of version `)
	u.on(fresh, `INSERT INTO schema_versions (version_id, is_applied) VALUES (99, true)`)
	u.fails("newer tables", u.url("", "", fresh, ""), false,
		"the tables were written by a newer version of Confab: they have version 99, this one knows up to ", "Install that version or a later one: ")

	u.demote()
	u.fails("a standby", u.url("", "", "postgres", ""), true,
		begin+"is a standby, which takes no writes.", "Name the primary in the address of the database, ")
}

// unusable is the state of TestUnusableDatabases.
type unusable struct {
	*cluster
	t       *testing.T
	address string // URL of the real PostgreSQL server, with the name of its superuser
	stamp   int64  // time of this run in nanoseconds, which makes the names of databases and roles unique
	made    int    // number of databases that the test has created
}

func (u *unusable) parsed() *url.URL {
	u.t.Helper()
	parsed, err := url.Parse(u.address)
	if err != nil {
		u.t.Fatal(err)
	}
	return parsed
}

// url returns the address of a database on the real PostgreSQL, for the given user, or for the
// superuser if user is empty. If query is not empty, it replaces the query part of the superuser's
// address.
func (u *unusable) url(user, password, name, query string) string {
	a := u.parsed()
	switch {
	case password != "":
		a.User = url.UserPassword(user, password)
	case user != "":
		a.User = url.User(user)
	}
	a.Path = name
	if query != "" {
		a.RawQuery = query
	}
	return a.String()
}

// do runs SQL statements as the superuser in the database postgres; on runs them in the named
// database.
func (u *unusable) do(sql string) { u.t.Helper(); u.on("postgres", sql) }
func (u *unusable) on(name, sql string) {
	u.t.Helper()
	conn, err := pgx.Connect(u.t.Context(), u.url("", "", name, ""))
	if err != nil {
		u.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(u.t.Context(), sql); err != nil {
		u.t.Fatalf("%s: %v", sql, err)
	}
}

func (u *unusable) newDatabase(options string) (name string) {
	u.t.Helper()
	u.made++
	name = fmt.Sprintf("unusable_%d_%d", u.made, u.stamp)
	u.do(`CREATE DATABASE "` + name + `" ` + options)
	return name
}

// fails starts a server on a database that cannot be used, and checks the server's message. The
// first line of the message must contain the text what, in which HOST stands for the host of the
// real PostgreSQL. The second line must begin with the text next. If doctor is true, confab doctor
// must print the text what too.
func (u *unusable) fails(name, address string, doctor bool, what, next string) {
	u.t.Helper()
	what = strings.ReplaceAll(what, "HOST", u.parsed().Host)
	data := filepath.Join(u.t.TempDir(), "data")
	code, _, said := u.run(address, "serve", "--data", data, "--listen", "127.0.0.1:0", "--listen-ops", "off")
	first, second, ok := strings.Cut(said, "\n        ")
	if code != 1 || !ok || !strings.HasPrefix(first, "confab: ") || !strings.Contains(first, what) || !strings.HasPrefix(second, next) || strings.Count(said, "\n") != 2 {
		u.t.Errorf("%s: exit code %d and\n%s\nwant 1, one line with\n%s\nand one that begins with\n%s", name, code, said, what, next)
	}
	if strings.Contains(said, "hush") {
		u.t.Errorf("%s: the message shows the password:\n%s", name, said)
	}
	if _, err := os.Stat(data); !errors.Is(err, os.ErrNotExist) {
		u.t.Errorf("%s: the data folder was made (%v)", name, err)
	}
	if doctor {
		u.doctor(address, "broken    database      ", strings.TrimSuffix(what, "."))
	}
}

// doctor runs confab doctor with a database, and with a PATH that has no interpreters. It checks
// that one line of the output contains all the texts.
func (u *unusable) doctor(address string, texts ...string) {
	u.t.Helper()
	_, out, said := u.run(address, "doctor", "--data", filepath.Join(u.t.TempDir(), "data"), "--listen", "127.0.0.1:0", "--listen-ops", "off")
lines:
	for line := range strings.Lines(out) {
		for _, text := range texts {
			if begin, ok := strings.CutPrefix(text, "^"); ok && !strings.HasPrefix(line, begin) || !ok && !strings.Contains(line, text) {
				continue lines
			}
		}
		return
	}
	u.t.Errorf("confab doctor has no line with %q:\n%s%s", texts, out, said)
}

// run runs a confab command whose environment names a database. It returns the exit code and the
// output.
func (u *unusable) run(address string, args ...string) (code int, stdout, stderr string) {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(u.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, u.binary, args...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	cmd.Env = []string{"PATH=/nowhere", "HOME=" + u.t.TempDir(), "CONFAB_DATABASE=" + address, "CONFAB_LOG_LEVEL=error"}
	cmd.Run()
	return cmd.ProcessState.ExitCode(), out.String(), said.String()
}

// role returns a name for a PostgreSQL role that no other run of the test uses.
func (u *unusable) role(name string) string { return fmt.Sprintf("%s_%d", name, u.stamp) }

// admit creates two PostgreSQL roles: locked, which needs a password, and barred, whose
// connections PostgreSQL refuses.
func (u *unusable) admit(locked, barred string) {
	u.t.Helper()
	u.do(`CREATE ROLE ` + locked + ` LOGIN PASSWORD 'right'`)
	u.do(`CREATE ROLE ` + barred + ` LOGIN`)
	name := filepath.Join(u.postgres.data, "pg_hba.conf")
	before, err := os.ReadFile(name)
	if err != nil {
		u.t.Fatal(err)
	}
	admitted := "host all " + locked + " 127.0.0.1/32 scram-sha-256\nhost all " + barred + " 127.0.0.1/32 reject\n" + string(before)
	if err := os.WriteFile(name, []byte(admitted), 0o600); err != nil {
		u.t.Fatal(err)
	}
	u.do(`SELECT pg_reload_conf()`)
	u.t.Cleanup(func() {
		if err := os.WriteFile(name, before, 0o600); err != nil {
			u.t.Error(err)
		}
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) { // repeat, because PostgreSQL reads the file only some time after pg_reload_conf
		conn, err := pgx.Connect(u.t.Context(), u.url(barred, "", "postgres", ""))
		var refused *pgconn.PgError
		if errors.As(err, &refused) {
			return
		}
		if err == nil {
			conn.Close(context.Background())
		}
		if time.Now().After(deadline) {
			u.t.Fatalf("PostgreSQL has not read its pg_hba.conf: %v", err)
		}
	}
}

// demote restarts PostgreSQL as a standby, and as a primary again when the test ends.
func (u *unusable) demote() {
	u.t.Helper()
	signal := filepath.Join(u.postgres.data, "standby.signal")
	start := func() { u.ctl(u.t, "start", "-w", "-l", filepath.Join(u.postgres.data, "again.log")) }
	u.ctl(u.t, "stop", "-m", "fast")
	if err := os.WriteFile(signal, nil, 0o644); err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() {
		u.ctl(u.t, "stop", "-m", "fast")
		if err := os.Remove(signal); err != nil {
			u.t.Fatal(err)
		}
		start()
	})
	start()
}

// serveTCP listens on a port until the test ends, and returns the port's address. It calls serve
// with each connection and then closes the connection.
func serveTCP(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(time.Minute))
				serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	return l.Addr().String()
}

// talkLikeOldPostgres answers like PostgreSQL 12, which is no longer available. It stops when
// the client sends something other than a simple query.
func talkLikeOldPostgres(conn net.Conn) {
	b := pgproto3.NewBackend(conn, conn)
	if _, err := b.ReceiveStartupMessage(); err != nil {
		return
	}
	b.Send(&pgproto3.AuthenticationOk{})
	for name, value := range map[string]string{
		"server_version": "12.22 (Debian 12.22-1)", "server_encoding": "UTF8", "client_encoding": "UTF8", "standard_conforming_strings": "on",
	} {
		b.Send(&pgproto3.ParameterStatus{Name: name, Value: value})
	}
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	for b.Flush() == nil {
		m, err := b.Receive()
		q, ok := m.(*pgproto3.Query)
		if err != nil || !ok {
			return
		}
		status := byte('I')
		if strings.EqualFold(q.String, "begin") {
			status = 'T'
		}
		b.Send(&pgproto3.CommandComplete{CommandTag: []byte(strings.ToUpper(q.String))})
		b.Send(&pgproto3.ReadyForQuery{TxStatus: status})
	}
}
