package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

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

// readPartitions returns the number of rows of the partitions of a table that the plan has read.
func (n planNode) readPartitions(table string) (rows float64) {
	if strings.HasPrefix(n.Relation, table+"_") {
		rows = (n.Rows + n.Filtered) * n.Loops
	}
	for _, p := range n.Plans {
		rows += p.readPartitions(table)
	}
	return rows
}

// planner runs prepared statements as the reads of pages do, and returns their plans.
type planner struct {
	t    *testing.T
	conn *pgx.Conn
}

// plan returns the plan of a statement, with the numbers of rows that it read. The plan is the one
// that was made for the first use of the statement, unless the tables were analyzed since.
func (p planner) plan(sql string, args ...any) planNode {
	p.t.Helper()
	ctx := p.t.Context()
	prepared, err := p.conn.Prepare(ctx, sql, sql)
	if err != nil {
		p.t.Fatal(err)
	}
	literals := make([]string, len(args))
	for i, a := range args {
		if literals[i] = fmt.Sprint(a); prepared.ParamOIDs[i] == pgtype.TextOID {
			literals[i] = "'" + literals[i] + "'"
		}
	}
	var text []byte
	var b pgx.Batch
	b.Queue("BEGIN")
	b.Queue(planningInOrder)
	b.Queue(fmt.Sprintf("EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE %s (%s)", pgx.Identifier{prepared.Name}.Sanitize(), strings.Join(literals, ", "))).
		QueryRow(func(row pgx.Row) error { return row.Scan(&text) })
	b.Queue("COMMIT")
	if err := p.conn.SendBatch(ctx, &b).Close(); err != nil {
		p.t.Fatal(err)
	}
	var plans []struct{ Plan planNode }
	if err := json.Unmarshal(text, &plans); err != nil {
		p.t.Fatal(err)
	}
	return plans[0].Plan
}

// TestPagesReadFewRows lists 20 threads of 300 messages each with last messages and unread counts.
// It counts the messages that the query reads: the last one of each thread, and those that count as
// unread. It also counts the rows that a page of messages reads. The plans are made while the
// tables are empty, as on a connection that is older than the messages.
func TestPagesReadFewRows(t *testing.T) {
	url := emptyDatabase(t)
	s := open(t, url)
	defer s.Close()
	conn := dial(t, url)
	defer conn.Close(context.Background())
	plans := planner{t, conn}
	const threads, messages, me, other = 20, 300, "8:acs:me", "8:acs:other"
	both := core.Expand{LastMessage: true, Unread: true}
	of := core.ThreadsQuery{User: me, Limit: threads}
	const limit = 50
	page := []any{"", int64(math.MaxInt64), 0, me, limit, core.PageBytes}
	for _, e := range []core.Expand{{}, {LastMessage: true}, both} {
		plans.plan(threadsSQL[e], threadsArguments(of)...)
	}
	plans.plan(pageSQL, page...)
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
	check := func(e core.Expand, want float64) {
		t.Helper()
		plan := plans.plan(threadsSQL[e], threadsArguments(of)...)
		if got := plan.read("messages"); got != threads*want {
			t.Errorf("%+v: %.0f messages were read, want %.0f", e, got, threads*want)
			t.Logf("the plan: %+v", plan)
		}
		if got := plan.read("heads"); got != threads {
			t.Errorf("%+v: %.0f heads were read, want %d", e, got, threads)
		}
	}
	checkAll := func() {
		t.Helper()
		check(core.Expand{}, 0)
		check(core.Expand{LastMessage: true}, 1)
		check(both, 1+core.MaxUnread)
		page[0] = id(1)
		if got := plans.plan(pageSQL, page...).read("messages"); got != limit {
			t.Errorf("a page of messages has read %.0f, want %d", got, limit)
		}
	}
	checkAll()
	if _, err := s.pool.Exec(t.Context(), "ANALYZE"); err != nil {
		t.Fatal(err)
	}
	checkAll()
	for n := range threads {
		page, err := s.Messages(t.Context(), core.MessagesQuery{Thread: id(n), Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		mustApply(t, s, core.Applied, &core.Change{Key: id(n), Thread: id(n), Revision: 1,
			Receipt: &core.Receipt{User: me, MessageID: page.Messages[9].ID}, Events: []core.Event{{Kind: core.ReceiptReceived, Actor: me}}})
	}
	check(both, 1+9)
	for n := range threads { // the newest messages of each thread are the user's own, so they do not count as unread
		c := &core.Change{Key: id(n), Thread: id(n), Revision: 1}
		for range core.RecentMessages + 50 {
			c.Messages = append(c.Messages, core.Message{Kind: core.Text, Sender: me, Content: "content"})
			c.Events = append(c.Events, core.Event{Kind: core.MessageReceived, Actor: me})
		}
		mustApply(t, s, core.Applied, c)
	}
	check(both, 1+core.RecentMessages)
}
