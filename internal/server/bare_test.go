package server

import (
	"strings"
	"testing"
)

// TestBarePaths checks for which paths bare is true. None of them may begin with chatThreads,
// because bare does not examine such paths.
func TestBarePaths(t *testing.T) {
	s := &Server{}
	for path, want := range map[string]bool{
		"/": true, "/t/19:a@thread.v2": true, "/chat/events": true, "/chat/config/realTimeNotifications": true, "/v4/a": true, "/v4/a/b": true,
		"//socket.io/1/": true, "/socket.io/1/x/secret": true, "/v3/registrations/a": true, "/%763/registrations/a": true,
		"/chat/threads": false, "/chat/threads/19:a@thread.v2/messages": false, "/identities": false,
	} {
		if got := s.bare(path); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
		if want && strings.HasPrefix(path, chatThreads) {
			t.Errorf("%s has a secret, and begins like the paths of chat threads", path)
		}
	}
}
