//go:build unix

package failures

import (
	"context"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The number of clients and threads in TestSteadyMemory, and the memory limit of the server.
const (
	steadySenders = 256
	steadyThreads = 200
	steadyLimit   = 512 << 20 // bytes, GOMEMLIMIT of the server
)

// TestSteadyMemory sends messages from many clients to a server with a memory limit. In the first
// third of the time caches fill. After that the memory must not grow: the maximum in the last
// third may be at most a tenth greater than the maximum in the second third.
func TestSteadyMemory(t *testing.T) {
	span, err := time.ParseDuration(os.Getenv("TEST_STEADY"))
	if err != nil {
		t.Skip("set TEST_STEADY, to 10m for example, to watch the memory of a server for that long: make soak")
	}
	c := newServers(t)
	n := c.addNode(t, opsOn(t), "GOMEMLIMIT=512MiB", "CONFAB_CONNECTIONS_PER_ADDRESS=0")
	n.client.Transport.(*http.Transport).MaxIdleConnsPerHost = steadySenders
	u := c.newUser(t, n)
	var threads []string
	for range steadyThreads {
		threads = append(threads, c.newThread(t, n, u.bearer, nil))
	}
	ctx, stop := context.WithTimeout(t.Context(), span)
	defer stop()
	var sent, failed atomic.Int64
	var senders sync.WaitGroup
	content := strings.Repeat("x", 128)
	for i := range steadySenders {
		senders.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				status, _ := c.ask(c.nodes[0], "POST", "/chat/threads/"+threads[(i*31+n)%len(threads)]+"/messages"+version, u.bearer, "", map[string]string{"content": content})
				if sent.Add(1); status != 201 {
					failed.Add(1)
				}
			}
		})
	}
	began := time.Now()
	var most [3]int64 // greatest resident memory in each third of the time, in bytes
	for ; ctx.Err() == nil; waitFor(ctx, span/300) {
		third := min(int(3*time.Since(began)/span), 2)
		most[third] = max(most[third], n.figures(t).resident)
	}
	senders.Wait()
	t.Logf("%d senders, %v, GOMEMLIMIT 512 MiB: %.0f sends a second, %d failed; resident at most %d, %d and %d MiB in the thirds of the time",
		steadySenders, span, float64(sent.Load())/span.Seconds(), failed.Load(), most[0]>>20, most[1]>>20, most[2]>>20)
	if failed.Load() > 0 {
		t.Error("sends failed")
	}
	if most[2] > steadyLimit {
		t.Errorf("%d MiB are resident, want at most %d", most[2]>>20, steadyLimit>>20)
	}
	if span >= 5*time.Minute && most[2] > most[1]*11/10 { // do not check a shorter run, in which caches are still filling
		t.Error("the memory grows")
	}
}
