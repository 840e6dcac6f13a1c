package admin

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// codeOf returns the code of err if err is a refusal, and "" otherwise.
func codeOf(err error) string {
	var refused *refusal
	if errors.As(err, &refused) {
		return refused.code
	}
	return ""
}

// newCode returns a new code. The test fails if makeCode does.
func newCode(t *testing.T, s *sessions, role Role, lifetime time.Duration) string {
	t.Helper()
	text, _, err := s.makeCode(role, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestCodesAndSessions checks that a code works once, that an expired code does not work, and that
// a code without a lifetime never expires. It also checks that a session ends on request and after
// its lifetime.
func TestCodesAndSessions(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	s := newSessions(func() time.Time { return now })
	code := newCode(t, s, Viewer, codeTime)
	token, one, err := s.open(code)
	if err != nil || one.role != Viewer || s.find(token) != one || !one.expires.Equal(now.Add(12*time.Hour)) {
		t.Fatalf("open: %+v, %v", one, err)
	}
	if _, _, err := s.open(code); codeOf(err) != "bad-code" {
		t.Errorf("a code that was used: %v", err)
	}
	if _, _, err := s.open("guess"); codeOf(err) != "bad-code" {
		t.Errorf("an unknown code: %v", err)
	}
	late, dev := newCode(t, s, Operator, codeTime), newCode(t, s, Operator, 0)
	now = now.Add(codeTime)
	if _, _, err := s.open(late); codeOf(err) != "bad-code" {
		t.Errorf("a code after 60 s: %v", err)
	}
	now = now.Add(time.Hour)
	if _, other, err := s.open(dev); err != nil || other.role != Operator {
		t.Errorf("the code of a development server after an hour: %v", err)
	}
	for _, h := range []hash{hashOf(token)} {
		for kept := range s.sessions {
			if strings.Contains(fmt.Sprint(kept), token) || kept == h && s.find("x"+token) != nil {
				t.Error("a session is found by another token")
			}
		}
	}
	s.end(one)
	select {
	case <-one.done:
	default:
		t.Error("a session that was ended is not done")
	}
	if s.find(token) != nil {
		t.Error("a session that was ended is found")
	}
	s.end(one) // a second call has no effect
	token, one, _ = s.open(newCode(t, s, Operator, codeTime))
	now = now.Add(12*time.Hour - 1)
	if s.find(token) == nil {
		t.Error("a session ended early")
	}
	now = now.Add(1)
	if s.find(token) != nil {
		t.Error("a session goes on after 12 hours")
	}
	<-one.done
}

// TestTooManySessions opens 65 sessions. It checks that the server refuses the last one and that
// its code stays valid.
func TestTooManySessions(t *testing.T) {
	s := newSessions(time.Now)
	var first *session
	for i := range maxSessions {
		_, one, err := s.open(newCode(t, s, Viewer, codeTime))
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = one
		}
	}
	code := newCode(t, s, Viewer, codeTime)
	if _, _, err := s.open(code); codeOf(err) != "too-many-sessions" {
		t.Fatalf("session %d: %v", maxSessions+1, err)
	}
	s.end(first)
	if _, _, err := s.open(code); err != nil {
		t.Errorf("after another has ended: %v", err)
	}
}

// TestTooManyCodes makes more codes than maxCodes without using any, and checks that the last is
// refused.
func TestTooManyCodes(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	s := newSessions(func() time.Time { return now })
	for range maxCodes {
		newCode(t, s, Viewer, codeTime)
	}
	if _, _, err := s.makeCode(Viewer, codeTime); codeOf(err) != "too-many-codes" {
		t.Errorf("code %d: %v", maxCodes+1, err)
	}
	now = now.Add(codeTime)
	newCode(t, s, Viewer, codeTime)
}
