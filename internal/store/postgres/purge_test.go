package postgres

import (
	"slices"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/core"
)

// TestPurgeInPages deletes a thread that has more messages than one batch deletes. From then on
// no read may return one of its messages, and FinishPurges must delete all of them.
func TestPurgeInPages(t *testing.T) {
	url := emptyDatabase(t)
	s := open(t, url)
	defer s.Close()
	mustApply(t, s, core.Applied, newThread("big"), newThread("small"))
	first := mustApply(t, s, core.Applied, text("big", "the first"))[0].Change.Messages[0]
	mustApply(t, s, core.Applied, text("small", "stays"))
	ctx := t.Context()
	conn := dial(t, url)
	defer conn.Close(ctx)
	const rows = 2*purgePage + 10
	if _, err := conn.Exec(ctx, `INSERT INTO messages (thread, sequence, id, version, kind, created_on, edited_on, deleted_on, sender, sender_name, content, initiator)
		SELECT 'big', 10 + n, 10 + n, 10 + n, 1, $1, 0, 0, '8:acs:ann', '', 'text', '' FROM generate_series(1, $2::int) n`, at, rows); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(ctx, `INSERT INTO receipts (thread, user_id, message_id, read_on) SELECT 'big', 'user ' || n, 1, 1 FROM generate_series(1, $1::int) n`, rows); err != nil {
		t.Fatal(err)
	}
	count := func(sql string) (n int) {
		t.Helper()
		if err := conn.QueryRow(ctx, sql).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	purge := func(id string, revision uint64) *core.Change {
		return &core.Change{Key: id, Thread: id, Revision: revision, Purge: true, Events: []core.Event{{Kind: core.ThreadDeleted}}}
	}
	mustApply(t, s, core.Applied, purge("big", 1))
	if n := count(`SELECT count(*) FROM messages WHERE thread = 'big'`); n < rows-purgePage {
		t.Errorf("the batch has deleted all but %d messages; a page has %d", n, purgePage)
	}
	if n := count(`SELECT count(*) FROM purges`); n != 1 {
		t.Errorf("%d threads are noted, want 1", n)
	}

	if page, err := s.Messages(ctx, core.MessagesQuery{Thread: "big", Limit: 10}); err != nil || len(page.Messages) != 0 || page.Next != 0 {
		t.Errorf("a page of the deleted thread: %d messages, %v", len(page.Messages), err)
	}
	if page, err := s.Messages(ctx, core.MessagesQuery{Thread: "big", IDs: []int64{rows}}); err != nil || len(page.Messages) != 0 {
		t.Errorf("a message of the deleted thread: %v, %v", page.Messages, err)
	}
	if page, err := s.Receipts(ctx, "big", ""); err != nil || len(page.Receipts) != 0 {
		t.Errorf("receipts of the deleted thread: %d, %v", len(page.Receipts), err)
	}
	hs, err := s.Tell(ctx, []core.Event{{Thread: "big", Kind: core.MessageReceived, MessageID: first.ID}, {Thread: "big", Kind: core.MessageReceived, MessageID: rows}})
	if err != nil || hs[0].Message != nil || hs[1].Message != nil {
		t.Errorf("what events of the deleted thread refer to: %+v, %v", hs, err)
	}
	decide := func(rows core.Rows) (*core.Change, error) {
		ms, err := rows.Messages("big", purgePage)
		if len(ms) > 0 {
			t.Errorf("a decision on locked rows sees %d messages", len(ms))
		}
		return &core.Change{}, err
	}
	mustApply(t, s, core.Unchanged, &core.Change{Key: "big", Thread: "big", Decide: decide, Rewrites: []core.Rewrite{{Message: core.Message{ID: purgePage}}}})
	exported := map[string]int{}
	err = s.Export(ctx, func(r core.Record) error {
		switch r := r.(type) {
		case core.ThreadMessage:
			exported[r.Thread]++
		case core.ThreadReceipt:
			exported[r.Thread]++
		}
		return nil
	})
	if err != nil || exported["big"] != 0 || exported["small"] != 2 {
		t.Errorf("an export has messages and receipts of %v, %v", exported, err)
	}

	for try := 0; count(`SELECT count(*) FROM purges`) > 0; try++ {
		if err := s.FinishPurges(ctx); err != nil || try == 100 {
			t.Fatalf("after %d calls: %v", try, err)
		}
	}
	if n := count(`SELECT (SELECT count(*) FROM messages WHERE thread = 'big') + (SELECT count(*) FROM receipts)`); n != 0 {
		t.Errorf("%d rows of the deleted thread are left", n)
	}
	if n := count(`SELECT count(*) FROM messages WHERE thread = 'small'`); n != 2 {
		t.Errorf("another thread has %d messages, want 2", n)
	}
	// The batch that deletes a thread must delete all its rows if they fit into a page.
	mustApply(t, s, core.Applied, purge("small", 1))
	if n := count(`SELECT (SELECT count(*) FROM messages) + (SELECT count(*) FROM purges)`); n != 0 {
		t.Errorf("%d rows are left of a small thread", n)
	}
}

// TestPurgesTakeTurns deletes three large threads. A row of the first one cannot be deleted at
// first. The other threads must be deleted in the meantime, and the first one later.
func TestPurgesTakeTurns(t *testing.T) {
	url := emptyDatabase(t)
	s := open(t, url)
	defer s.Close()
	ctx := t.Context()
	conn := dial(t, url)
	defer conn.Close(ctx)
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	threads := []string{"a", "b", "c"}
	for _, id := range threads {
		mustApply(t, s, core.Applied, newThread(id))
		exec(`INSERT INTO receipts (thread, user_id, message_id, read_on) SELECT $1, 'user ' || n, 1, 1 FROM generate_series(1, $2::int) n`, id, purgePage+10)
		mustApply(t, s, core.Applied, &core.Change{Key: id, Thread: id, Revision: 1, Purge: true, Events: []core.Event{{Kind: core.ThreadDeleted}}})
	}
	exec(`CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'a bad block'; END $$`)
	exec(`CREATE TRIGGER fails BEFORE DELETE ON receipts FOR EACH ROW WHEN (OLD.thread = 'a') EXECUTE FUNCTION fails()`)
	left := func() (ids []string) {
		t.Helper()
		err := conn.QueryRow(ctx, `SELECT coalesce(array_agg(thread ORDER BY thread), '{}') FROM purges`).Scan(&ids)
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	failed := 0
	for try := 0; len(left()) > 1; try++ {
		if err := s.FinishPurges(ctx); err != nil {
			failed++
		}
		if try == 100 {
			t.Fatalf("the threads %v are left after %d calls, %d of which failed", left(), try, failed)
		}
	}
	if got := left(); !slices.Equal(got, []string{"a"}) || failed == 0 {
		t.Errorf("the threads %v are left and %d calls failed; want the one that fails", got, failed)
	}
	exec(`DROP TRIGGER fails ON receipts`)
	s.purging.pauses["a"].until = time.Now()
	for try := 0; len(left()) > 0; try++ {
		if err := s.FinishPurges(ctx); err != nil || try == 100 {
			t.Fatalf("after %d calls: %v", try, err)
		}
	}
}
