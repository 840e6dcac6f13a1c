//go:build unix

package failures

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/jackc/pgx/v5"
)

// Times and numbers of TestPausedServer. The numbers of clients and operations are small, because
// porcupine, the checker, must find a valid order of all operations, including the operations that
// hang during the pause.
const (
	pause      = 40 * time.Second
	clients    = 12
	betweenOps = 50 * time.Millisecond
	shown      = 50 // messages that a read returns
)

// TestPausedServer pauses one of two servers in the middle of a transaction for 40 seconds, as if
// its machine were frozen, and then lets the server continue. It checks that no message is lost,
// repeated or out of order, and that the results of all operations are possible if the operations
// were carried out one after the other in some order.
func TestPausedServer(t *testing.T) {
	c := newCluster(t, database(t))
	l := c.newLoad(t)
	h := &history{load: l, begin: time.Now()}
	for i := range clients {
		l.clients.Go(func() { h.act(i) })
	}
	t.Cleanup(l.abandon)
	transactions := c.freeze(t, 0)
	answered := h.answered[1].Load()
	time.Sleep(pause)
	served := h.answered[1].Load() - answered
	c.nodes[0].signal(t, syscall.SIGCONT)
	if served == 0 {
		t.Error("while one server was stopped the other one answered nothing")
	}
	// Wait until the paused server has answered the requests that were waiting, and some further
	// ones.
	for want, deadline := h.answered[0].Load()+5*clients, time.Now().Add(time.Minute); h.answered[0].Load() < want; time.Sleep(betweenOps) {
		if time.Now().After(deadline) {
			t.Fatal("the server that was stopped does not go on")
		}
	}
	l.stop()
	l.verify(t)
	result, _ := porcupine.CheckOperationsVerbose(listModel, h.ops, 2*time.Minute)
	if result != porcupine.Ok {
		t.Errorf("porcupine says %s of %d operations", result, len(h.ops))
	}
	t.Logf("one server stopped for %v in %d transactions, the other answered %d requests meanwhile; %d operations, linearizable: %s",
		pause, transactions, served, len(h.ops), result)
}

func (n *node) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// freeze pauses a server at a moment when it holds locks in the database, and returns the number
// of its open transactions.
func (c *cluster) freeze(t *testing.T, i int) (open int) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, c.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for range 1000 {
		time.Sleep(10 * time.Millisecond) // the server held no locks at this moment, so try again later
		c.nodes[i].signal(t, syscall.SIGSTOP)
		// PostgreSQL still executes the statements that the server has sent before. Wait until each
		// transaction has ended or waits for the server.
		for active, deadline := 1, time.Now().Add(time.Second); active > 0 && time.Now().Before(deadline); {
			if err := conn.QueryRow(ctx, `SELECT count(*) FILTER (WHERE state = 'active' AND wait_event_type IS DISTINCT FROM 'Lock'),
				count(*) FILTER (WHERE state = 'idle in transaction') FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1`,
				nodeName(i)).Scan(&active, &open); err != nil {
				t.Fatal(err)
			}
		}
		if open > 0 {
			return open
		}
		c.nodes[i].signal(t, syscall.SIGCONT)
	}
	t.Fatal("the server was never met in mid-transaction")
	return 0
}

// history records the operations of clients and their results for porcupine, the checker.
type history struct {
	*load
	begin    time.Time
	answered [2]atomic.Int64 // number of responses of each server

	mu  sync.Mutex // guards ops
	ops []porcupine.Operation
}

// listOp is an operation on a thread: it sends the text or, if the text is empty, reads the newest
// messages.
type listOp struct{ thread, text string }

// act runs one client, which sends messages to one thread and reads from it, on one server. Each
// message has an idempotency token, and act repeats the message until the server acknowledges it.
// It records a read only if the read succeeded.
func (h *history) act(client int) {
	server, thread := client%2, h.threads[client/2%len(h.threads)]
	for n := 0; ; n++ {
		op := listOp{thread: thread}
		if n%3 < 2 {
			op.text = fmt.Sprintf("%d/%d", client, n)
		}
		called := time.Since(h.begin)
		output, ok := h.carryOut(h.nodes[server], op, &called)
		if !ok {
			return
		}
		h.mu.Lock()
		h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: op, Output: output, Call: int64(called), Return: int64(time.Since(h.begin))})
		h.mu.Unlock()
		h.answered[server].Add(1)
		select {
		case <-h.stopped:
			return
		case <-time.After(betweenOps):
		}
	}
}

// carryOut sends the request of an operation and returns the result of a read. It repeats a send
// until the server acknowledges the send. ok is false if a read failed.
func (h *history) carryOut(n *node, op listOp, called *time.Duration) (output string, ok bool) {
	for ; ; time.Sleep(betweenOps) {
		select {
		case <-h.abandoned:
			return "", false
		default:
		}
		if op.text == "" {
			select {
			case <-h.stopped:
				return "", false
			default:
			}
			*called = time.Since(h.begin)
			status, answer := h.ask(n, "GET", fmt.Sprintf("/chat/threads/%s/messages%s&maxPageSize=%d", op.thread, version, shown), h.bearer, "", nil)
			if status == 200 {
				return texts(answer), true
			}
			continue
		}
		h.load.mu.Lock()
		h.attempts[op.text]++
		h.tokens[op.text] = true
		h.load.mu.Unlock()
		status, answer := h.ask(n, "POST", "/chat/threads/"+op.thread+"/messages"+version, h.bearer, op.text, map[string]string{"content": op.text})
		var sent struct{ ID string }
		if status == 201 && json.Unmarshal(answer, &sent) == nil {
			h.load.mu.Lock()
			h.acked[op.text] = sent.ID
			h.load.mu.Unlock()
			return "", true
		}
	}
}

// texts returns the contents of a page of messages, newest first, one per line.
func texts(page []byte) string {
	var p struct {
		Value []struct{ Content struct{ Message string } }
	}
	if err := json.Unmarshal(page, &p); err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, m := range p.Value {
		if m.Content.Message != "" { // skip the system messages about the creation of the thread
			b.WriteString(m.Content.Message + "\n")
		}
	}
	return b.String()
}

// listModel is the model of a thread for porcupine, the checker: sends append to a list
// of texts, and reads return the newest ones.
var listModel = porcupine.Model{
	Init: func() any { return "" },
	Partition: func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
		threads := map[string][]porcupine.Operation{}
		for _, op := range history {
			id := op.Input.(listOp).thread
			threads[id] = append(threads[id], op)
		}
		for _, ops := range threads {
			parts = append(parts, ops)
		}
		return parts
	},
	Step: func(state, input, output any) (bool, any) {
		if text := input.(listOp).text; text != "" {
			lines := strings.SplitAfterN(text+"\n"+state.(string), "\n", shown+1)
			return true, strings.Join(lines[:min(len(lines), shown)], "")
		}
		return state == output, state
	},
}
