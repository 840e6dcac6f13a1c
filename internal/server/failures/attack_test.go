//go:build unix

package failures

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// The attackers run in a process of their own, at nice 19. Otherwise, on a machine with few cores,
// they would take processor time from the server and from the honest user. The test is about the
// effect of an attack on the server, and not about who gets more of the processor.

// target describes the attacked server to the process of the attackers: its address, the tokens of
// the users Giant and Lists, and a thread of the user Lists.
type target struct {
	Address, Giant, Lists, Thread string
}

const attackVariable = "TEST_ATTACK"

func TestMain(m *testing.M) {
	if text := os.Getenv(attackVariable); text != "" {
		var to target
		if err := json.Unmarshal([]byte(text), &to); err != nil {
			panic(err)
		}
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		if err := json.NewEncoder(os.Stdout).Encode(to.attack(ctx)); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

// attack runs all attackers until ctx is done. It returns the number of attacks of each kind.
func (to target) attack(ctx context.Context) map[string]int64 {
	counts := map[string]*atomic.Int64{}
	var running sync.WaitGroup
	each := func(name string, n int, act func(ctx context.Context, address string, count *atomic.Int64)) {
		count := new(atomic.Int64)
		counts[name] = count
		for i := range n {
			running.Go(func() {
				for ctx.Err() == nil {
					act(ctx, attackerAddress(i), count)
				}
			})
		}
	}
	each("connections opened and held", 2000, to.flood)
	each("headers sent slowly", 100, to.slowHeader)
	each("bodies that never end, without a token", 4, to.endless("HMAC-SHA256 x"))
	each("bodies that never end, with a token", 4, to.endless("Bearer "+to.Giant))
	each("streams reset", 4, to.reset)
	each("answers not read", 40, to.deaf)
	each("giant metadata", 4, to.giant)
	each("lists", 20, to.lists)
	running.Wait()
	result := map[string]int64{}
	for name, count := range counts {
		result[name] = count.Load()
	}
	return result
}

// waitFor returns after d, or as soon as ctx is done.
func waitFor(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// dial opens a TLS connection from the given local address. The connection is closed when ctx is
// done or the function end is called.
func (to target) dial(ctx context.Context, address string, protocols ...string) (conn net.Conn, end func(), err error) {
	attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	d := dialerFrom(address)
	d.Config.NextProtos = protocols
	conn, err = d.DialContext(attempt, "tcp", to.Address)
	if err != nil {
		waitFor(ctx, 200*time.Millisecond)
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	return conn, func() { stop(); conn.Close() }, nil
}

// flood opens a connection, sends nothing, and holds it until the server closes it.
func (to target) flood(ctx context.Context, address string, count *atomic.Int64) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}, Timeout: 10 * time.Second}
	conn, err := d.DialContext(ctx, "tcp", to.Address)
	if err == nil {
		count.Add(1)
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		io.Copy(io.Discard, conn)
		stop()
		conn.Close()
	}
	waitFor(ctx, time.Second)
}

// slowHeader sends the header of a request, one byte each second.
func (to target) slowHeader(ctx context.Context, address string, count *atomic.Int64) {
	conn, end, err := to.dial(ctx, address)
	if err != nil {
		return
	}
	defer end()
	count.Add(1)
	for _, b := range []byte("GET /chat/threads HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("X-Slow: x\r\n", 1000)) {
		if _, err := conn.Write([]byte{b}); err != nil {
			return
		}
		waitFor(ctx, time.Second)
	}
}

// deaf requests pages of messages, many times on one connection, and does not read the
// responses.
func (to target) deaf(ctx context.Context, address string, count *atomic.Int64) {
	conn, end, err := to.dial(ctx, address)
	if err != nil {
		return
	}
	defer end()
	request := fmt.Sprintf("GET /chat/threads/%s/messages%s&maxPageSize=200 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n", to.Thread, version, to.Lists)
	for range 20 {
		if _, err := conn.Write([]byte(request)); err != nil {
			return
		}
		count.Add(1)
	}
	waitFor(ctx, 20*time.Second)
}

// streams is an HTTP/2 connection to which an attacker writes single frames. It answers the
// server's pings and settings, and ignores all other frames of the server.
type streams struct {
	framer *http2.Framer
	conn   net.Conn
	header bytes.Buffer
	hpack  *hpack.Encoder
	mu     sync.Mutex // guards the writing of frames
	next   uint32
}

func (to target) open(ctx context.Context, address string) (s *streams, end func(), err error) {
	conn, end, err := to.dial(ctx, address, "h2")
	if err != nil {
		return nil, nil, err
	}
	s = &streams{framer: http2.NewFramer(conn, conn), conn: conn, next: 1}
	s.hpack = hpack.NewEncoder(&s.header)
	_, err = io.WriteString(conn, http2.ClientPreface)
	if err = errors.Join(err, s.framer.WriteSettings()); err != nil {
		end()
		return nil, nil, err
	}
	go func() {
		defer conn.Close()
		for {
			f, err := s.framer.ReadFrame()
			if err != nil {
				return
			}
			s.mu.Lock()
			switch f := f.(type) {
			case *http2.SettingsFrame:
				if !f.IsAck() {
					err = s.framer.WriteSettingsAck()
				}
			case *http2.PingFrame:
				if !f.IsAck() {
					err = s.framer.WritePing(true, f.Data)
				}
			case *http2.GoAwayFrame:
				err = io.EOF
			}
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return s, end, nil
}

// begin sends the header of a request on a new stream and returns the stream's id. If ends
// is true, the request has no body.
func (s *streams) begin(method, path string, ends bool, fields ...string) (stream uint32, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.header.Reset()
	fields = append([]string{":method", method, ":scheme", "https", ":authority", "localhost", ":path", path}, fields...)
	for i := 0; i < len(fields); i += 2 {
		s.hpack.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}) // ignore the error, because writing to a buffer cannot fail
	}
	stream = s.next
	s.next += 2
	return stream, s.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: s.header.Bytes(), EndHeaders: true, EndStream: ends})
}

// endless returns an attack that begins a request on each of 100 streams. On each stream it sends
// most of the announced body, and then sends nothing more.
func (to target) endless(authorization string) func(context.Context, string, *atomic.Int64) {
	return func(ctx context.Context, address string, count *atomic.Int64) {
		s, end, err := to.open(ctx, address)
		if err != nil {
			return
		}
		defer end()
		var ids []uint32
		for range 100 {
			id, err := s.begin("POST", "/chat/threads/"+to.Thread+"/messages"+version, false, "authorization", authorization, "content-type", "application/json", "content-length", fmt.Sprint(1<<20-1))
			if err != nil {
				return
			}
			count.Add(1)
			ids = append(ids, id)
		}
		chunk := make([]byte, 16<<10)
		for range 60 { // send as much as fits into the flow-control windows of a server that reads the bodies
			for _, id := range ids {
				s.mu.Lock()
				err := s.framer.WriteData(id, false, chunk)
				s.mu.Unlock()
				if err != nil {
					waitFor(ctx, time.Second)
					return
				}
			}
			waitFor(ctx, 50*time.Millisecond)
		}
		waitFor(ctx, 30*time.Second)
	}
}

// reset begins streams and resets each stream at once.
func (to target) reset(ctx context.Context, address string, count *atomic.Int64) {
	s, end, err := to.open(ctx, address)
	if err != nil {
		return
	}
	defer end()
	for ctx.Err() == nil {
		id, err := s.begin("GET", "/chat/threads/"+to.Thread+"/messages"+version, true, "authorization", "Bearer "+to.Lists)
		if err == nil {
			s.mu.Lock()
			err = s.framer.WriteRSTStream(id, http2.ErrCodeCancel)
			s.mu.Unlock()
		}
		if err != nil {
			waitFor(ctx, 100*time.Millisecond)
			return
		}
		count.Add(1)
	}
}

// clientFrom returns an HTTP client that connects from the given local address.
func clientFrom(address string) *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DialContext:     (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
}

// giant creates threads with as much metadata as fits into a request.
func (to target) giant(ctx context.Context, address string, count *atomic.Int64) {
	client := clientFrom(address)
	defer client.CloseIdleConnections()
	metadata := map[string]string{}
	for i := range 21_800 {
		metadata[fmt.Sprintf("key-%06d-with-a-long-name", i)] = ""
	}
	body, err := json.Marshal(map[string]any{"topic": "giant", "metadata": metadata})
	if err != nil {
		panic(err)
	}
	for ctx.Err() == nil {
		to.request(ctx, client, "POST", "/chat/threads"+version, to.Giant, body)
		count.Add(1)
		waitFor(ctx, 50*time.Millisecond)
	}
}

// lists requests the largest pages of messages again and again.
func (to target) lists(ctx context.Context, address string, count *atomic.Int64) {
	client := clientFrom(address)
	defer client.CloseIdleConnections()
	for ctx.Err() == nil {
		if status := to.request(ctx, client, "GET", "/chat/threads/"+to.Thread+"/messages"+version+"&maxPageSize=200", to.Lists, nil); status != http.StatusOK {
			waitFor(ctx, 10*time.Millisecond)
		}
		count.Add(1)
	}
}

// request sends one request and returns the status of the response, or 0 if there was no response.
func (to target) request(ctx context.Context, client *http.Client, method, path, bearer string, body []byte) int {
	req, err := http.NewRequestWithContext(ctx, method, "https://"+to.Address+path, bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		waitFor(ctx, 50*time.Millisecond)
		return 0
	}
	defer res.Body.Close()
	io.Copy(io.Discard, res.Body)
	return res.StatusCode
}
