package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/confab-chat/confab/internal/core"
)

// auditRow returns the audit row with this key. Its other fields depend on the number n.
func auditRow(at int64, n int) core.Audit {
	return core.Audit{
		AuditKey: core.AuditKey{At: at, Number: uint64(n)}, Who: fmt.Sprint("uid ", 1000+n%2), Kind: core.AuditSocket, Role: "operator", From: "socket",
		Operation: []string{"delete user", "end tokens", "rotate key"}[n%3], Target: user(n % 4), Outcome: core.AuditDone, Status: 200, RequestID: fmt.Sprint("request ", n),
	}
}

// refusedRow returns an audit row of a refused attempt. Its target has the given number of bytes.
func refusedRow(at int64, n, bytes int) core.Audit {
	return core.Audit{
		AuditKey: core.AuditKey{At: at, Number: uint64(n)}, Refused: true, Kind: core.AuditNobody, From: "192.0.2.1",
		Operation: "unknown", Target: strings.Repeat("x", bytes), Outcome: "bad-secret", Status: 401,
	}
}

// auditing returns a change that writes the given audit rows and changes nothing else.
func auditing(rows ...core.Audit) *core.Change { return &core.Change{Key: "audit", Audits: rows} }

// auditRows returns all audit rows that a query selects, read in pages of q.Limit rows. It fails
// the test if they are not in order.
func auditRows(t rapid.TB, s core.Store, q core.AuditQuery) (all []core.Audit) {
	t.Helper()
	for {
		page, err := s.AuditPage(context.Background(), q)
		if err != nil || len(page.Rows) > q.Limit {
			t.Fatalf("a page of %d audit rows, %v", len(page.Rows), err)
		}
		all = append(all, page.Rows...)
		if page.Next == (core.AuditKey{}) {
			break
		}
		if len(page.Rows) > 0 && page.Next.Compare(page.Rows[len(page.Rows)-1].AuditKey) > 0 {
			t.Fatalf("the next page begins at %s, behind the last row %s", page.Next, page.Rows[len(page.Rows)-1].AuditKey)
		}
		q.Before = page.Next
	}
	if !slices.IsSortedFunc(all, func(a, b core.Audit) int { return b.Compare(a.AuditKey) }) {
		t.Fatalf("the audit rows are not the newest first: %+v", all)
	}
	return all
}

// newestAudits returns the rows in the order in which a page lists them, newest first.
func newestAudits(rows ...core.Audit) []core.Audit {
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b core.Audit) int { return b.Compare(a.AuditKey) })
	return rows
}

// testAudit writes audit rows of several milliseconds, some of refused attempts. It reads all rows,
// and the rows that each filter selects, in pages of different sizes, before and after the store is
// opened again. Each read must return exactly the right rows.
func testAudit(t *testing.T, e Engine) {
	s := e.Open(t)
	if page, err := s.AuditPage(context.Background(), core.AuditQuery{Limit: 10}); err != nil || len(page.Rows) > 0 || page.Next != (core.AuditKey{}) {
		t.Errorf("audit rows of an empty store: %+v, %v", page, err)
	}
	var all []core.Audit
	for n := range 40 {
		row := auditRow(start+int64(n/3), n)
		if n%5 == 0 {
			row = refusedRow(start+int64(n/3), n, 10)
		}
		all = append(all, row)
	}
	all = append(all,
		core.Audit{AuditKey: core.AuditKey{At: start, Number: 1<<63 - 1}, Kind: core.AuditNobody, Target: "the greatest number, ü"},
		core.Audit{AuditKey: core.AuditKey{At: start, Number: 1 << 40}, Refused: true, Kind: core.AuditNobody, Attempts: 1 << 40})
	for _, row := range all[:20] {
		if o := apply(t, s, start, auditing(row)); o[0].Status != core.Applied {
			t.Fatalf("an audit row: %+v", o[0])
		}
	}
	apply(t, s, start, auditing(all[20:]...))
	changed := all[3]
	changed.Outcome = "a row that is written again is replaced"
	apply(t, s, start, auditing(changed), auditing(changed))
	all[3] = changed

	for range 2 {
		want := newestAudits(all...)
		for _, limit := range []int{1, 7, len(all), 1000} {
			mustEqual(t, fmt.Sprintf("audit rows in pages of %d", limit), auditRows(t, s, core.AuditQuery{Limit: limit}), want)
		}
		for _, q := range []core.AuditQuery{
			{Operation: "end tokens"}, {Who: "uid 1001"}, {Target: user(2)}, {Outcome: "bad-secret"},
			{Operation: "delete user", Who: "uid 1001", Target: user(1), Outcome: core.AuditDone},
			{Operation: "end"}, {Before: all[20].AuditKey, Who: "uid 1000"},
		} {
			q.Limit = 3
			var selected []core.Audit
			for _, row := range want {
				if q.Matches(&row) && (q.Before == (core.AuditKey{}) || row.Compare(q.Before) < 0) {
					selected = append(selected, row)
				}
			}
			if (len(selected) == 0) != (q.Operation == "end") {
				t.Fatalf("the filter %+v selects %d rows: the test is wrong", q, len(selected))
			}
			mustEqual(t, fmt.Sprintf("audit rows by %+v", q), auditRows(t, s, q), selected)
		}
		s = e.Reopen(t, s)
	}
	closeStore(t, s)
}

// testAuditLook reads pages with a filter that few of very many rows match. A page must end
// after core.AuditLooked rows were read and say where the next page begins. The pages
// together must have every matching row.
func testAuditLook(t *testing.T, e Engine) {
	s := e.Open(t)
	defer closeStore(t, s)
	const rows = core.AuditLooked*2 + 100
	for from := 0; from < rows; from += 2000 {
		var some []core.Audit
		for n := from; n < min(from+2000, rows); n++ {
			row := core.Audit{AuditKey: core.AuditKey{At: start + int64(n), Number: 1}, Refused: n%2 == 0, Kind: core.AuditNobody}
			if n == 5 || n == rows-5 {
				row.Target = "rare"
			}
			some = append(some, row)
		}
		apply(t, s, start, auditing(some...))
	}
	var found []int64
	pages := 0
	for q := (core.AuditQuery{Limit: 100, Target: "rare"}); ; pages++ {
		page, err := s.AuditPage(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Rows {
			found = append(found, r.At-start)
		}
		if q.Before = page.Next; q.Before == (core.AuditKey{}) {
			break
		}
	}
	mustEqual(t, "rows found", found, []int64{rows - 5, 5})
	if pages != 2 {
		t.Errorf("%d pages had a next one, want 2", pages)
	}
}

// testAuditTrim deletes audit rows by age, and rows of refused attempts by their total size.
// Exactly the other rows must stay.
func testAuditTrim(t *testing.T, e Engine) {
	s, ctx := e.Open(t), context.Background()
	trim := func(before int64, refused int) {
		t.Helper()
		if err := s.TrimAudit(ctx, before, refused); err != nil {
			t.Fatal(err)
		}
	}
	trim(start, 0) // trimming an empty store must not fail
	var done, refused []core.Audit
	for n := range 20 {
		done = append(done, auditRow(start+int64(n), n))
		refused = append(refused, refusedRow(start+int64(n), 100+n, 1000))
	}
	apply(t, s, start, auditing(done...), auditing(refused...))
	trim(start, 1<<20)
	mustEqual(t, "rows when none is too old or too many", auditRows(t, s, core.AuditQuery{Limit: 50}), newestAudits(append(done, refused...)...))

	trim(start, 10_500)
	left := auditRows(t, s, core.AuditQuery{Limit: 50, Outcome: "bad-secret"})
	if n := len(left); n < 8 || n > 10 {
		t.Errorf("%d rows of a thousand bytes and a little more are left in 10500 bytes", n)
	}
	mustEqual(t, "rows of refused attempts in 10500 bytes", left, newestAudits(refused[20-len(left):]...))
	mustEqual(t, "other rows", auditRows(t, s, core.AuditQuery{Limit: 50, Outcome: core.AuditDone}), newestAudits(done...))

	trim(start+15, 1<<20)
	for range 2 {
		mustEqual(t, "rows when the older ones were deleted", auditRows(t, s, core.AuditQuery{Limit: 50}), newestAudits(append(slices.Clone(done[15:]), refused[15:]...)...))
		s = e.Reopen(t, s)
	}
	trim(0, 0)
	mustEqual(t, "rows without any of refused attempts", auditRows(t, s, core.AuditQuery{Limit: 50}), newestAudits(done[15:]...))
	closeStore(t, s)
}

// testAuditInBatch writes audit rows in the batches of other changes. The store must have an audit
// row if and only if its change was applied.
func testAuditInBatch(t *testing.T, e Engine) {
	s, ctx := e.Open(t), context.Background()
	ann := user(1)
	live := core.User{ID: ann, State: core.UserLive, Generation: 1}
	ended := live
	ended.Generation = 2
	row := func(n int) core.Audit { return auditRow(start, n) }
	audited := func(c *core.Change, rows ...core.Audit) *core.Change {
		c.Audits = rows
		return c
	}
	apply(t, s, start, audited(putUser(core.User{ID: ann}, live), row(1)))
	stale := apply(t, s, start, audited(putUser(core.User{ID: ann}, ended), row(2)))
	if stale[0].Status != core.Stale {
		t.Errorf("a change of a row that has changed: %+v", stale[0])
	}
	refuse := audited(putUser(live, ended), row(3))
	refuse.Decide = func(core.Rows) (*core.Change, error) { return nil, core.ErrUnknownThread }
	apply(t, s, start, refuse)
	decided := putUser(live, ended)
	decided.Decide = func(core.Rows) (*core.Change, error) { return audited(putUser(live, ended), row(4)), nil }
	apply(t, s, start, decided)
	apply(t, s, start, audited(create(thread(1), "", ann), row(5)))

	for _, k := range []struct {
		key core.AccessKeyRow
		row core.Audit
	}{
		{core.AccessKeyRow{Serial: 2, Secret: []byte("the first new key of the audit test")}, row(6)},
		{core.AccessKeyRow{Serial: 2, Secret: []byte("too late: another server was first")}, row(7)},
		{core.AccessKeyRow{Serial: 9, Secret: []byte("a serial that does not come next")}, row(8)},
	} {
		if _, err := s.SetKey(ctx, 0, k.key, k.row); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		mustEqual(t, "audit rows", auditRows(t, s, core.AuditQuery{Limit: 50}), newestAudits(row(1), row(4), row(5), row(6)))
		s = e.Reopen(t, s)
	}
	if u := userRow(t, s, ann); u != ended {
		t.Errorf("the user is %+v, want %+v", u, ended)
	}
	closeStore(t, s)
}

// testAuditOnTwo lets two servers write audit rows at the same time, some with the same
// millisecond. Both must then read all of them in one order.
func testAuditOnTwo(t *testing.T, e Engine) {
	if e.Second == nil {
		t.Skip("this engine locks its folder: there is never a second writer")
	}
	first := e.Open(t)
	defer closeStore(t, first)
	second := e.Second(t, first)
	defer closeStore(t, second)
	const each = 100
	var want []core.Audit
	var wg sync.WaitGroup
	for n, s := range []core.Store{first, second} {
		var rows []core.Audit
		for i := range each {
			row := auditRow(start+int64(i/4), n<<32+i)
			row.Refused = i%3 == 0
			rows = append(rows, row)
		}
		want = append(want, rows...)
		wg.Go(func() {
			for _, row := range rows {
				if _, err := s.Apply(context.Background(), core.Batch{At: start, Changes: []*core.Change{auditing(row)}}); err != nil {
					t.Errorf("server %d: %v", n, err)
				}
			}
		})
	}
	wg.Wait()
	for n, s := range []core.Store{first, second} {
		mustEqual(t, fmt.Sprint("audit rows on server ", n), auditRows(t, s, core.AuditQuery{Limit: 33}), newestAudits(want...))
	}
	for range 2 { // both servers delete the same rows at the same time
		for n, s := range []core.Store{first, second} {
			wg.Go(func() {
				if err := s.TrimAudit(context.Background(), start+10, 1<<20); err != nil {
					t.Errorf("server %d: %v", n, err)
				}
			})
		}
		wg.Wait()
	}
	want = slices.DeleteFunc(want, func(a core.Audit) bool { return a.At < start+10 })
	mustEqual(t, "audit rows after both servers have deleted the old ones", auditRows(t, second, core.AuditQuery{Limit: 1000}), newestAudits(want...))
}
