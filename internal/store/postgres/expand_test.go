package postgres

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
)

// planNode is a node of the JSON that EXPLAIN (ANALYZE) prints.
type planNode struct {
	Relation string  `json:"Relation Name"`
	Rows     float64 `json:"Actual Rows"`
	Loops    float64 `json:"Actual Loops"`
	Filtered float64 `json:"Rows Removed by Filter"`
	Plans    []planNode
}

// read returns the number of rows of a table that the plan has read.
func (n planNode) read(table string) (rows float64) {
	if n.Relation == table {
		rows = (n.Rows + n.Filtered) * n.Loops
	}
	for _, p := range n.Plans {
		rows += p.read(table)
	}
	return rows
}

// threadsPlan returns the plan of the query that Threads sends, with the number of rows that it read.
func threadsPlan(t *testing.T, s *Store, q core.ThreadsQuery) planNode {
	t.Helper()
	var text []byte
	err := s.read(t.Context(), "a plan", func(b *pgx.Batch) {
		b.Queue(inOrderSQL)
		b.Queue("EXPLAIN (ANALYZE, FORMAT JSON) "+threadsSQL[q.Expand], threadsArguments(q)...).
			QueryRow(func(row pgx.Row) error { return row.Scan(&text) })
	})
	if err != nil {
		t.Fatal(err)
	}
	var plans []struct{ Plan planNode }
	if err := json.Unmarshal(text, &plans); err != nil {
		t.Fatal(err)
	}
	return plans[0].Plan
}

// TestExpandReadsFewRows lists 20 threads of 300 messages each with last messages and unread
// counts, and counts the messages that the query reads: the last one of each thread, and those
// that count.
func TestExpandReadsFewRows(t *testing.T) {
	s := open(t, emptyDatabase(t))
	defer s.Close()
	const threads, messages, me, other = 20, 300, "8:acs:me", "8:acs:other"
	id := func(n int) string { return fmt.Sprintf("19:%032x@thread.v2", n) }
	for n := range threads {
		c := &core.Change{
			Key: id(n), Thread: id(n), Properties: &core.Properties{Topic: "topic", CreatedBy: me},
			Members: []core.Member{{User: me, Order: 1, Intervals: []core.Interval{{}}}},
			Events:  []core.Event{{Kind: core.ThreadCreated, Actor: me}},
		}
		for range messages {
			c.Messages = append(c.Messages, core.Message{Kind: core.Text, Sender: other, Content: "content"})
		}
		mustApply(t, s, core.Applied, c)
	}
	if _, err := s.pool.Exec(t.Context(), "ANALYZE"); err != nil {
		t.Fatal(err)
	}
	check := func(e core.Expand, want float64) {
		t.Helper()
		plan := threadsPlan(t, s, core.ThreadsQuery{User: me, Limit: threads, Expand: e})
		if got := plan.read("messages"); got != threads*want {
			t.Errorf("%+v: %.0f messages were read, want %.0f", e, got, threads*want)
			t.Logf("the plan: %+v", plan)
		}
	}
	both := core.Expand{LastMessage: true, Unread: true}
	check(core.Expand{}, 0)
	check(core.Expand{LastMessage: true}, 1)
	check(both, 1+core.MaxUnread)
	for n := range threads {
		page, err := s.Messages(t.Context(), core.MessagesQuery{Thread: id(n), Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		mustApply(t, s, core.Applied, &core.Change{Key: id(n), Thread: id(n), Revision: 1,
			Receipt: &core.Receipt{User: me, MessageID: page.Messages[9].ID}, Events: []core.Event{{Kind: core.ReceiptReceived, Actor: me}}})
	}
	check(both, 1+9)
}
