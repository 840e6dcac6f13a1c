package server_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/confab-chat/confab/internal/server"
)

// TestConnectionsOfAnAddress checks that an address cannot have more connections than the setting
// allows. The address of a proxy is exempt only if the setting trusted-proxies names it.
func TestConnectionsOfAnAddress(t *testing.T) {
	for _, c := range []struct {
		name     string
		settings []string
		exempt   bool
	}{
		{"default", nil, false},
		{"trusted", []string{"trusted-proxies", "127.0.0.0/8,::1"}, true},
		{"no limit", []string{"connections-per-address", "0"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, server.Options{Config: settings(t, append([]string{"connections-per-address", "2", "listen", "127.0.0.1:0"}, c.settings...)...)})
			address := strings.TrimPrefix(s.LocalEndpoint, "https://")
			answered := 0
			for range 3 {
				conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: s.roots})
				if err != nil {
					continue
				}
				defer conn.Close()
				fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
				if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
					res.Body.Close()
					answered++
				}
			}
			if want := map[bool]int{false: 2, true: 3}[c.exempt]; answered != want {
				t.Errorf("%d connections were answered, want %d", answered, want)
			}
		})
	}
}

// metric returns the value of a metric of the server.
func (r *running) metric(t *testing.T, name string) int {
	t.Helper()
	_, scrape := r.get(t, r.Ops+"/metrics")
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(scrape)
	if found == nil {
		t.Fatalf("there is no metric %s", name)
	}
	v, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return int(v)
}

// dialHTTP2 opens an HTTP/2 connection on which the test writes and reads frames.
func (r *running) dialHTTP2(t *testing.T) (*http2.Framer, net.Conn) {
	t.Helper()
	u, err := url.Parse(r.LocalEndpoint)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", u.Host, &tls.Config{RootCAs: r.roots, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	f := http2.NewFramer(conn, conn)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return f, conn
}

// header returns the HPACK encoding of header fields. The arguments are a name, its value, the
// next name, and so on.
func header(fields ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(fields); i += 2 {
		e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return b.Bytes()
}

// mostHeld is the greatest number of bytes of bodies that three connections of sendEndless can
// make the server hold. The server ends requests beyond 64 MiB, but holds their bytes until their
// handlers have returned. Beyond twice that number it ends further requests, and each of these has
// at most one window of bytes that no handler has read.
const mostHeld = 2*64<<20 + 3*endlessStreams*64<<10

// TestBodiesInMemory sends request bodies that never end on many streams of three connections,
// each almost as long as a body may be. It checks that the number of bytes in the server's
// memory stays limited: the server must end the connections that hold the most, and answer other
// clients.
func TestBodiesInMemory(t *testing.T) {
	s := start(t, server.Options{Config: settings(t, "listen-http", "localhost:0")})
	_, _, bearer := s.newUser(t, s.AccessKey)
	thread := s.newThread(t, bearer)
	ended := make(chan error, 3)
	var attackers sync.WaitGroup
	defer attackers.Wait()
	for range cap(ended) {
		f, conn := s.dialHTTP2(t)
		defer conn.Close()
		attackers.Go(func() { ended <- sendEndless(f, conn, thread, bearer) })
	}
	largest := 0
	for dropped := 0; dropped == 0; dropped = s.metric(t, "confab_connections_dropped_total") {
		largest = max(largest, s.metric(t, "confab_request_bytes_held"))
		if status, body := s.chat(t, "POST", "/"+thread+"/messages", bearer, `{"content":"short"}`); status != 201 {
			t.Fatalf("a short body meanwhile: %d %s", status, body)
		}
		if len(ended) == cap(ended) {
			break
		}
	}
	t.Logf("%d bytes of bodies were held at most", largest)
	if s.metric(t, "confab_connections_dropped_total") == 0 {
		t.Error("no connection was ended")
	}
	if largest > mostHeld {
		t.Errorf("%d bytes of bodies were held, want at most %d", largest, mostHeld)
	}
}

// TestBodiesThroughAProxy sends request bodies that never end through connections of a proxy. It
// checks that the server ends the requests with the largest bodies and keeps the connections,
// because the other requests on them are from other clients.
func TestBodiesThroughAProxy(t *testing.T) {
	s := start(t, server.Options{Config: settings(t, "listen-http", "localhost:0", "trusted-proxies", "127.0.0.0/8,::1/128")})
	_, _, bearer := s.newUser(t, s.AccessKey)
	thread := s.newThread(t, bearer)
	ended := make(chan error, 3)
	var attackers sync.WaitGroup
	defer attackers.Wait()
	for range cap(ended) {
		f, conn := s.dialHTTP2(t)
		defer conn.Close()
		attackers.Go(func() { ended <- sendEndless(f, conn, thread, bearer) })
	}
	for s.metric(t, "confab_connections_dropped_total") <= cap(ended) { // a connection can be dropped only once, so a greater count means that single requests were ended
		if len(ended) > 0 {
			t.Fatalf("a connection of the proxy has ended: %v", <-ended)
		}
		if status, body := s.chat(t, "POST", "/"+thread+"/messages", bearer, `{"content":"short"}`); status != 201 {
			t.Fatalf("a short body meanwhile: %d %s", status, body)
		}
	}
	held := s.metric(t, "confab_request_bytes_held")
	if held > mostHeld {
		t.Errorf("%d bytes of bodies are held, want at most %d", held, mostHeld)
	}
	for held > 64<<20+1<<20 { // wait until the handlers of the ended requests have returned
		held = s.metric(t, "confab_request_bytes_held")
	}
}

// endlessStreams is the number of requests that sendEndless sends on one connection.
const endlessStreams = 60

// sendEndless begins endlessStreams requests and sends each body except its last byte. It returns
// the error with which the server ended the connection.
func sendEndless(f *http2.Framer, conn net.Conn, thread, bearer string) error {
	const size = 1<<20 - 1
	var sent, windows [endlessStreams]int
	window := 65_535
	for i := range sent {
		windows[i] = 65_535
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), EndHeaders: true, BlockFragment: header(
			":method", "POST", ":scheme", "https", ":authority", "localhost", ":path", "/chat/threads/"+thread+"/messages?api-version=2021-09-07",
			"authorization", "Bearer "+bearer, "content-type", "application/json", "content-length", strconv.Itoa(size+1))}); err != nil {
			return err
		}
	}
	chunk := make([]byte, 16<<10)
	for {
		for i := range sent {
			for {
				n := min(len(chunk), size-sent[i], windows[i], window)
				if n <= 0 {
					break
				}
				if err := f.WriteData(uint32(2*i+1), false, chunk[:n]); err != nil {
					return err
				}
				sent[i] += n
				windows[i] -= n
				window -= n
			}
		}
		conn.SetReadDeadline(time.Now().Add(time.Minute)) // be patient, because a client that has sent all its bytes may wait a long time for the other clients
		frame, err := f.ReadFrame()
		if err != nil {
			return err
		}
		switch frame := frame.(type) {
		case *http2.WindowUpdateFrame:
			if frame.StreamID == 0 {
				window += int(frame.Increment)
			} else {
				windows[frame.StreamID/2] += int(frame.Increment)
			}
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				if v, ok := frame.Value(http2.SettingInitialWindowSize); ok {
					for i := range windows {
						windows[i] += int(v) - 65_535
					}
				}
				if err := f.WriteSettingsAck(); err != nil {
					return err
				}
			}
		case *http2.RSTStreamFrame:
			sent[frame.StreamID/2] = size
		case *http2.GoAwayFrame:
			return errors.New("told to go away")
		}
	}
}

// TestStreamsOfAConnection checks that a connection may have 128 streams at a time, and that the
// server closes the connection of a client that resets streams all the time.
func TestStreamsOfAConnection(t *testing.T) {
	s := start(t, server.Options{Config: settings(t, "limits", "off")})
	_, _, bearer := s.newUser(t, s.AccessKey)
	f, conn := s.dialHTTP2(t)
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if settings, ok := frame.(*http2.SettingsFrame); ok && !settings.IsAck() {
			if v, _ := settings.Value(http2.SettingMaxConcurrentStreams); v != 128 {
				t.Errorf("a connection may have %d streams, want 128", v)
			}
			break
		}
	}
	go io.Copy(io.Discard, conn)
	sentAway := false
	for id := uint32(1); id < 1<<20; id += 2 { // the handlers of these requests do not return, because the bodies never arrive
		err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, BlockFragment: header(
			":method", "POST", ":scheme", "https", ":authority", "localhost", ":path", "/chat/threads?api-version=2021-09-07",
			"authorization", "Bearer "+bearer, "content-type", "application/json", "content-length", "100")})
		if err == nil {
			err = f.WriteRSTStream(id, http2.ErrCodeCancel)
		}
		if err != nil {
			sentAway = true
			break
		}
	}
	if !sentAway {
		t.Error("a client may reset half a million streams")
	}
	if status, _ := s.chat(t, "POST", "", bearer, `{"topic":"after the resets"}`); status != 201 {
		t.Errorf("a request after the resets: %d", status)
	}
}

// TestResetsThroughAProxy checks that the server keeps a connection of a proxy on which clients
// abandon more requests in a second than one client may.
func TestResetsThroughAProxy(t *testing.T) {
	s := start(t, server.Options{Config: settings(t, "limits", "off", "trusted-proxies", "127.0.0.0/8,::1/128")})
	_, _, bearer := s.newUser(t, s.AccessKey)
	f, conn := s.dialHTTP2(t)
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	const resets = 400
	for id := uint32(1); id < 2*resets; id += 2 {
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, BlockFragment: header(
			":method", "POST", ":scheme", "https", ":authority", "localhost", ":path", "/chat/threads?api-version=2021-09-07",
			"authorization", "Bearer "+bearer, "content-type", "application/json", "content-length", "100")}); err != nil {
			t.Fatal(err)
		}
		if err := f.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.WritePing(false, [8]byte{1}); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatalf("the connection has ended: %v", err)
		}
		switch frame := frame.(type) {
		case *http2.GoAwayFrame:
			t.Fatal("told to go away")
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				f.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if frame.IsAck() {
				return
			}
		}
	}
}
