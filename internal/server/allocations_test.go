//go:build !race

package server_test

import (
	"bytes"
	"encoding/json"
	"math"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"

	"github.com/confab-chat/confab/internal/server"
)

// clientID is the beginning of a header line with the id that a client gives to a call.
const clientID = "X-Ms-Client-Request-Id: "

// TestAllocations counts the allocations of a request in the whole process: net/http, all
// handlers, and the embedded store. The clients of the test allocate nothing. Messages come from
// 64 clients at a time, whose changes the store commits together; the other requests come from one
// client. A message "of an SDK" also has the headers that SDKs send, and is sent to a host name
// that is not this machine's, so that its response has two more headers.
//
// Background work of the server, such as a task that runs every second, adds to the allocations of
// some rounds. So the test takes the round that allocates more than only a tenth of all rounds,
// and compares it with the table. The number of allocations, rounded down, must not be greater
// than the number in the table, and the bytes must not be greater by more than 2 %. Smaller
// numbers do not fail, because they depend a little on how many changes are in one batch.
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
		// Send a first request, because the server soon closes a connection that has had no request.
		if err := send[len(send)-1].ask(201); err != nil {
			t.Fatal(err)
		}
	}
	receipt := client("POST", "/chat/threads/"+thread+"/readReceipts", `{"chatMessageId":"`+ids[0]+`"}`)
	if err := receipt[0].ask(200); err != nil {
		t.Fatal(err)
	}
	id := receipt[0].request[bytes.LastIndex(receipt[0].request, []byte(ids[0])):][:len(ids[0])]

	var sdk []*lean
	for _, c := range send {
		sdk = append(sdk, &lean{conn: c.conn, in: c.in, body: c.body, request: bytes.Replace(c.request,
			[]byte("Host: localhost:8443\r\n"), []byte("Host: chat.example:8443\r\n"+clientID+"00000000-0000-4000-8000-000000000000\r\n"), 1)})
	}

	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // disable the garbage collector, because a collection would empty the pools
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, tt := range []struct {
		operation          string
		clients            func() []*lean
		status             int
		allocations, bytes float64
	}{
		{"get message", func() []*lean { return client("GET", messagesOf(thread)+"/"+ids[0], "") }, 200, 56, 6784},
		{"list messages", func() []*lean { return client("GET", messagesOf(thread), "") }, 200, 73, 12072},
		{"send read receipt", func() []*lean { return receipt }, 200, 96, 10824},
		{"create thread", func() []*lean { return client("POST", "/chat/threads", `{"topic":"lunch"}`) }, 201, 108, 12392},
		{"send message", func() []*lean { return send }, 201, 39, 4948},
		{"send message of an SDK", func() []*lean { return sdk }, 201, 48, 6400},
	} {
		clients := tt.clients()
		var allocations, sizes []float64 // allocations and bytes of one request, for each round
		for i := range warm + rounds {
			copy(id, ids[i])
			for _, c := range clients { // give each request a new id, so that the server does not take the request for a repetition of the last one
				if at := bytes.Index(c.request, []byte(clientID)); at >= 0 {
					copy(c.request[at+len(clientID):], ids[i][len(ids[i])-8:])
				}
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
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
			runtime.ReadMemStats(&after)
			if i >= warm {
				allocations = append(allocations, float64(after.Mallocs-before.Mallocs)/float64(len(clients)))
				sizes = append(sizes, float64(after.TotalAlloc-before.TotalAlloc)/float64(len(clients)))
			}
		}
		slices.Sort(allocations)
		slices.Sort(sizes)
		a, b := allocations[rounds/10], sizes[rounds/10]
		t.Logf("%s: %.2f allocations, %.0f bytes", tt.operation, a, b)
		if math.Floor(a) > tt.allocations || b > tt.bytes*1.02 {
			t.Errorf("%s: %.2f allocations and %.0f bytes, want %.0f and %.0f", tt.operation, a, b, tt.allocations, tt.bytes)
		}
	}
}
