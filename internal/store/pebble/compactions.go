package pebble

import "github.com/cockroachdb/pebble/v2"

// compactions schedules the compactions of a store as Pebble does by default, but begins none while
// Open runs: Pebble's Open waits until all compactions in progress have ended, so a start with many
// tables in level 0 would take as long as rewriting them.
type compactions struct {
	*pebble.ConcurrencyLimitScheduler
	held func() bool // returns true while no compaction may begin
}

// newCompactions returns a scheduler that begins no compaction while held returns true. It needs no
// timer, unlike Pebble's default scheduler, because Pebble asks it again after each flush and each
// compaction.
func newCompactions(held func() bool) *compactions {
	return &compactions{pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest(), held}
}

// Register is called by Pebble when it opens the store.
func (c *compactions) Register(goroutines int, db pebble.DBForCompaction) {
	c.ConcurrencyLimitScheduler.Register(goroutines, holdable{db, c.held})
}

// begin starts the compactions that were held back. The scheduler looks for waiting compactions
// only when one ends, so begin reports the end of a compaction that never began.
func (c *compactions) begin() {
	if ok, none := c.TrySchedule(); ok {
		none.Done()
	}
}

// holdable is a database for which no compaction may begin while held returns true.
type holdable struct {
	pebble.DBForCompaction
	held func() bool
}

// GetAllowedWithoutPermission returns how many compactions may run: none while held returns true.
func (h holdable) GetAllowedWithoutPermission() int {
	if h.held() {
		return 0
	}
	return h.DBForCompaction.GetAllowedWithoutPermission()
}
