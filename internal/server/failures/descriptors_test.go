//go:build unix

package failures

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The number of files, clients and messages in TestFewDescriptors.
const (
	fewFiles    = 160 // open files that the server may have
	idleClients = 170 // number of idle connections that the attackers keep open
	fewSenders  = 8
	fewSends    = 1600 // number of messages, enough to make the store open new files
)

// TestFewDescriptors sends messages to a server that may open only few files, while clients keep
// opening more idle connections than the server may have open files. It checks that all messages
// are accepted, and that the server logs little.
func TestFewDescriptors(t *testing.T) {
	c := newServers(t)
	log := filepath.Join(t.TempDir(), "log")
	n := c.addNode(t, opsOn(t), filesVariable+fmt.Sprint(fewFiles), logVariable+log, "CONFAB_LOG_LEVEL=info")
	if n.metric("confab_connections_most") <= 0 {
		t.Error("the server does not say how many connections it allows")
	}
	u := c.newUser(t, n)
	thread := c.newThread(t, n, u.bearer, nil)

	ctx, stop := context.WithCancel(t.Context())
	var holders sync.WaitGroup
	defer holders.Wait()
	defer stop()
	var opened sync.WaitGroup
	opened.Add(idleClients)
	for range idleClients {
		holders.Go(func() { holdOpen(ctx, n, attackerAddress(0), 3*time.Second, opened.Done) })
	}
	opened.Wait()

	var mu sync.Mutex
	var took []time.Duration
	failed := map[int]int{}
	content := strings.Repeat("words ", 4<<10)
	var senders sync.WaitGroup
	for range fewSenders {
		senders.Go(func() {
			for range fewSends / fewSenders {
				began := time.Now()
				status, _ := c.ask(n, "POST", "/chat/threads/"+thread+"/messages"+version, u.bearer, "", map[string]string{"content": content})
				mu.Lock()
				took = append(took, time.Since(began))
				if status != 201 {
					failed[status]++
				}
				mu.Unlock()
			}
		})
	}
	senders.Wait()
	refused, displaced := n.metric("confab_connections_refused_total"), n.metric("confab_connections_displaced_total")
	stop()
	holders.Wait()
	slices.Sort(took)
	st, err := os.Stat(log)
	if err != nil {
		t.Fatal(err)
	}
	requests, err := requestLines(log)
	if err != nil {
		t.Fatal(err)
	}
	other := st.Size() - requests
	t.Logf("%d sends of %d KiB with %d open files and %d idle connections: p99 %v, longest %v, failed by status %v; %d bytes of log without requests; connections refused %d, displaced %d",
		len(took), len(content)>>10, fewFiles, idleClients, took[len(took)*99/100], took[len(took)-1], failed, other, refused, displaced)
	if len(failed) > 0 {
		t.Errorf("sends failed: %v", failed)
	}
	if displaced == 0 {
		t.Error("no connection gave way, so the limit of open files was not reached")
	}
	if most := int64(1 << 20); other > most {
		t.Errorf("the log has %d bytes, want at most %d", other, most)
	}
}

// attackerAddress returns the loopback address from which attacker i connects.
func attackerAddress(i int) string { return fmt.Sprintf("127.0.0.%d", 2+i%attackerAddresses) }

const attackerAddresses = 20

// dialerFrom returns a dialer that opens TLS connections from a local address.
func dialerFrom(address string) *tls.Dialer {
	return &tls.Dialer{
		NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}},
		Config:    &tls.Config{InsecureSkipVerify: true},
	}
}

// holdOpen keeps a connection open without sending a request. When the server closes the
// connection, holdOpen opens another one after a pause. It continues until ctx is done. It calls
// the function once when its first connection was opened or refused.
func holdOpen(ctx context.Context, n *node, address string, pause time.Duration, once func()) {
	d := dialerFrom(address)
	first := sync.OnceFunc(once)
	for ctx.Err() == nil {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		conn, err := d.DialContext(attempt, "tcp", n.listen)
		cancel()
		first()
		if err == nil {
			ended := context.AfterFunc(ctx, func() { conn.Close() })
			io.Copy(io.Discard, conn)
			ended()
			conn.Close()
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// requestLines returns the total length, in bytes, of the lines about requests in a log file.
func requestLines(name string) (size int64, err error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		if bytes.Contains(line, []byte("msg=request ")) {
			size += int64(len(line))
		}
	}
	return size, nil
}
