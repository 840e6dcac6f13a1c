package dev_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/dev"
)

// visitors is a fake dev.People. It returns its arguments in the Person, with the error err.
type visitors struct{ err error }

func (v visitors) Join(_ context.Context, name, thread, user string) (dev.Person, error) {
	return dev.Person{User: name + "/" + user, Token: "t", Expires: time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600)), Lobby: "l", Thread: thread}, v.err
}

func (v visitors) Token(_ context.Context, user string) (dev.Person, error) {
	return dev.Person{User: user, Token: "t", Expires: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}, v.err
}

// TestPeople checks the responses of /dev/join and /dev/token. If a method of People fails, it
// checks that the log contains the cause and the response does not.
func TestPeople(t *testing.T) {
	var log bytes.Buffer
	for _, c := range []struct {
		people     dev.People
		path, body string
		status     int
		want       string // the body of the response
	}{
		{visitors{}, "/dev/join", `{"name":" Ann ","thread":"x","user":"u"}`, 201, `{"user":"Ann/u","token":"t","expires":"2026-01-02T02:04:05Z","lobby":"l","thread":"x"}`},
		{visitors{}, "/dev/token", `{"user":"u"}`, 200, `{"user":"u","token":"t","expires":"2026-01-02T03:04:05Z"}`},
		{visitors{dev.Refuse(404, "there is no such user")}, "/dev/token", `{"user":"u"}`, 404, `{"error":{"code":"NotFound","message":"there is no such user"}}`},
		{visitors{errors.New("the disk is gone")}, "/dev/join", `{"name":"Ann"}`, 500, `{"error":{"code":"InternalServerError","message":"the server could not do this; its log says why"}}`},
		{visitors{errors.New("the disk is gone")}, "/dev/token", `{"user":"u"}`, 500, `{"error":{"code":"InternalServerError","message":"the server could not do this; its log says why"}}`},
		{nil, "/dev/join", `{"name":"Ann"}`, 404, `{"error":{"code":"NotFound","message":"there is nothing at this path: the development server has /dev/clock, /dev/faults"}}`},
		{visitors{}, "/dev/nothing", `{}`, 404, `{"error":{"code":"NotFound","message":"there is nothing at this path: the development server has /dev/clock, /dev/faults, /dev/join, /dev/token"}}`},
	} {
		h := dev.New(dev.Options{Clock: dev.NewClock(time.Now), Faults: dev.NewFaults(operations), People: c.people, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		r := httptest.NewRequest("POST", "http://localhost:8080"+c.path, strings.NewReader(c.body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if got := strings.TrimSuffix(w.Body.String(), "\n"); w.Code != c.status || got != c.want {
			t.Errorf("%s %s: %d %s, want %d %s", c.path, c.body, w.Code, got, c.status, c.want)
		}
		if got := w.Header().Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control %q: a token must not be stored", c.path, got)
		}
	}
	if got := strings.Count(log.String(), "the disk is gone"); got != 2 {
		t.Errorf("the log has the cause %d times, want 2:\n%s", got, log.String())
	}
	if strings.Contains(log.String(), "Ann") {
		t.Errorf("the log has a name:\n%s", log.String())
	}
}
