//go:build unix

package failures

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// mostMemory is the limit for the resident memory, in bytes, of a server under the attacks of
// TestBytes.
const mostMemory = 512 << 20

// TestBytes attacks a server that has the default limits, on each engine: with HTML that becomes
// longer when the server cleans it, with requests for pages by clients that do not read the
// responses, with huge metadata, with many unknown participants, and with one user who writes as
// fast as possible. It checks the response to each attack, and that the server answers an honest
// user during the attack. It prints the server's memory and checks that it stays below mostMemory.
func TestBytes(t *testing.T) {
	if _, err := os.ReadFile("/proc/self/status"); err != nil {
		t.Skip("a process's memory is read from /proc, which is a matter of Linux")
	}
	c := newServers(t)
	engines := map[string][]string{"embedded": nil}
	if address := os.Getenv("TEST_POSTGRES_URL"); address != "" {
		engines["postgres"] = []string{"CONFAB_DATABASE=" + freshDatabase(t, address)}
	}
	for engine, env := range engines {
		t.Run(engine, func(t *testing.T) {
			n := c.addNode(t, append(env, "CONFAB_LIMITS=fair")...)
			a := &attack{cluster: c, n: n, honest: c.newUser(t, n)}
			for range 3 {
				a.attackers = append(a.attackers, c.newUser(t, n))
			}
			a.own = c.newThread(t, n, a.honest.bearer, nil)
			for _, step := range []struct {
				name string
				run  func(*attack, *testing.T)
			}{
				{"HTML that grows", (*attack).growingHTML},
				{"metadata", (*attack).metadata},
				{"unknown participants", (*attack).unknownParticipants},
				{"lists that nobody reads", (*attack).unreadLists},
				{"bytes of one user", (*attack).manyBytes},
			} {
				t.Run(step.name, func(t *testing.T) {
					begin := time.Now()
					step.run(a, t)
					a.works(t)
					peak := n.memory(t, "VmHWM")
					t.Logf("took %v; memory at most %d MiB so far, now %d MiB", time.Since(begin).Round(time.Millisecond), peak>>20, n.memory(t, "VmRSS")>>20)
					if peak > mostMemory {
						t.Errorf("the server took %d MiB, want at most %d MiB", peak>>20, mostMemory>>20)
					}
				})
			}
		})
	}
}

// attack holds a server under attack, with an honest user and the attackers.
type attack struct {
	*cluster
	n         *node
	honest    user
	own       string // thread of the honest user
	attackers []user
}

// works checks that the honest user can send a message and list messages.
func (a *attack) works(t *testing.T) {
	t.Helper()
	begin := time.Now()
	path := "/chat/threads/" + a.own + "/messages" + version
	if status, answer := a.ask(a.n, "POST", path, a.honest.bearer, "", map[string]string{"content": "hello"}); status != 201 {
		t.Errorf("the honest user sends: %d %.200s", status, answer)
	}
	if status, answer := a.ask(a.n, "GET", path, a.honest.bearer, "", nil); status != 200 {
		t.Errorf("the honest user lists: %d %.200s", status, answer)
	}
	t.Logf("the honest user sent and listed in %v", time.Since(begin).Round(time.Millisecond))
}

// growingHTML sends a message with HTML that fits into a request and becomes five times as long
// when the server cleans it. It also changes an existing message to such HTML.
func (a *attack) growingHTML(t *testing.T) {
	u := a.attackers[0]
	thread := a.newThread(t, a.n, u.bearer, nil)
	path := "/chat/threads/" + thread + "/messages"
	status, answer := a.ask(a.n, "POST", path+version, u.bearer, "", map[string]string{"content": "<b>short</b>", "type": "html"})
	var first struct{ ID string }
	if status != 201 || json.Unmarshal(answer, &first) != nil {
		t.Fatalf("a short message: %d %s", status, answer)
	}
	got := map[int]int{}
	for _, size := range []int{15 << 10, 60 << 10, 150_000} {
		content := strings.Repeat("& ", size/2)
		status, _ := a.ask(a.n, "POST", path+version, u.bearer, "", map[string]string{"content": content, "type": "html"})
		got[status]++
		status, _ = a.ask(a.n, "PATCH", path+"/"+first.ID+version, u.bearer, "", map[string]string{"content": content})
		got[status]++
	}
	status, answer = a.ask(a.n, "GET", path+version+"&maxPageSize=200", u.bearer, "", nil)
	t.Logf("by status: %v; the list has %d KiB", got, len(answer)>>10)
	if got[201] != 1 || got[204] != 1 || got[400] != 4 {
		t.Errorf("by status: %v; want one send and one edit to be accepted", got)
	}
	if status != 200 || len(answer) > 4*(64<<10) {
		t.Errorf("the list: %d, %d bytes", status, len(answer))
	}
}

// metadata sends metadata with more keys and with more bytes than the server allows.
func (a *attack) metadata(t *testing.T) {
	u := a.attackers[0]
	thread := a.newThread(t, a.n, u.bearer, nil)
	many, large := map[string]string{}, map[string]string{"k": strings.Repeat("x", 60<<10)}
	for i := range 21_800 {
		many[fmt.Sprint(i)] = ""
	}
	for _, m := range []map[string]string{many, large} {
		for what, do := range map[string]func() (int, []byte){
			"create": func() (int, []byte) {
				return a.ask(a.n, "POST", "/chat/threads"+version, u.bearer, "", map[string]any{"topic": "t", "metadata": m})
			},
			"update": func() (int, []byte) {
				return a.ask(a.n, "PATCH", "/chat/threads/"+thread+version, u.bearer, "", map[string]any{"metadata": m})
			},
			"send": func() (int, []byte) {
				return a.ask(a.n, "POST", "/chat/threads/"+thread+"/messages"+version, u.bearer, "", map[string]any{"content": "x", "metadata": m})
			},
			"add": func() (int, []byte) {
				return a.ask(a.n, "POST", "/chat/threads/"+thread+"/participants/:add"+version, u.bearer, "", map[string]any{"participants": []any{
					map[string]any{"communicationIdentifier": identifierOf(a.attackers[1].id), "metadata": m},
				}})
			},
		} {
			if status, answer := do(); status != 400 || len(answer) > 1000 {
				t.Errorf("%s with %d keys of metadata: %d, %d bytes", what, len(m), status, len(answer))
			}
		}
	}
}

func identifierOf(id string) map[string]any {
	return map[string]any{"rawId": id, "communicationUser": map[string]string{"id": id}}
}

// unknownParticipants creates threads with users who do not exist, and adds users who do not exist
// to threads.
func (a *attack) unknownParticipants(t *testing.T) {
	u := a.attackers[0]
	thread := a.newThread(t, a.n, u.bearer, nil)
	resource, _, _ := strings.Cut(u.id, "_")
	for _, c := range []struct{ n, status int }{{1000, 201}, {7000, 400}} {
		var ps []any
		for i := range c.n {
			ps = append(ps, map[string]any{"communicationIdentifier": map[string]any{"communicationUser": map[string]string{"id": fmt.Sprintf("%s_00000000-0000-0000-0000-%012d", resource, i)}}})
		}
		for _, path := range []string{"/chat/threads", "/chat/threads/" + thread + "/participants/:add"} {
			status, answer := a.ask(a.n, "POST", path+version, u.bearer, "", map[string]any{"topic": "t", "participants": ps})
			t.Logf("%d unknown users: %d, an answer of %d KiB", c.n, status, len(answer)>>10)
			if status != c.status || len(answer) > 200<<10 {
				t.Errorf("%d unknown users: %d, an answer of %d bytes; want %d in at most 200 KiB", c.n, status, len(answer), c.status)
			}
		}
	}
}

// unreadLists requests many large pages of messages and does not read the responses. The text of
// the messages is six times as long in JSON as in the store.
func (a *attack) unreadLists(t *testing.T) {
	u := a.attackers[0]
	var others []any
	for _, o := range a.attackers[1:] {
		others = append(others, map[string]any{"communicationIdentifier": identifierOf(o.id)})
	}
	thread := a.newThread(t, a.n, u.bearer, others)
	path := "/chat/threads/" + thread + "/messages" + version
	var sends sync.WaitGroup
	for range 4 {
		sends.Go(func() {
			for range 18 {
				if status, answer := a.ask(a.n, "POST", path, u.bearer, "", map[string]string{"content": strings.Repeat("\x01", 60<<10)}); status != 201 {
					t.Errorf("send: %d %.200s", status, answer)
				}
			}
		})
	}
	sends.Wait()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	const lists = 24
	answered := make(chan string, lists)
	for i := range lists {
		bearer := a.attackers[i%len(a.attackers)].bearer
		conn := a.list(t, path+"&maxPageSize=200", bearer)
		defer conn.Close()
		go func() { // wait for the first line of the response and read nothing more
			line, err := bufio.NewReaderSize(conn, 16).ReadString('\n')
			answered <- fmt.Sprint(strings.TrimSpace(line), " ", err)
		}()
	}
	a.works(t) // check that the server still answers the honest user during the attack
	got := map[string]int{}
	for range lists {
		select {
		case line := <-answered:
			got[line]++
		case <-ctx.Done():
			t.Fatalf("after a minute the lists were answered with %v", got)
		}
	}
	a.works(t)
	t.Logf("%d lists that nobody reads: %v", lists, got)
	if n := got["HTTP/1.1 200 OK <nil>"]; n == 0 || n+got["HTTP/1.1 503 Service Unavailable <nil>"] != lists {
		t.Errorf("the lists were answered with %v, want 200 and 503", got)
	}
}

// list sends a request for a page over a new connection, whose receive buffer is small, and
// returns the connection.
func (a *attack) list(t *testing.T, path, bearer string) net.Conn {
	t.Helper()
	raw, err := net.Dial("tcp", a.n.listen)
	if err != nil {
		t.Fatal(err)
	}
	raw.(*net.TCPConn).SetReadBuffer(4096)
	config := a.n.client.Transport.(*http.Transport).TLSClientConfig.Clone()
	config.ServerName, config.NextProtos = "localhost", []string{"http/1.1"}
	conn := tls.Client(raw, config)
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n", path, bearer); err != nil {
		t.Fatal(err)
	}
	return conn
}

// manyBytes sends messages of one user as fast as possible until the server refuses them.
func (a *attack) manyBytes(t *testing.T) {
	u := a.attackers[2]
	thread := a.newThread(t, a.n, u.bearer, nil)
	path := "https://" + a.n.listen + "/chat/threads/" + thread + "/messages" + version
	body := []byte(`{"content":"` + strings.Repeat("x", 60<<10) + `"}`)
	const most = 150 << 20 // number of bytes after which the senders give up
	var mu sync.Mutex
	written, retry, refusal := 0, "", ""
	begin := time.Now()
	var senders sync.WaitGroup
	for range 8 {
		senders.Go(func() {
			for {
				mu.Lock()
				done := written > most || retry != ""
				mu.Unlock()
				if done {
					return
				}
				req, err := http.NewRequest("POST", path, bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Content-Type", "application/json")
				req.Header.Set("Authorization", "Bearer "+u.bearer)
				res, err := a.n.client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				answer, _ := io.ReadAll(res.Body)
				res.Body.Close()
				mu.Lock()
				switch res.StatusCode {
				case 201:
					written += len(body)
				case 429:
					if !strings.Contains(string(answer), "per 5 s") {
						retry, refusal = res.Header.Get("Retry-After"), string(answer)
					}
				case 503: // the store's queue for this thread is full, so the sender tries again
				default:
					t.Errorf("send: %d %.200s", res.StatusCode, answer)
					written = most + 1
				}
				mu.Unlock()
			}
		})
	}
	senders.Wait()
	t.Logf("one user wrote %d MiB in %v, then Retry-After %s: %.150s", written>>20, time.Since(begin).Round(time.Millisecond), retry, refusal)
	if written > 64<<20 || retry == "" {
		t.Errorf("one user wrote %d MiB, want at most 64", written>>20)
	}
}
