//go:build unix

package failures

import (
	"encoding/json"
	"net/url"
	"testing"
)

// TestAuditSurvivesKills makes a change of each kind through the operator's API and kills the
// server with SIGKILL right after the answer. After the restart the audit log must have exactly
// one row of each change.
func TestAuditSurvivesKills(t *testing.T) {
	t.Run("one server", func(t *testing.T) {
		c := newServers(t)
		c.addNode(t)
		auditKills(t, c)
	})
	t.Run("two servers on PostgreSQL", func(t *testing.T) { auditKills(t, newCluster(t, database(t))) })
}

func auditKills(t *testing.T, c *cluster) {
	n := c.nodes[0]
	change := func(status int, method, path string) []byte {
		t.Helper()
		got, answer := n.operate(method, path)
		if got != status {
			t.Fatalf("%s %s: %d %s, want %d", method, path, got, answer, status)
		}
		n.kill()
		n.start(t)
		return answer
	}
	var user struct{ ID string }
	if err := json.Unmarshal(change(201, "POST", "users"), &user); err != nil || user.ID == "" {
		t.Fatalf("create a user: %v", err)
	}
	at := "users/" + url.PathEscape(user.ID)
	change(201, "POST", at+"/tokens")
	change(200, "POST", at+"/revoke")
	change(204, "DELETE", at)
	change(200, "POST", "keys/secondary/rotate")
	change(200, "POST", "keys/secondary/rotate") // replace the secondary key, because a key in the settings, such as the primary one, cannot be replaced
	change(201, "POST", "codes")
	type row struct{ operation, target, outcome string }
	want := map[row]int{
		{"createUser", user.ID, "done"}: 1, {"issueToken", user.ID, "done"}: 1, {"revokeTokens", user.ID, "done"}: 1, {"deleteUser", user.ID, "done"}: 1,
		{"rotateKey", "secondary", "done"}: 2, {"makeCode", "", "done"}: 1,
	}
	status, answer := n.operate("GET", "audit?limit=1000")
	var page struct {
		Rows []struct{ ID, Time, Operation, Target, Outcome, Kind, Role, RequestID string }
	}
	if err := json.Unmarshal(answer, &page); err != nil || status != 200 {
		t.Fatalf("the audit log: %d %v %s", status, err, answer)
	}
	got := map[row]int{}
	for _, r := range page.Rows {
		got[row{r.Operation, r.Target, r.Outcome}]++
		if r.ID == "" || r.Time == "" || r.Kind != "socket" || r.Role != "operator" || r.RequestID == "" {
			t.Errorf("a row: %+v", r)
		}
	}
	for r, times := range want {
		if got[r] != times {
			t.Errorf("%+v has %d rows, want %d", r, got[r], times)
		}
		delete(got, r)
	}
	if len(got) > 0 {
		t.Errorf("further rows: %v", got)
	}
}
