package postgres

import (
	"context"
	"testing"
	"time"
)

// TestServers lets two servers of one database note that they are alive. Each must see both, and no
// longer a server that has left.
func TestServers(t *testing.T) {
	url := emptyDatabase(t)
	a, b := open(t, url), open(t, url)
	defer a.Close()
	defer b.Close()
	ctx := context.Background()
	started := time.UnixMilli(1_700_000_000_000)
	for i, s := range []*Store{a, b} {
		if err := s.Beat(ctx, Server{ID: string(rune('a' + i)), Version: "v", Started: started.Add(time.Duration(i) * time.Second)}); err != nil {
			t.Fatal(err)
		}
	}
	before, err := b.Servers(ctx)
	if err != nil || len(before) != 2 || before[0].ID != "a" || before[1].ID != "b" || !before[0].Started.Equal(started) || before[0].Version != "v" {
		t.Fatalf("%+v, %v", before, err)
	}
	if err := a.Beat(ctx, Server{ID: "a", Version: "v", Started: started}); err != nil {
		t.Fatal(err)
	}
	after, err := a.Servers(ctx)
	if err != nil || len(after) != 2 || !after[0].Seen.After(before[0].Seen) && !after[0].Seen.Equal(before[0].Seen) || time.Since(after[0].Seen).Abs() > time.Minute {
		t.Fatalf("after a second beat: %+v, %v", after, err)
	}
	if err := a.Leave(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if left, err := b.Servers(ctx); err != nil || len(left) != 1 || left[0].ID != "b" {
		t.Errorf("after one has left: %+v, %v", left, err)
	}
}
