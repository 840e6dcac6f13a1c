package server_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/confab-chat/confab/internal/cputime"
	"github.com/confab-chat/confab/internal/server"
)

// lean is a client that sends the same request again and again on one connection, without
// allocating memory for a request.
type lean struct {
	conn    net.Conn
	in      *bufio.Reader
	request []byte
	body    []byte // of the last response
}

// leanClient returns a client for a request with a JSON body, or for a request without a body if
// the argument body is empty.
func (r *running) leanClient(t testing.TB, secure bool, method, path, bearer, body string) *lean {
	t.Helper()
	var conn net.Conn
	var err error
	if secure {
		conn, err = tls.Dial("tcp", hostOf(t, r.LocalEndpoint), &tls.Config{RootCAs: r.roots, NextProtos: []string{"http/1.1"}})
	} else {
		conn, err = net.Dial("tcp", hostOf(t, r.HTTP))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	request := method + " " + path + " HTTP/1.1\r\nHost: localhost:8443\r\nAuthorization: Bearer " + bearer + "\r\n"
	if body != "" {
		request += "Content-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n"
	}
	return &lean{conn: conn, in: bufio.NewReaderSize(conn, 64<<10), request: []byte(request + "\r\n" + body), body: make([]byte, 64<<10)}
}

// ask sends the request and reads the response. It fails if the response does not have the given
// status.
func (l *lean) ask(status int) error {
	if _, err := l.conn.Write(l.request); err != nil {
		return err
	}
	return l.answer(status)
}

// answer reads a response. It fails if the response does not have the given status.
func (l *lean) answer(status int) error {
	line, err := l.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if len(line) < 12 || int(line[9]-'0')*100+int(line[10]-'0')*10+int(line[11]-'0') != status {
		return fmt.Errorf("got %q, want %d", line, status)
	}
	length := 0
	for len(line) > len("\r\n") {
		if line, err = l.in.ReadSlice('\n'); err != nil {
			return err
		}
		if n, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			for _, c := range bytes.TrimSpace(n) {
				length = length*10 + int(c-'0')
			}
		}
	}
	l.body = l.body[:length]
	_, err = io.ReadFull(l.in, l.body)
	return err
}

// speedSend is the body of a send with 128 bytes of text.
const speedSend = `{"content":"One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen tw","type":"text"}`

// messagesOf returns the path of the messages of a thread, as the official SDKs escape it.
func messagesOf(thread string) string {
	return "/chat/threads/" + url.QueryEscape(thread) + "/messages"
}

const speedVersion = "?api-version=2025-03-15"

// BenchmarkSend sends messages over 64 connections to a server whose data is on the disk. The
// processor time and the allocations that it reports include those of the clients in the same
// process, which are small.
func BenchmarkSend(b *testing.B) {
	for _, name := range []string{"http", "https"} {
		b.Run(name, func(b *testing.B) {
			s := start(b, server.Options{Config: settings(b, "data", b.TempDir(), "listen-http", "localhost:0", "limits", "off", "access-log", "off")})
			_, _, bearer := s.newUser(b, s.AccessKey)
			clients := make([]*lean, 64)
			for i := range clients {
				clients[i] = s.leanClient(b, name == "https", "POST", messagesOf(s.newThread(b, bearer))+speedVersion, bearer, speedSend)
				if err := clients[i].ask(201); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			measure(b, clients, 201)
		})
	}
}

// BenchmarkList requests the newest 50 messages of 64 threads over 64 connections. The processor
// time and the allocations that it reports include those of the clients in the same process, which
// are small.
func BenchmarkList(b *testing.B) {
	for _, name := range []string{"http", "https"} {
		b.Run(name, func(b *testing.B) {
			s := start(b, server.Options{Config: settings(b, "data", b.TempDir(), "listen-http", "localhost:0", "limits", "off", "access-log", "off")})
			_, _, bearer := s.newUser(b, s.AccessKey)
			clients := make([]*lean, 64)
			var all sync.WaitGroup
			for i := range clients {
				path := messagesOf(s.newThread(b, bearer)) + speedVersion
				clients[i] = s.leanClient(b, name == "https", "GET", path+"&maxPageSize=50", bearer, "")
				sender := s.leanClient(b, false, "POST", path, bearer, speedSend)
				all.Go(func() {
					for range 60 {
						if err := sender.ask(201); err != nil {
							b.Error(err)
						}
					}
				})
			}
			all.Wait()
			for _, c := range clients {
				if err := c.ask(200); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			measure(b, clients, 200)
		})
	}
}

// measure lets the clients send b.N requests in all, and reports the processor time per request.
func measure(b *testing.B, clients []*lean, status int) {
	before := cputime.Self()
	var begun atomic.Int64
	var all sync.WaitGroup
	for _, c := range clients {
		all.Go(func() {
			for begun.Add(1) <= int64(b.N) {
				if err := c.ask(status); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(cputime.Self()-before)/float64(b.N), "cpu-ns/op")
}
