//go:build unix

package failures

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// private is a text that all messages and names of the erased user contain, and no other data
// contains.
const private = "bob's own"

// TestErasureSurvivesKills repeatedly kills a server on the embedded store while the server erases
// a user and while other users send messages to that user's threads. It checks that afterwards no
// data of the erased user is left, and no data of the other users is missing.
func TestErasureSurvivesKills(t *testing.T) {
	v := os.Getenv("TEST_ERASURE_KILLS")
	if v == "" {
		t.Skip("set TEST_ERASURE_KILLS, to 5 for example, to kill a server so many times: go test ./internal/server/failures")
	}
	kills, err := strconv.Atoi(v)
	if err != nil {
		t.Fatal(err)
	}
	const threads = 300
	c := newServers(t)
	n := c.addNode(t, "CONFAB_DELETION_GRACE=1ms")
	c.nodes = append(c.nodes, n) // add the only node twice, because a load sends to two nodes
	l := c.newLoad(t)
	e := &erasure{load: l, node: n, bob: c.newUser(t, n), rows: 10}
	l.threads = make([]string, threads)
	begin := time.Now()
	e.fill(t)
	for i := range 2 {
		l.clients.Go(func() { l.send(i) })
	}
	t.Cleanup(l.abandon)
	if status, answer := c.ask(n, "DELETE", "/identities/"+url.PathEscape(e.bob.id)+identity, "", "", nil); status != 204 {
		t.Fatalf("delete the user: %d %s", status, answer)
	}
	t.Logf("%d threads filled in %v", threads, time.Since(begin).Round(time.Millisecond))
	begin = time.Now()
	for kill := range kills {
		met := e.await(t, (kill+1)*threads/(2*kills)) // wait until some threads are erased, but so few that half of all remain at the last kill
		n.kill()
		n.start(t)
		t.Logf("killed when %d of %d threads were erased, by a look at some", met, threads)
		if met == threads {
			t.Errorf("the erasure was over before kill %d", kill+1)
		}
	}
	e.await(t, threads)
	l.stop()
	t.Logf("erased in %v, with kills and restarts", time.Since(begin).Round(time.Millisecond))
	e.check(t)
}

type erasure struct {
	*load
	node *node
	bob  user
	rows int // number of bob's messages in each thread
}

// user is a user's id and token.
type user struct{ id, bearer string }

func (c *cluster) newUser(t *testing.T, n *node) user {
	t.Helper()
	status, answer := c.ask(n, "POST", "/identities"+identity, "", "", map[string]any{"createTokenWithScopes": []string{"chat"}})
	var made struct {
		Identity    struct{ ID string }
		AccessToken struct{ Token string }
	}
	if status != 201 || json.Unmarshal(answer, &made) != nil {
		t.Fatalf("make a user: %d %s", status, answer)
	}
	return user{made.Identity.ID, made.AccessToken.Token}
}

// newThread creates a thread on the server n, as the user with the token bearer and with the
// given participants, and returns the thread's id.
func (c *cluster) newThread(t *testing.T, n *node, bearer string, participants any) (id string) {
	t.Helper()
	status, answer := c.ask(n, "POST", "/chat/threads"+version, bearer, "", map[string]any{"topic": "failures", "participants": participants})
	var made struct{ ChatThread struct{ ID string } }
	if status != 201 || json.Unmarshal(answer, &made) != nil {
		t.Errorf("make a thread: %d %s", status, answer)
	}
	return made.ChatThread.ID
}

// each calls f for every thread, and for several threads at the same time.
func (e *erasure) each(threads []string, f func(i int, thread string)) {
	var workers sync.WaitGroup
	next := make(chan int)
	for range senders {
		workers.Go(func() {
			for i := range next {
				f(i, threads[i])
			}
		})
	}
	for i := range threads {
		next <- i
	}
	close(next)
	workers.Wait()
}

// fill creates the threads of the test. Each has two participants: a user who keeps sending, and
// bob, who is erased later.
func (e *erasure) fill(t *testing.T) {
	t.Helper()
	metadata := map[string]string{"key": private}
	member := map[string]any{"communicationIdentifier": map[string]any{"rawId": e.bob.id, "communicationUser": map[string]string{"id": e.bob.id}}, "displayName": private, "metadata": metadata}
	e.each(e.threads, func(i int, _ string) {
		thread := e.newThread(t, e.node, e.load.bearer, []any{member})
		e.threads[i] = thread
		var sent struct{ ID string }
		for range e.rows {
			status, answer := e.ask(e.node, "POST", "/chat/threads/"+thread+"/messages"+version, e.bob.bearer, "", map[string]any{"content": private, "senderDisplayName": private, "metadata": metadata})
			if status != 201 || json.Unmarshal(answer, &sent) != nil {
				t.Errorf("send: %d %s", status, answer)
				return
			}
		}
		if status, answer := e.ask(e.node, "POST", "/chat/threads/"+thread+"/readReceipts"+version, e.bob.bearer, "", map[string]string{"chatMessageId": sent.ID}); status != 200 {
			t.Errorf("send a receipt: %d %s", status, answer)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	slices.Sort(e.threads)
}

// await waits until about the wanted number of threads are erased, and returns the number of
// erased threads. It estimates this number by looking at thirty threads, unless want is the number
// of all threads.
func (e *erasure) await(t *testing.T, want int) (erased int) {
	t.Helper()
	some := e.threads
	if want < len(some) {
		some = nil
		for i := range 30 {
			some = append(some, e.threads[i*len(e.threads)/30])
		}
	}
	last, deadline := -1, time.Now()
	for {
		var mu sync.Mutex // guards found
		found := 0
		e.each(some, func(_ int, thread string) {
			status, answer := e.ask(e.node, "GET", "/chat/threads/"+thread+"/participants"+version, e.load.bearer, "", nil)
			if status == 200 && !strings.Contains(string(answer), e.bob.id) {
				mu.Lock()
				found++
				mu.Unlock()
			}
		})
		erased = found * len(e.threads) / len(some)
		if erased >= want {
			return erased
		}
		if erased != last {
			last, deadline = erased, time.Now().Add(10*time.Second)
		}
		if time.Now().After(deadline) {
			t.Errorf("the erasure stands still at %d of %d threads", erased, len(e.threads))
			return erased
		}
	}
}

// check reads every thread as the user who kept sending messages. It fails the test if data of the
// erased user is left, or if a message of another user is missing.
func (e *erasure) check(t *testing.T) {
	t.Helper()
	var mu sync.Mutex // guards the variables below
	left, found := map[string]int{}, map[string]int{}
	e.each(e.threads, func(_ int, thread string) {
		for _, list := range []string{"messages", "participants", "readReceipts"} {
			for link := "/chat/threads/" + thread + "/" + list + version + "&maxPageSize=200"; link != ""; {
				status, answer := e.ask(e.node, "GET", link, e.load.bearer, "", nil)
				var page struct {
					Value []struct {
						SenderCommunicationIdentifier struct{ RawID string }
						Content                       struct{ Message string }
						DeletedOn                     string
					}
					NextLink string
				}
				if err := json.Unmarshal(answer, &page); status != 200 || err != nil {
					t.Errorf("list %s: %d %v %.200s", list, status, err, answer)
					return
				}
				mu.Lock()
				left[list] += strings.Count(string(answer), strings.ReplaceAll(private, "'", `\u0027`)) + strings.Count(string(answer), private)
				if list != "messages" {
					left[list] += strings.Count(string(answer), e.bob.id)
				}
				for _, m := range page.Value {
					if list != "messages" {
						continue
					}
					if m.Content.Message != "" {
						found[m.Content.Message]++
					}
					if m.SenderCommunicationIdentifier.RawID == e.bob.id && m.DeletedOn == "" {
						left["messages that are not deleted"]++
					}
				}
				mu.Unlock()
				link = strings.TrimPrefix(page.NextLink, "https://"+e.node.listen)
			}
		}
	})
	for list, n := range left {
		if n > 0 {
			t.Errorf("%s: rows left of the erased user: %d", list, n)
		}
	}
	for content, id := range e.acked {
		if n := found[content]; n == 0 || e.tokens[content] && n != 1 || n > max(e.attempts[content], 1) {
			t.Errorf("acknowledged message %q with id %s is listed %d times", content, id, n)
		}
	}
	if len(e.acked) == 0 {
		t.Error("nobody sent a message while the user was erased")
	}
	t.Logf("%d threads erased; of others %d messages acknowledged meanwhile, by status (0: no answer) %s", len(e.threads), len(e.acked), fmt.Sprint(e.outcomes))
}
