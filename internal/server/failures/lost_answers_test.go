//go:build unix

package failures

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"testing"
)

// TestLostAnswers loses the response to the first try of a send, and sends the request again with
// the same x-ms-client-request-id, as SDKs do. It checks that two sends of the same text, each
// tried twice, leave exactly two messages. This must also hold if the server is killed and started
// again between the tries, and if the second try is sent to another server. If a client uses one
// id for different messages, none of them may be lost.
func TestLostAnswers(t *testing.T) {
	env := []string{"CONFAB_DEV=true", "CONFAB_LISTEN_HTTP=off", "CONFAB_LISTEN_ADMIN=off"}
	t.Run("embedded", func(t *testing.T) {
		c := newServers(t)
		c.addNode(t, env...)
		lostAnswers(t, c, c.nodes[0], c.nodes[0])
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		address := database(t)
		c := newServers(t)
		c.onDatabase(t, address, env...)
		lostAnswers(t, c, c.nodes[0], c.nodes[0])
		lostAnswers(t, c, c.nodes[0], c.nodes[1])
	})
}

// lostAnswers sends each message several times with the same id. The arguments first and second
// are the servers that get the first and the second try. The response to the first try is lost.
func lostAnswers(t *testing.T, c *cluster, first, second *node) {
	t.Helper()
	bearer := c.newUser(t, first).bearer
	for _, killed := range []bool{false, true} {
		thread := c.newThread(t, first, bearer, nil)
		want := map[string]string{} // content by message id
		for call := range 2 {
			id := fmt.Sprintf("5d0b4c3e-8f5f-4f0a-9d3a-%012x", call)
			c.loseNextAnswer(t, first)
			if status, answer := c.sendAs(first, bearer, thread, id, "twice"); status != 0 {
				t.Fatalf("the answer that is lost: %d %s", status, answer)
			}
			if killed {
				first.kill()
				if first == second {
					first.start(t)
				}
			}
			status, message := c.sendAs(second, bearer, thread, id, "twice")
			if status != 201 {
				t.Fatalf("the second try of call %d: %d", call, status)
			}
			if killed && first != second {
				first.start(t)
			}
			want[message] = "twice"
			for n, server := range []*node{first, second} {
				if status, again := c.sendAs(server, bearer, thread, id, "twice"); status != 201 || again != message {
					t.Errorf("try %d of call %d: %d with message %s, want 201 with %s", n+3, call, status, again, message)
				}
			}
		}
		if len(want) != 2 {
			t.Errorf("two calls got the messages %v", want)
		}
		const correlation = "0a1b2c3d-0000-4000-8000-000000000000"
		for i, content := range []string{"one", "two", "three"} {
			status, message := c.sendAs([]*node{first, second}[i%2], bearer, thread, correlation, content)
			if status != 201 || want[message] != "" {
				t.Errorf("%q with one id for all: %d with message %s", content, status, message)
			}
			want[message] = content
		}
		if got := c.stored(t, second, bearer, thread); !maps.Equal(got, want) {
			t.Errorf("killed %v: the thread has the messages %v, want %v", killed, got, want)
		}
	}
}

// loseNextAnswer makes a server carry out the next send and then close the connection without a
// response.
func (c *cluster) loseNextAnswer(t *testing.T, n *node) {
	t.Helper()
	res, err := n.client.Post("https://"+n.listen+"/dev/faults", "application/json", bytes.NewReader([]byte(`{"operation":"send message","drop":"after"}`)))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, _ := io.ReadAll(res.Body); res.StatusCode != 201 {
		t.Fatalf("add a fault: %d %s", res.StatusCode, text)
	}
}

// sendAs sends a message once, with the given x-ms-client-request-id, and returns the status and
// the id of the message. The status is 0 if there was no response.
func (c *cluster) sendAs(n *node, bearer, thread, id, content string) (status int, message string) {
	text, err := json.Marshal(map[string]string{"content": content})
	if err != nil {
		panic(err)
	}
	req, err := http.NewRequest("POST", "https://"+n.listen+"/chat/threads/"+thread+"/messages"+version, io.NopCloser(bytes.NewReader(text))) // use a body that net/http cannot send a second time, so that net/http does not repeat the request
	if err != nil {
		panic(err)
	}
	req.ContentLength = int64(len(text))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+bearer)
	req.Header.Set("x-ms-client-request-id", id)
	n.client.CloseIdleConnections() // use a new connection, because the request would fail on a connection to a killed server
	res, err := n.client.Do(req)
	if err != nil {
		return 0, ""
	}
	defer res.Body.Close()
	var sent struct{ ID string }
	if json.NewDecoder(res.Body).Decode(&sent) != nil {
		return 0, ""
	}
	return res.StatusCode, sent.ID
}

// stored returns the contents of the text messages of a thread, by message id.
func (c *cluster) stored(t *testing.T, n *node, bearer, thread string) map[string]string {
	t.Helper()
	status, answer := c.ask(n, "GET", "/chat/threads/"+thread+"/messages"+version+"&maxPageSize=100", bearer, "", nil)
	var page struct {
		Value []struct {
			ID, Type string
			Content  struct{ Message string }
		}
	}
	if status != 200 || json.Unmarshal(answer, &page) != nil {
		t.Fatalf("list messages: %d %s", status, answer)
	}
	all := map[string]string{}
	for _, m := range page.Value {
		if m.Type == "text" {
			all[m.ID] = m.Content.Message
		}
	}
	return all
}
