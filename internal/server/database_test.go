package server_test

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/server"
)

// impostor is a fake PostgreSQL server. It refuses TLS, asks the client for the password in plain
// text, remembers the password, and then refuses the login.
type impostor struct {
	mu        sync.Mutex
	passwords []string
	asked     int // number of connections that asked for TLS
}

// message reads a message of the PostgreSQL protocol and returns its text. The message begins
// with its length, which includes the length itself.
func message(c net.Conn) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(c, length[:]); err != nil {
		return nil, err
	}
	body := make([]byte, min(max(binary.BigEndian.Uint32(length[:]), 4), 1<<16)-4)
	_, err := io.ReadFull(c, body)
	return body, err
}

func (i *impostor) serve(c net.Conn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	const tlsRequest = 80877103
	body, err := message(c)
	if err == nil && len(body) == 4 && binary.BigEndian.Uint32(body) == tlsRequest {
		i.mu.Lock()
		i.asked++
		i.mu.Unlock()
		c.Write([]byte("N"))
		_, err = message(c)
	}
	if err != nil {
		return
	}
	c.Write([]byte{'R', 0, 0, 0, 8, 0, 0, 0, 3})
	if kind := make([]byte, 1); read(c, kind) && kind[0] == 'p' {
		if body, err := message(c); err == nil {
			i.mu.Lock()
			i.passwords = append(i.passwords, strings.TrimSuffix(string(body), "\x00"))
			i.mu.Unlock()
		}
	}
	text := "SFATAL\x00VFATAL\x00C28P01\x00Mno\x00\x00"
	c.Write(append(binary.BigEndian.AppendUint32([]byte{'E'}, uint32(len(text)+4)), text...))
}

func read(c net.Conn, b []byte) bool {
	_, err := io.ReadFull(c, b)
	return err == nil
}

// TestDatabaseWithoutTLS starts a server whose database is a fake one that refuses TLS. With
// sslmode=verify-full the server must not send its password. With a weaker mode it sends the
// password, and must log a warning before it connects, unless the address is a loopback address.
// The address 0.0.0.0 reaches this machine but is not a loopback address.
func TestDatabaseWithoutTLS(t *testing.T) {
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	var fake impostor
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { fake.serve(c) })
		}
	})
	defer serving.Wait()
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	const warning = "put sslmode=verify-full into the address"
	for _, c := range []struct {
		host, mode    string
		warned, given bool
	}{
		{"0.0.0.0", "", true, true}, // without a mode, sslmode is prefer
		{"0.0.0.0", "disable", true, true},
		{"0.0.0.0", "prefer", true, true},
		{"0.0.0.0", "require", true, false}, // the fake database gets no password without TLS; one with TLS and any certificate would get the password
		{"0.0.0.0", "verify-full", false, false},
		{"127.0.0.1", "", false, true},
	} {
		address := "postgres://ann:hidden-word@" + c.host + ":" + port + "/chat?connect_timeout=20&sslmode=" + c.mode
		address = strings.TrimSuffix(address, "&sslmode=")
		fake.mu.Lock()
		fake.passwords = nil
		fake.mu.Unlock()
		var out log
		cfg := settings(t, "data", t.TempDir(), "database", address)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		s, err := server.Start(ctx, server.Options{Config: cfg, Logger: slog.New(slog.NewTextHandler(&out, nil))})
		cancel()
		if err == nil {
			s.Close(context.Background())
			t.Fatal("a server has started on an impostor")
		}
		logged := out.String()
		if strings.Contains(logged+err.Error(), "hidden-word") {
			t.Errorf("%s %q: the password is shown: %v\n%s", c.host, c.mode, err, logged)
		}
		if got := strings.Contains(logged, warning); got != c.warned || got && !strings.Contains(logged, c.host) {
			t.Errorf("%s %q: warned %v, want %v:\n%s", c.host, c.mode, got, c.warned, logged)
		}
		fake.mu.Lock()
		if got := len(fake.passwords) > 0 && fake.passwords[0] == "hidden-word"; got != c.given {
			t.Errorf("%s %q: the impostor got %q, given %v, want %v (%v)", c.host, c.mode, fake.passwords, got, c.given, err)
		}
		fake.mu.Unlock()
	}
	if fake.asked == 0 {
		t.Error("no connection asked for TLS")
	}
}
