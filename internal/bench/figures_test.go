package bench

import (
	"fmt"
	"os"
	"testing"
)

// TestFigures prints the measured figures and fails on a missed bar. It takes
// minutes, so only `make check` and `make bench` ask for it.
func TestFigures(t *testing.T) {
	if os.Getenv("CONFAB_FIGURES") == "" {
		t.Skip("set CONFAB_FIGURES=1 to measure")
	}
	missed, err := SendPath{Dir: t.TempDir(), Out: os.Stdout}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	per, err := Footprint(t.Context(), t.TempDir(), 200_000)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("\nwritten per %d-byte message, 200,000 sends and a compaction: %.0f bytes (at most 4096)\n", messageSize, per)
	if per >= 4096 {
		missed = append(missed, "bytes written per message")
	}
	for _, m := range missed {
		t.Errorf("missed: %s", m)
	}
}
