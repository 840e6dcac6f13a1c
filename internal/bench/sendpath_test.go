package bench

import (
	"io"
	"testing"
	"time"
)

// TestSendPathRuns measures every row of the table of SendPath for a short time and checks
// that no error is returned.
func TestSendPathRuns(t *testing.T) {
	o := SendPath{Dir: t.TempDir(), Pairs: 1, Span: 20 * time.Millisecond, Threads: 20, Members: 2, Out: io.Discard}
	if _, err := o.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestFootprintCountsBytes(t *testing.T) {
	const n = 2000
	per, kept, err := Footprint(t.Context(), t.TempDir(), n)
	if err != nil {
		t.Fatal(err)
	}
	if per < messageSize || per > 100*messageSize || kept <= 0 || kept > per {
		t.Errorf("%.0f bytes written and %.0f kept per message of %d", per, kept, messageSize)
	}
}
