//go:build !race

package server_test

import (
	"bytes"
	"encoding/json"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/confab-chat/confab/internal/server"
)

// TestAllocations counts the allocations of a request in the whole process: net/http, all handlers, and
// the embedded store. The clients allocate nothing. Messages come from 64 clients at a time, whose changes
// the store commits together; the other requests come from one client. The test fails if an operation
// allocates more than the table says.
func TestAllocations(t *testing.T) {
	s := start(t, server.Options{Config: settings(t, "data", t.TempDir(), "listen-http", "localhost:0", "limits", "off", "access-log", "off")})
	_, _, bearer := s.newUser(t, s.AccessKey)
	thread := s.newThread(t, bearer)
	client := func(method, path, body string) []*lean {
		return []*lean{s.leanClient(t, false, method, path+speedVersion, bearer, body)}
	}
	const rounds, warm = 200, 50
	var ids []string
	for _, c := range client("POST", messagesOf(thread), speedSend) {
		for range rounds + warm {
			if err := c.ask(201); err != nil {
				t.Fatal(err)
			}
			var out struct{ ID string }
			if err := json.Unmarshal(c.body, &out); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, out.ID)
		}
	}
	var send []*lean
	for range 64 {
		send = append(send, client("POST", messagesOf(s.newThread(t, bearer)), speedSend)...)
		// The server soon closes a connection that has had no request.
		if err := send[len(send)-1].ask(201); err != nil {
			t.Fatal(err)
		}
	}
	receipt := client("POST", "/chat/threads/"+thread+"/readReceipts", `{"chatMessageId":"`+ids[0]+`"}`)
	if err := receipt[0].ask(200); err != nil {
		t.Fatal(err)
	}
	id := receipt[0].request[bytes.LastIndex(receipt[0].request, []byte(ids[0])):][:len(ids[0])]

	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection would empty the pools
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, tt := range []struct {
		operation          string
		clients            func() []*lean
		status             int
		allocations, bytes float64
	}{
		{"get message", func() []*lean { return client("GET", messagesOf(thread)+"/"+ids[0], "") }, 200, 62, 7600},
		{"list messages", func() []*lean { return client("GET", messagesOf(thread), "") }, 200, 143, 21200},
		{"send read receipt", func() []*lean { return receipt }, 200, 100, 11800},
		{"create thread", func() []*lean { return client("POST", "/chat/threads", `{"topic":"lunch"}`) }, 201, 118, 15300},
		{"send message", func() []*lean { return send }, 201, 55, 8600},
	} {
		clients := tt.clients()
		var before, after runtime.MemStats
		for i := range warm + rounds {
			if i == warm {
				runtime.ReadMemStats(&before)
			}
			copy(id, ids[i])
			for _, c := range clients {
				if _, err := c.conn.Write(c.request); err != nil {
					t.Fatal(err)
				}
			}
			for _, c := range clients {
				if err := c.answer(tt.status); err != nil {
					t.Fatalf("%s: %v", tt.operation, err)
				}
			}
		}
		runtime.ReadMemStats(&after)
		requests := float64(rounds * len(clients))
		allocations, bytes := float64(after.Mallocs-before.Mallocs)/requests, float64(after.TotalAlloc-before.TotalAlloc)/requests
		t.Logf("%s: %.2f allocations, %.0f bytes", tt.operation, allocations, bytes)
		// Work that the server does every second adds a few allocations on a
		// busy machine.
		if allocations > tt.allocations+2 || bytes > tt.bytes*1.03 {
			t.Errorf("%s: %.2f allocations and %.0f bytes, want %.0f and %.0f", tt.operation, allocations, bytes, tt.allocations, tt.bytes)
		}
	}
}
