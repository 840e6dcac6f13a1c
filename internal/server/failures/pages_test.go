//go:build unix

package failures

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The number and the size of the messages of TestBigPages, the size of a page, and the growth of
// the server's memory that the test allows.
const (
	bigMessages = 80
	bigSize     = 1_000_000 // bytes of each message
	pageBound   = 4 << 20   // greatest number of bytes of content in a page
	mostGrowth  = 50_000_000
)

// TestBigPages lists big messages page by page, three times, and checks that the server's memory
// grows only a little. Before that it restarts the server, because memory that was used for
// sending would hide the growth, and reads each message once, so that the block cache is full.
func TestBigPages(t *testing.T) {
	if os.Getenv("TEST_BIG_PAGES") == "" {
		t.Skip("set TEST_BIG_PAGES to list eighty megabytes: go test ./internal/server/failures")
	}
	if _, err := os.ReadFile("/proc/self/status"); err != nil {
		t.Skip("a process's memory is read from /proc, which is a matter of Linux")
	}
	c := newServers(t)
	n := c.addNode(t)
	bearer := c.newUser(t, n).bearer
	thread := c.newThread(t, n, bearer, nil)
	want := map[string]string{} // the first bytes of each message, by the id of the message
	for i := range bigMessages {
		head := fmt.Sprintf("%08d", i)
		status, answer := c.ask(n, "POST", "/chat/threads/"+thread+"/messages"+version, bearer, "", map[string]string{"content": head + strings.Repeat("x", bigSize-len(head))})
		var sent struct{ ID string }
		if status != 201 || json.Unmarshal(answer, &sent) != nil {
			t.Fatalf("send a big message: %d %.200s", status, answer)
		}
		want[sent.ID] = head
	}
	for range 2 { // start twice, because the first start moves the content of the log into tables
		n.kill()
		n.start(t)
	}
	cold := n.memory(t, "VmRSS")
	for id := range want {
		if status, answer := c.ask(n, "GET", "/chat/threads/"+thread+"/messages/"+id+version, bearer, "", nil); status != 200 {
			t.Fatalf("read a big message: %d %.200s", status, answer)
		}
	}
	before := n.memory(t, "VmRSS")
	var growths []int
	for range 3 {
		growths = append(growths, c.listBigPages(t, n, bearer, thread, want)-before)
	}
	t.Logf("memory %d bytes after the start, %d before the lists, and at most %d more during each", cold, before, growths)
	slices.Sort(growths)
	if growths[1] > mostGrowth { // check the median, because on a busy machine a single garbage collection may come late
		t.Errorf("the memory grew by %d bytes, want at most %d", growths[1], mostGrowth)
	}
}

// listBigPages lists the thread's messages to the end and returns the peak of the server's
// resident memory during the listing, in bytes. The argument want has the first bytes of each
// message, by the message's id. listBigPages fails the test unless each of these messages is
// listed exactly once.
func (c *cluster) listBigPages(t *testing.T, n *node, bearer, thread string, want map[string]string) int {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", n.cmd.Process.Pid), []byte("5"), 0); err != nil { // reset VmHWM, the peak of the process's resident memory
		t.Fatal(err)
	}
	begin, pages, most, seen := time.Now(), 0, 0, map[string]int{}
	for link := "/chat/threads/" + thread + "/messages" + version + "&maxPageSize=200"; link != ""; pages++ {
		status, answer := c.ask(n, "GET", link, bearer, "", nil)
		var page struct {
			Value []struct {
				ID      string
				Content struct{ Message string }
			}
			NextLink string
		}
		if status != 200 || json.Unmarshal(answer, &page) != nil {
			t.Fatalf("list messages: %d %.200s", status, answer)
		}
		rows := 0
		for _, m := range page.Value {
			rows += len(m.Content.Message)
			if head, ok := want[m.ID]; ok {
				if len(m.Content.Message) != bigSize || !strings.HasPrefix(m.Content.Message, head) {
					t.Errorf("message %s has %d bytes and begins with %.8q, want %d and %q", m.ID, len(m.Content.Message), m.Content.Message, bigSize, head)
				}
				seen[m.ID]++
			}
		}
		most = max(most, rows)
		link = strings.TrimPrefix(page.NextLink, "https://"+n.listen)
	}
	t.Logf("%d messages of %d bytes in %d pages, the biggest of %d bytes, in %v", bigMessages, bigSize, pages, most, time.Since(begin).Round(time.Millisecond))
	for id := range want {
		if seen[id] != 1 {
			t.Errorf("message %s is listed %d times", id, seen[id])
		}
	}
	if most > pageBound {
		t.Errorf("a page holds %d bytes, want at most %d", most, pageBound)
	}
	return n.memory(t, "VmHWM")
}

// memory returns a value of the server's /proc/PID/status in bytes.
func (n *node) memory(t *testing.T, name string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			kB, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")))
			if err != nil {
				t.Fatal(err)
			}
			return kB << 10
		}
	}
	t.Fatalf("no %s in %s", name, status)
	return 0
}
