package server

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// TestFailuresAreBounded counts failures of more clients than maxFailures. It checks that few
// failures are reported, that all are counted, and that a later report has the number of
// failures since the last one.
func TestFailuresAreBounded(t *testing.T) {
	const addresses, each = 10 * maxFailures, 3
	f := newFailures(nil, nil)
	now, reported := time.Unix(1_800_000_000, 0), 0
	for i := range addresses * each {
		client := netip.MustParseAddr(fmt.Sprintf("2001:db8:%x::", i%addresses))
		reported += f.note(failureOf{Untrusted, client}, now.Add(time.Duration(i)*time.Millisecond))
	}
	if reported > maxFailures+1 {
		t.Errorf("%d reports within a minute, want at most one for each of %d addresses and one for the others", reported, maxFailures)
	}
	if len(f.recent) > maxFailures+len(failureKinds) {
		t.Errorf("%d entries are kept, want at most %d", len(f.recent), maxFailures+len(failureKinds))
	}
	if n := f.count(Untrusted); n != addresses*each {
		t.Errorf("%d are counted, want %d", n, addresses*each)
	}
	later := now.Add(time.Hour)
	if n := f.note(failureOf{Untrusted, netip.MustParseAddr("2001:db8::")}, later); n != each {
		t.Errorf("a report an hour later stands for %d failures, want %d", n, each)
	}
	if n := f.note(failureOf{HungUp, netip.MustParseAddr("2001:db8::")}, later); n != 1 {
		t.Errorf("a report of another kind stands for %d failures, want 1", n)
	}
}
