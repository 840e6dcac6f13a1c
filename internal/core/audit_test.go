package core_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/core"
)

// audit returns all audit rows, the newest first.
func (h *house) audit(t *testing.T) (all []core.Audit) {
	t.Helper()
	for q := (core.AuditQuery{Limit: 100}); ; {
		page, err := h.AuditPage(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Rows...)
		if q.Before = page.Next; q.Before == (core.AuditKey{}) {
			return all
		}
	}
}

func done(operation string) core.Audit {
	return core.Audit{Who: "uid 1000", Kind: core.AuditSocket, Role: "operator", From: "socket", Operation: operation, Outcome: core.AuditDone, Status: 200}
}

func refused(n int) core.Audit {
	return core.Audit{Refused: true, Kind: core.AuditNobody, From: "192.0.2.1", Operation: "unknown", Outcome: "bad-secret", Status: 401, RequestID: fmt.Sprint(n)}
}

// TestAuditRowsAreInOrder writes rows from many goroutines, and after the clock was set back. It
// checks that all rows have different keys, and that a row comes after each row written before it.
func TestAuditRowsAreInOrder(t *testing.T) {
	h := newHouse(t, nil, nil)
	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() {
			if err := h.Audit(context.Background(), done(fmt.Sprint("first ", n))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	h.pass(-time.Hour)
	for n := range 3 {
		if err := h.Audit(context.Background(), done(fmt.Sprint("then ", n))); err != nil {
			t.Fatal(err)
		}
	}
	rows := h.audit(t)
	if len(rows) != 23 || rows[0].Operation != "then 2" || rows[1].Operation != "then 1" || rows[2].Operation != "then 0" || rows[0].At != start.UnixMilli() {
		t.Errorf("%d rows: %+v", len(rows), rows)
	}
}

// TestAuditWithItsChange changes users together with audit rows. It checks that the row names the
// user, and that no row is written for a change that is refused.
func TestAuditWithItsChange(t *testing.T) {
	h, ctx := newHouse(t, nil, nil), context.Background()
	u, err := h.CreateUser(ctx, done("create user"))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.RevokeTokens(ctx, u.ID, done("end tokens")); err != nil {
		t.Fatal(err)
	}
	if err := h.DeleteUser(ctx, u.ID, done("delete user")); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(context.Context, string, ...core.Audit) error{"delete": h.DeleteUser, "revoke": h.RevokeTokens} {
		for _, id := range []string{u.ID, "8:acs:no-user"} {
			if err := change(ctx, id, done(name)); err == nil {
				t.Errorf("%s %s succeeded", name, id)
			}
		}
	}
	var got []string
	for _, row := range h.audit(t) {
		if row.Target != u.ID {
			t.Errorf("the target of %+v is not %s", row, u.ID)
		}
		got = append(got, row.Operation)
	}
	if want := []string{"delete user", "end tokens", "create user"}; !slices.Equal(got, want) {
		t.Errorf("audit rows of %q, want %q", got, want)
	}
}

// TestRefusedAttemptsAreBounded refuses a thousand attempts in a second. It checks that a hundred
// of them get rows, and that one row has the number of the others. That row is written by the next
// sweep, before the first row of a later second, or when the service is closed. Rows of attempts
// that were not refused have no such bound.
func TestRefusedAttemptsAreBounded(t *testing.T) {
	h, ctx := newHouse(t, nil, nil), context.Background()
	write := func(rows ...core.Audit) {
		t.Helper()
		for _, row := range rows {
			if err := h.Audit(ctx, row); err != nil {
				t.Fatal(err)
			}
		}
	}
	sweep := func() {
		t.Helper()
		if _, err := h.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
	}
	// count returns the number of rows of refused attempts, of other rows, and of attempts that
	// were only counted.
	count := func() (n [3]int) {
		t.Helper()
		for _, row := range h.audit(t) {
			switch {
			case row.Operation == core.AuditMany:
				n[2] += int(row.Attempts)
			case row.Refused:
				n[0]++
			default:
				n[1]++
			}
		}
		return n
	}
	for n := range 1000 {
		write(refused(n))
	}
	for range 150 {
		write(done("read messages"))
	}
	sweep()
	if got, want := count(), [3]int{100, 150, 0}; got != want {
		t.Errorf("in the same second: %v, want %v", got, want)
	}
	h.pass(time.Second)
	sweep()
	sweep()
	if got, want := count(), [3]int{100, 150, 900}; got != want {
		t.Errorf("a second later: %v, want %v", got, want)
	}
	for n := range 120 { // the row that the sweep has written counts towards the limit of this second
		write(refused(n))
	}
	h.pass(time.Second)
	write(refused(0))
	if got, want := count(), [3]int{200, 150, 921}; got != want {
		t.Errorf("two seconds later: %v, want %v", got, want)
	}
	for n := range 110 {
		write(refused(n))
	}
	h.Close()
	if got, want := count(), [3]int{298, 150, 933}; got != want {
		t.Errorf("at the end: %v, want %v", got, want)
	}
}

// failingAudit is a store that fails to write audit rows while err is not nil. It records the calls
// of TrimAudit.
type failingAudit struct {
	core.Store
	err   error
	trims []string
}

func (f *failingAudit) Apply(ctx context.Context, b core.Batch) ([]core.Outcome, error) {
	if f.err != nil {
		return nil, f.err
	}
	return f.Store.Apply(ctx, b)
}

func (f *failingAudit) TrimAudit(ctx context.Context, before int64, refused int) error {
	f.trims = append(f.trims, fmt.Sprintf("%s %d", time.UnixMilli(before).UTC().Format(time.DateOnly), refused>>20))
	return f.Store.TrimAudit(ctx, before, refused)
}

// TestCountedAttemptsSurviveAFailure lets the store fail when the number of refused attempts is to
// be written. It checks that the next sweep writes the number.
func TestCountedAttemptsSurviveAFailure(t *testing.T) {
	f := &failingAudit{}
	h := newHouse(t, nil, func(s core.Store) core.Store { f.Store = s; return f })
	ctx := context.Background()
	for n := range core.AuditRefusedRate + 7 {
		if err := h.Audit(ctx, refused(n)); err != nil {
			t.Fatal(err)
		}
	}
	f.err = errDisk
	h.pass(time.Second)
	if _, err := h.Sweep(ctx); !errors.Is(err, errDisk) {
		t.Errorf("sweep: %v, want %v", err, errDisk)
	}
	if err := h.Audit(ctx, done("delete user")); !errors.Is(err, errDisk) {
		t.Errorf("audit: %v, want %v", err, errDisk)
	}
	f.err = nil
	h.pass(time.Second)
	if _, err := h.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if rows := h.audit(t); len(rows) != core.AuditRefusedRate+1 || rows[0].Attempts != 7 {
		t.Errorf("%d rows, the newest is %+v", len(rows), rows[0])
	}
}

// TestOldAuditRowsAreDeleted sweeps over 40 days with rows that are kept for 30. It also lets many
// attempts be refused, and checks that the service then asks the store to delete the oldest rows
// before an hour is over.
func TestOldAuditRowsAreDeleted(t *testing.T) {
	f := &failingAudit{}
	h := newHouseWith(t, nil, func(s core.Store) core.Store { f.Store = s; return f }, core.Options{AuditKept: 30})
	ctx := context.Background()
	for n := range 40 {
		if err := h.Audit(ctx, done(fmt.Sprint("day ", n))); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := h.Sweep(ctx); err != nil {
				t.Fatal(err)
			}
		}
		h.pass(24 * time.Hour)
	}
	rows := h.audit(t)
	if len(rows) != 31 || rows[30].Operation != "day 9" {
		t.Errorf("%d rows after 40 days, the oldest is %+v", len(rows), rows[len(rows)-1])
	}
	if want := "2025-12-03 48"; len(f.trims) != 40 || f.trims[0] != want {
		t.Errorf("old rows were deleted %d times, first %q, want %q", len(f.trims), f.trims[0], want)
	}

	row := refused(0)
	row.Target = strings.Repeat("x", 500)
	f.trims = nil
	for range 40 {
		for range core.AuditRefusedRate {
			if err := h.Audit(ctx, row); err != nil {
				t.Fatal(err)
			}
		}
		h.pass(time.Second)
		if _, err := h.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
	}
	// The first call of TrimAudit deletes rows by age; each of the two others follows a megabyte of
	// new rows.
	if n := len(f.trims); n != 3 {
		t.Errorf("40 seconds with 4000 refused attempts of 600 bytes: rows were deleted %d times, want 3", n)
	}
}

// TestStamp checks that Stamp shortens long texts and mends texts that a store refuses.
func TestStamp(t *testing.T) {
	h := newHouse(t, nil, nil)
	row := h.Stamp(core.Audit{Target: strings.Repeat("é", 600), Outcome: "a\x00b\xffc", Who: strings.Repeat("\x00", 512), Operation: strings.Repeat("x", 129), RequestID: "id"})
	if row.Outcome != "a\uFFFDb\uFFFDc" || row.RequestID != "id" {
		t.Errorf("texts: %+v", row)
	}
	for _, text := range []string{row.Target, row.Who, row.Operation} {
		if len(text) > 512 || !utf8.ValidString(text) || strings.Contains(text, "\x00") || !strings.HasSuffix(text, "…") {
			t.Errorf("%d bytes: %q", len(text), text)
		}
	}
	if again := h.Stamp(row); again != row || row.At != start.UnixMilli() || row.Number == 0 || row.Number > math.MaxInt64 {
		t.Errorf("stamped again: %+v, before %+v", again, row)
	}
	if err := h.Audit(context.Background(), row); err != nil {
		t.Fatal(err)
	}
	if err := h.Audit(context.Background(), row); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]core.Audit{row}, h.audit(t)); diff != "" {
		t.Errorf("a row that was written twice (-want +got):\n%s", diff)
	}
}

func TestAuditKeyText(t *testing.T) {
	for _, k := range []core.AuditKey{{}, {At: 1, Number: 2}, {At: math.MaxInt64, Number: math.MaxInt64}} {
		if got, err := core.ParseAuditKey(k.String()); err != nil || got != k {
			t.Errorf("%s reads as %+v, %v", k, got, err)
		}
	}
	for _, s := range []string{"", "1", "1-", "-1-2", "1-2-3", "01-2", "1-+2", "1-9223372036854775808", "x-1", " 1-2"} {
		if k, err := core.ParseAuditKey(s); err == nil {
			t.Errorf("%q reads as %+v", s, k)
		}
	}
}
