package server_test

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/server"
	"github.com/confab-chat/confab/internal/store/pebble"
)

// Access keys that the tests use as values of settings.
var (
	keyA = base64.StdEncoding.EncodeToString([]byte("key A of these tests, of more than 32 bytes"))
	keyB = base64.StdEncoding.EncodeToString([]byte("key B of these tests, of more than 32 bytes"))
)

// stored opens the data folder of a stopped server and returns the stored resource, which includes
// the access keys.
func stored(t *testing.T, dir string) core.Resource {
	t.Helper()
	s, err := pebble.Open(filepath.Join(dir, "store"), pebble.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r, err := s.Resource(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestKeysOfAFolder starts a server twice on one data folder with different settings. A
// second start that fails must not change the stored keys.
func TestKeysOfAFolder(t *testing.T) {
	public := start(t, server.Options{Config: settings(t, "dev", "true")}).AccessKey
	const (
		isPublic = "is the public one of development servers"
		itsOwn   = "has access keys of its own"
	)
	for _, c := range []struct {
		name          string
		first, second []string
		refusal       string // expected error of the second start; empty: the start succeeds
	}{
		{"development, then production", []string{"dev", "true"}, nil, isPublic},
		{"development, then production with a primary key", []string{"dev", "true"}, []string{"access-key", keyA}, isPublic},
		{"development, then production with a secondary key", []string{"dev", "true"}, []string{"access-key-secondary", keyA}, isPublic},
		{"development, then production with both", []string{"dev", "true"}, []string{"access-key", keyA, "access-key-secondary", keyB}, ""},
		{"development twice", []string{"dev", "true"}, []string{"dev", "true"}, ""},
		{"production, then development", nil, []string{"dev", "true"}, itsOwn},
		{"production, then development with a primary key", nil, []string{"dev", "true", "access-key", keyA}, itsOwn},
		{"production, then development with both", nil, []string{"dev", "true", "access-key", keyA, "access-key-secondary", keyB}, ""},
		{"production twice", nil, nil, ""},
		{"production, then with the public key", nil, []string{"access-key", public}, isPublic},
		{"production, then with the public key in the other place", nil, []string{"access-key", keyA, "access-key-secondary", public}, isPublic},
		{"production, then as another resource", nil, []string{"access-key", keyA, "resource-id", "99999999-2222-4333-8444-555555555555"}, "belongs to resource"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			start(t, server.Options{Config: settings(t, append(c.first, "data", dir)...)}).stop(t)
			before := stored(t, dir)
			address := free(t)
			s, err := server.Start(t.Context(), server.Options{Config: settings(t, append(c.second, "data", dir, "listen", address)...)})
			if err == nil {
				s.Close(t.Context())
			}
			if c.refusal == "" {
				if err != nil {
					t.Errorf("got error %v, want none", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.refusal) || !strings.Contains(err.Error(), dir) {
				t.Fatalf("got error %v, want %q and %s in it", err, c.refusal, dir)
			}
			for _, key := range []string{keyA, keyB, public, string(before.Keys[0].Secret)} {
				if strings.Contains(err.Error(), key) {
					t.Errorf("the error shows a key: %v", err)
				}
			}
			wantFree(t, address)
			if diff := cmp.Diff(before, stored(t, dir)); diff != "" {
				t.Errorf("a start that was refused has changed the keys (-before +after):\n%s", diff)
			}
		})
	}
}

func TestConfiguredKeysReplaceStoredOnes(t *testing.T) {
	dir := t.TempDir()
	first := start(t, server.Options{Config: settings(t, "data", dir, "access-key-secondary", keyB)})
	if random, err := base64.StdEncoding.DecodeString(first.AccessKey); err != nil || len(random) != 64 {
		t.Errorf("the first key has %d bytes, %v; want 64 random ones", len(random), err)
	}
	_, _, byPrimary := first.newUser(t, first.AccessKey)
	_, _, bySecondary := first.newUser(t, keyB)
	thread := [2]string{first.newThread(t, byPrimary), first.newThread(t, bySecondary)}
	first.stop(t)

	for _, c := range []struct {
		name   string
		pairs  []string
		status [2]int // expected statuses of two requests: with a token made with the first primary key, and with a token made with the secondary key
		old    int    // expected status of a request that is signed with the first primary key
	}{
		{"same keys", []string{"access-key-secondary", keyB}, [2]int{200, 200}, 201},
		{"another primary", []string{"access-key", keyA, "access-key-secondary", keyB}, [2]int{401, 200}, 401},
		{"it stays without being named", nil, [2]int{401, 200}, 401},
		{"back to the first key", []string{"access-key", first.AccessKey}, [2]int{401, 200}, 201}, // use the first key again; its old tokens must stay invalid
		{"another secondary", []string{"access-key-secondary", keyA}, [2]int{401, 401}, 201},
	} {
		s := start(t, server.Options{Config: settings(t, append(c.pairs, "data", dir)...)})
		for i, bearer := range []string{byPrimary, bySecondary} {
			if status, body := s.chat(t, "GET", "/"+thread[i], bearer, ""); status != c.status[i] {
				t.Errorf("%s: token %d: %d %s, want %d", c.name, i, status, body, c.status[i])
			}
		}
		if status, _, _ := s.newUser(t, first.AccessKey); status != c.old {
			t.Errorf("%s: the first key: %d, want %d", c.name, status, c.old)
		}
		if status, _, bearer := s.newUser(t, s.AccessKey); status != 201 || bearer == "" {
			t.Errorf("%s: the key that the server names: %d, want 201", c.name, status)
		}
		s.stop(t)
	}
}

// log is a buffer with a lock for the log of a server.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// TestNoSecretIsLogged sends requests that succeed and requests that fail, and checks that
// the log, at the lowest level, contains no keys, tokens or cursors.
func TestNoSecretIsLogged(t *testing.T) {
	var out log
	logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}))
	dir := t.TempDir()
	c := settings(t, "data", dir, "access-key-secondary", keyB, "listen-http", "localhost:0")
	s := start(t, server.Options{Config: c, Logger: logger})
	logger.Debug("settings", "config", c, "text", c.String(), "info", s.Endpoint)
	_, _, bearer := s.newUser(t, s.AccessKey)
	_, _, second := s.newUser(t, keyB)
	thread := s.newThread(t, bearer)
	forged := bearer[:len(bearer)-8] + "AAAAAAAA"
	for _, token := range []string{bearer, second, forged, keyB, s.AccessKey} {
		s.chat(t, "POST", "/"+thread+"/messages", token, `{"content":"never logged"}`)
		s.chat(t, "GET", "/"+thread, token, "")
		s.chat(t, "POST", "", token, `{"topic":`)
		s.get(t, s.Endpoint+"/chat/threads?api-version=2021-09-07&token="+token)
		s.get(t, s.Endpoint+"/chat/events?access_token="+token)
		s.get(t, s.Endpoint+"/chat/events?threads="+thread+"&cursor="+token)
	}
	var cursors []string
	for _, c := range s.clients(t) {
		events := s.openStream(t, c, bearer, "")
		cursors = append(cursors, events.hello["id"])
		s.askForStream(t, c, bearer, "?cursor="+cursors[0]).Body.Close()
		s.askForStream(t, c, second, "?cursor="+cursors[0]) // this cursor belongs to another user
		s.askForStream(t, c, bearer, "?cursor="+bearer)     // send an invalid cursor, a token
	}
	s.newUser(t, keyA) // sign with keyA, which is not an access key of this server
	if conn, err := tls.Dial("tcp", strings.TrimPrefix(s.Endpoint, "https://"), &tls.Config{}); err == nil {
		conn.Close()
		t.Error("a client without the CA trusts the server")
	}
	if _, err := server.Start(t.Context(), server.Options{Config: c, Logger: logger}); err == nil {
		t.Error("two servers in one folder")
	}
	s.stop(t)

	logged := out.String()
	if !strings.Contains(logged, "note=opened") || !strings.Contains(logged, `note="ended: draining"`) {
		t.Errorf("no stream is in the log:\n%s", logged)
	}
	for _, cursor := range cursors {
		if cursor == "" || strings.Contains(logged, cursor) {
			t.Errorf("the cursor %q is in the log:\n%s", cursor, logged)
		}
	}
	if n := strings.Count(logged, "msg=request"); n < 20 {
		t.Fatalf("%d requests in the log, want more:\n%s", n, logged)
	}
	r := stored(t, dir)
	secrets := map[string]string{"token": bearer, "second token": second, "forged token": forged, "signature": bearer[strings.LastIndex(bearer, ".")+1:], "key A": keyA, "content": "never logged"}
	for i, k := range r.Keys {
		secrets[fmt.Sprint("key ", i)] = base64.StdEncoding.EncodeToString(k.Secret)
		secrets[fmt.Sprint("raw key ", i)] = string(k.Secret)
		secrets[fmt.Sprint("hex key ", i)] = fmt.Sprintf("%x", k.Secret)
		secrets[fmt.Sprint("key as bytes ", i)] = fmt.Sprint(k.Secret)
	}
	for name, secret := range secrets {
		if strings.Contains(logged, secret) {
			t.Errorf("the %s is in the log:\n%s", name, logged)
		}
	}
}
