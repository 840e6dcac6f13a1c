package core

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Audit is a row that says what an operator, or a program of an operator, did or tried to do. It
// has no content of messages and no secret. Service.Audit shortens its texts to a few hundred
// bytes each.
type Audit struct {
	AuditKey
	// Refused says that the operation was refused: it changed nothing and returned nothing. Anybody
	// who can connect to the operator's API can cause such rows, so only the newest
	// AuditRefusedBytes of them are kept.
	Refused   bool
	Who       string // the caller, as in "uid 1000"; "" if nobody has signed in
	Kind      string // how the caller has signed in, such as AuditSocket or AuditSession
	Role      string // the caller's role, operator or viewer; "" if nobody has signed in
	From      string // where the request came from: "socket", or the address of the client
	Operation string // name of the operation, as in "rotate key"
	Target    string // the id of a user or thread, the name of a key, or a folder; "" if the operation has no target
	Outcome   string // AuditDone, or the reason why the operation failed
	Status    int32  // of the response
	RequestID string
	// Attempts is 0 in the row of a single operation. After a second with more than
	// AuditRefusedRate refused attempts, one row stands for the surplus, and Attempts is their
	// number.
	Attempts uint64
}

// The values of Audit.Kind.
const (
	AuditSocket       = "socket"
	AuditSecret       = "secret"
	AuditViewerSecret = "viewer-secret"
	AuditSession      = "session"
	AuditNobody       = "nobody"
)

// AuditDone is Audit.Outcome of an operation that was carried out.
const AuditDone = "done"

// AuditMany is Audit.Operation of a row with Attempts.
const AuditMany = "refused attempts"

// Bounds of the audit rows.
const (
	// DefaultAuditKept, MinAuditKept and MaxAuditKept are the default, least and greatest value
	// of Options.AuditKept, in days.
	DefaultAuditKept = 400
	MinAuditKept     = 1
	MaxAuditKept     = 3650
	// AuditRefusedRate is the greatest number of rows with Refused that a server writes in a
	// second. The server counts further refused attempts and writes their number in one row.
	AuditRefusedRate = 100
	// AuditRefusedBytes is the greatest size of all rows with Refused in a store. When the rows are
	// larger in all, the store deletes the oldest ones.
	AuditRefusedBytes = 64 << 20
	// AuditLooked is the greatest number of rows that Store.AuditPage reads for a page.
	AuditLooked = 10_000
	// auditTrimmed is the size to which Sweep reduces the rows with Refused. It leaves room for
	// the rows that several servers write between two sweeps.
	auditTrimmed = AuditRefusedBytes - 16*auditTrimEvery
	// auditTrimEvery is the number of bytes of rows with Refused after which a server calls
	// Store.TrimAudit, without waiting for auditTrimTime.
	auditTrimEvery = 1 << 20
	// auditTrimTime is the time between two calls of Store.TrimAudit that delete rows by age.
	auditTrimTime = time.Hour
)

// AuditKey identifies an audit row. Rows are ordered by At and then by Number.
type AuditKey struct {
	At int64 // epoch milliseconds
	// Number tells rows of the same millisecond apart. The numbers of one server ascend.
	Number uint64
}

// Compare returns -1, 0 or +1 if k is before, equal to or after o.
func (k AuditKey) Compare(o AuditKey) int {
	return cmp.Or(cmp.Compare(k.At, o.At), cmp.Compare(k.Number, o.Number))
}

// String returns the key as text that ParseAuditKey accepts.
func (k AuditKey) String() string { return fmt.Sprintf("%d-%d", k.At, k.Number) }

// ParseAuditKey returns the key whose String is s. It fails if s is not the String of a key.
func ParseAuditKey(s string) (k AuditKey, err error) {
	at, number, _ := strings.Cut(s, "-")
	if k.At, err = strconv.ParseInt(at, 10, 64); err == nil {
		k.Number, err = strconv.ParseUint(number, 10, 63)
	}
	if err != nil || k.At < 0 || k.String() != s {
		return AuditKey{}, fmt.Errorf("%q is not the id of an audit row", s)
	}
	return k, nil
}

// AuditQuery selects audit rows, the newest first. An empty text selects rows with any value.
type AuditQuery struct {
	Before AuditKey // only rows with keys before this one; zero: begin with the newest row
	Limit  int      // greatest number of rows of the page; 1 or more

	Operation, Who, Target, Outcome string
}

// Matches reports whether the texts of the query select the row.
func (q *AuditQuery) Matches(a *Audit) bool {
	for _, c := range [][2]string{{q.Operation, a.Operation}, {q.Who, a.Who}, {q.Target, a.Target}, {q.Outcome, a.Outcome}} {
		if c[0] != "" && c[0] != c[1] {
			return false
		}
	}
	return true
}

// AuditPage is the result of Store.AuditPage. Next is the value of AuditQuery.Before for the next
// page, or zero after the last page. A page that is not the last one may have fewer rows than the
// limit, or none, because Store.AuditPage reads at most AuditLooked rows for a page.
type AuditPage struct {
	Rows []Audit
	Next AuditKey
}

// Limits of the texts of a row, in bytes.
const (
	auditShort = 128
	auditLong  = 512
)

// Stamp returns the row with a key, if it has none yet, and with texts that every store accepts:
// shortened, in UTF-8 and without NUL. The new key has the present time. If a caller writes the
// stamped row twice, the store keeps one row, because the key is the same.
func (s *Service) Stamp(row Audit) Audit {
	if row.AuditKey == (AuditKey{}) {
		row.AuditKey = s.audits.key(s.now())
	}
	for _, text := range []*string{&row.Kind, &row.Role, &row.Operation, &row.RequestID} {
		*text = auditText(*text, auditShort)
	}
	for _, text := range []*string{&row.Who, &row.From, &row.Target, &row.Outcome} {
		*text = auditText(*text, auditLong)
	}
	return row
}

// stampAll returns the stamped rows. A row without a Target gets target.
func (s *Service) stampAll(rows []Audit, target string) []Audit {
	var stamped []Audit
	for _, row := range rows {
		row.Target = cmp.Or(row.Target, target)
		stamped = append(stamped, s.Stamp(row))
	}
	return stamped
}

// auditText returns s as valid UTF-8 without NUL. If it is longer than limit, it is cut and ends
// with an ellipsis.
func auditText(s string, limit int) string {
	const ellipsis = "…"
	if len(s) <= limit && utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	s = strings.ReplaceAll(strings.ToValidUTF8(s[:min(len(s), 2*limit)], "\uFFFD"), "\x00", "\uFFFD")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit-len(ellipsis)], "") + ellipsis
	}
	return s
}

// Audit writes a row and returns when it is durable. It writes the row in one batch with the
// changes that wait for the same lane (a queue of changes with its own goroutine). If Audit fails
// with an error that wraps ErrUnknown, the row may have been written. A caller that has called
// Stamp on the row before may then write the row again.
//
// Of rows with Refused, Audit writes at most AuditRefusedRate in a second. It counts further ones,
// returns at once, and writes their number later.
//
// RevokeTokens, DeleteUser, CreateUser and Store.SetKey write an audit row in one batch with their
// change, so that a crash loses both or neither.
func (s *Service) Audit(ctx context.Context, row Audit) error {
	row = s.Stamp(row)
	rows := []Audit{row}
	if row.Refused {
		if rows = s.audits.admit(s, row); len(rows) == 0 {
			return nil
		}
	}
	return s.writeAudit(ctx, rows)
}

// writeAudit writes audit rows and returns when they are durable. If it fails, it restores the
// count of refused attempts that rows with Attempts stand for.
func (s *Service) writeAudit(ctx context.Context, rows []Audit) error {
	_, err := s.commits.commit(ctx, &Change{Key: auditLane, Audits: rows})
	if err == nil {
		return nil
	}
	if !errors.Is(err, ErrUnknown) {
		s.audits.restore(rows)
	}
	return fmt.Errorf("write %d audit rows: %w", len(rows), err)
}

// auditLane is the Change.Key of a change that writes only audit rows. All such changes have this
// key, so one lane commits them in the order of their audit keys.
const auditLane = "audit"

// AuditPage returns a page of the audit rows.
func (s *Service) AuditPage(ctx context.Context, q AuditQuery) (AuditPage, error) {
	page, err := s.store.AuditPage(ctx, q)
	if err != nil {
		return AuditPage{}, fmt.Errorf("read the audit rows before %s: %w", q.Before, err)
	}
	return page, nil
}

// audits has the state with which a Service numbers audit rows and counts refused attempts.
type audits struct {
	mu      sync.Mutex // guards the fields below
	server  uint64     // a random number; the high half of the numbers of this server's audit rows
	last    AuditKey   // of the newest row
	second  int64      // the second of written, since 1970
	written int        // the number of rows with Refused that were written in the current second
	counted uint64     // the number of refused attempts that no row stands for yet
	bytes   int        // size of the rows with Refused since the last call of Store.TrimAudit
	trimmed time.Time  // when Sweep has called Store.TrimAudit last
}

// init sets the first values of a for a new Service. The store may already be full of rows with
// Refused, so init makes the first sweep call Store.TrimAudit.
func (a *audits) init() {
	a.server, a.bytes = uint64(rand.Uint32()>>1)<<32, auditTrimEvery
}

// key returns a new key with the time now. It is greater than all earlier keys of this server,
// even if the clock has gone back.
func (a *audits) key(now time.Time) AuditKey {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.keyLocked(now)
}

func (a *audits) keyLocked(now time.Time) AuditKey {
	k := AuditKey{At: max(now.UnixMilli(), a.last.At, 1), Number: a.server}
	if k.At == a.last.At {
		k.Number = a.last.Number + 1
	}
	a.last = k
	return k
}

// admit returns the rows to write for a refused attempt: row, and another row if attempts of an
// earlier second were only counted. If this second already has AuditRefusedRate rows, admit counts
// the attempt and returns no rows.
func (a *audits) admit(s *Service, row Audit) (rows []Audit) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := s.now()
	rows = a.takeCounted(now, false)
	if a.written >= AuditRefusedRate {
		a.counted++
		return nil
	}
	a.written++
	a.bytes += row.size()
	return append(rows, row)
}

// takeCounted begins a new second if the time now is in a later second, or if early is true. Then
// it returns a row for the attempts that were only counted, if there are any. The caller must hold
// a.mu.
func (a *audits) takeCounted(now time.Time, early bool) []Audit {
	if now.Unix() == a.second && !early {
		return nil
	}
	a.second, a.written = now.Unix(), 0
	if a.counted == 0 {
		return nil
	}
	row := Audit{
		AuditKey: a.keyLocked(now), Refused: true, Kind: AuditNobody,
		Operation: AuditMany, Outcome: "refused", Attempts: a.counted,
	}
	a.counted, a.written = 0, 1
	a.bytes += row.size()
	return []Audit{row}
}

// restore adds the attempts that the rows stand for to the count again, after writing the rows
// failed.
func (a *audits) restore(rows []Audit) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range rows {
		a.counted += rows[i].Attempts
	}
}

// due reports whether Store.TrimAudit must be called now. If so, it resets the time and the size
// that the next call depends on.
func (a *audits) due(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if since := now.Sub(a.trimmed); since >= 0 && since < auditTrimTime && a.bytes < auditTrimEvery {
		return false
	}
	a.trimmed, a.bytes = now, 0
	return true
}

// storeCounted writes an audit row with the number of refused attempts that have no row yet. Unless
// early is true, it does nothing in the second in which the attempts were counted.
func (s *Service) storeCounted(ctx context.Context, early bool) error {
	s.audits.mu.Lock()
	rows := s.audits.takeCounted(s.now(), early)
	s.audits.mu.Unlock()
	if len(rows) == 0 {
		return nil
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return s.writeAudit(ctx, rows)
}

// sweepAudit writes the number of refused attempts that were only counted. About once an hour it
// deletes the rows that are older than Options.AuditKept and, if rows with Refused take too much
// space, the oldest of them. It does so earlier if a server has written many rows with Refused.
func (s *Service) sweepAudit(ctx context.Context) error {
	err := s.storeCounted(ctx, false)
	now := s.now()
	if !s.audits.due(now) {
		return err
	}
	if terr := s.store.TrimAudit(ctx, now.Add(-s.auditKept).UnixMilli(), auditTrimmed); terr != nil {
		err = errors.Join(err, fmt.Errorf("delete old audit rows: %w", terr))
	}
	return err
}

// size returns the approximate size of the row in a store or in memory, in bytes.
func (a *Audit) size() int {
	return 64 + len(a.Who) + len(a.Kind) + len(a.Role) + len(a.From) + len(a.Operation) + len(a.Target) + len(a.Outcome) + len(a.RequestID)
}
