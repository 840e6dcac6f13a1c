package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/server"
)

// TestRefusalsByReason sends requests that are refused for different reasons, and checks the
// metric that counts refusals by reason. The counts must not change if the setting access-log
// leaves requests out of the log.
func TestRefusalsByReason(t *testing.T) {
	for _, logged := range []string{"all", "off"} {
		t.Run("access log "+logged, func(t *testing.T) {
			s := start(t, server.Options{Config: settings(t, "dev", "true", "access-log", logged)})
			_, _, ann := s.newUser(t, s.AccessKey)
			_, _, bob := s.newUser(t, s.AccessKey)
			thread := s.newThread(t, ann)
			s.get(t, s.Endpoint+"/chat/threads?api-version=2021-09-07")
			s.chat(t, "GET", "", "not a token", "")
			s.chat(t, "GET", "/"+thread+"/messages", bob, "")
			s.chat(t, "POST", "/"+thread+"/messages", ann, "{")
			s.get(t, s.Endpoint+"/nothing")
			s.get(t, s.Endpoint+"/chat/events")
			if status := s.signed(t, "GET", "/identities?api-version=2023-10-01"); status != http.StatusMethodNotAllowed {
				t.Fatalf("GET /identities: %d", status)
			}
			s.post(t, s.Endpoint+"/identities?api-version=2023-10-01", "{}")
			s.advance(t, "25h")
			s.chat(t, "GET", "", ann, "")
			_, metrics := s.get(t, s.Ops+"/metrics")
			for reason, n := range map[string]int{
				"no token": 2, "token invalid": 1, "token expired": 1, "not a participant": 1, "bad request": 1, "not found": 1,
				"signature": 1, "other": 1,
			} {
				if want := fmt.Sprintf("confab_refusals_total{reason=%q} %d\n", reason, n); !strings.Contains(metrics, want) {
					t.Errorf("no line %s", want)
				}
			}
			if t.Failed() {
				for line := range strings.Lines(metrics) {
					if strings.HasPrefix(line, "confab_refusals_total") || strings.HasPrefix(line, "confab_requests_total") {
						t.Log(line)
					}
				}
			}
		})
	}
}

// TestRequestsInFlight checks that the metric of running requests counts a request whose body
// has not arrived.
func TestRequestsInFlight(t *testing.T) {
	s := start(t, server.Options{Config: settings(t)})
	_, _, bearer := s.newUser(t, s.AccessKey)
	thread := s.newThread(t, bearer)
	const before, during = "\nconfab_requests_in_flight 0\n", "\nconfab_requests_in_flight 1\n"
	s.waitForMetric(t, before)
	up := s.begin(t, thread, bearer, "Where do we eat?")
	s.waitForMetric(t, during)
	up.conn.Close()
	s.waitForMetric(t, before)
}

// TestQueueAndDiskMetrics checks that the metrics contain the length of the commit queue and, if
// the server has a data folder, the free space of its disk.
func TestQueueAndDiskMetrics(t *testing.T) {
	inMemory := start(t, server.Options{Config: settings(t)})
	inMemory.waitForMetric(t, "\nconfab_commit_queue_changes 0\n")
	inMemory.waitForMetric(t, "\nconfab_commit_queue_bytes 0\n")
	if _, metrics := inMemory.get(t, inMemory.Ops+"/metrics"); strings.Contains(metrics, "confab_data_free_bytes") {
		t.Error("a server in memory has the free bytes of a data folder")
	}
	onDisk := start(t, server.Options{Config: settings(t, "data", t.TempDir())})
	if _, metrics := onDisk.get(t, onDisk.Ops+"/metrics"); !strings.Contains(metrics, "\nconfab_data_free_bytes ") || strings.Contains(metrics, "\nconfab_data_free_bytes 0\n") {
		t.Error("the free bytes of the data folder's disk are missing, or 0")
	}
}

// waitForMetric requests the metrics until they contain the text. It fails the test after a
// minute.
func (r *running) waitForMetric(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; {
		_, metrics := r.get(t, r.Ops+"/metrics")
		if strings.Contains(metrics, text) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the metrics never had %q", text)
		}
	}
}
