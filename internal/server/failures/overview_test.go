//go:build unix

package failures

import (
	"encoding/json"
	"testing"
	"time"
)

// TestOverviewNamesServers starts two servers on one database. It checks that the overview of each
// names both servers within a few seconds. After one server was killed with SIGKILL, the overview
// of the other must say when that server was last alive.
func TestOverviewNamesServers(t *testing.T) {
	c := newCluster(t, database(t))
	type server struct {
		ID, Seen string
		Self     bool
	}
	servers := func(n *node) []server {
		t.Helper()
		var overview struct{ Servers []server }
		status, answer := n.operate("GET", "overview")
		if err := json.Unmarshal(answer, &overview); err != nil || status != 200 {
			t.Fatalf("the overview: %d %v %s", status, err, answer)
		}
		return overview.Servers
	}
	deadline := time.Now().Add(30 * time.Second)
	for _, n := range c.nodes {
		all := servers(n)
		for len(all) < 2 && time.Now().Before(deadline) {
			time.Sleep(100 * time.Millisecond)
			all = servers(n)
		}
		if len(all) != 2 || all[0].Self == all[1].Self || all[0].ID == all[1].ID {
			t.Fatalf("servers: %+v", all)
		}
	}
	c.nodes[1].kill()
	defer c.nodes[1].start(t)
	seen := func() (own, other string) {
		for _, s := range servers(c.nodes[0]) {
			if s.Self {
				own = s.Seen
			} else {
				other = s.Seen
			}
		}
		return own, other
	}
	own, other := seen()
	for now := own; now == own && time.Now().Before(deadline); now, _ = seen() {
		time.Sleep(100 * time.Millisecond)
	}
	if now, after := seen(); now == own || after != other || other == "" {
		t.Errorf("this server was seen at %s and %s, the killed one at %s and %s", own, now, other, after)
	}
}
