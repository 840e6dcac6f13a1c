package bench_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/cputime"
	"github.com/confab-chat/confab/internal/localca"
	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/server"
	"github.com/confab-chat/confab/sdk/communication"
)

// The programs that a peer can run: Confab, or the raw broadcast, which is a program that only
// sends every posted text to all connected clients.
const (
	confabPeer = "confab"
	rawPeer    = "raw broadcast"
)

// peer is a server in a child process.
type peer struct {
	HTTP, HTTPS string // addresses, without a scheme
	AccessKey   string // of Confab
	Admin       string // URL of the operator's port of Confab
	AdminSecret string // for Admin
	CA          []byte // the certificate of the server, in PEM

	in     io.WriteCloser
	out    *json.Decoder
	client *http.Client // trusts CA
	roots  *x509.CertPool
}

// usage is the CPU time and the memory that a child process uses.
type usage struct {
	CPU      time.Duration // user and system time since the start of the process
	Heap     uint64        // bytes of objects
	Stacks   uint64        // bytes of the stacks of goroutines
	Resident uint64        // bytes of physical memory that the process uses
	Routines int
}

// startPeer starts Confab or the raw broadcast in a child process. Confab stores its data in the
// folder data, or in memory if data is config.Memory. The process ends when the test ends.
func startPeer(t testing.TB, program, data string) *peer {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "TEST_PEER_CHILD="+program, "TEST_PEER_DATA="+data)
	child.Stderr = os.Stderr
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	p := &peer{in: in, out: json.NewDecoder(bufio.NewReader(out)), roots: x509.NewCertPool()}
	t.Cleanup(func() {
		p.client.CloseIdleConnections()
		in.Close() // the child ends upon this
		if err := child.Wait(); err != nil {
			t.Errorf("%s: %v", program, err)
		}
	})
	p.client = &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: p.roots}, MaxIdleConnsPerHost: 256,
	}}
	if err := p.out.Decode(p); err != nil {
		t.Fatalf("%s says nothing that can be read: %v", program, err)
	}
	p.roots.AppendCertsFromPEM(p.CA)
	return p
}

// ask sends a command to the child process and returns the CPU time and the memory that the process
// uses. The command "usage" does only that. The command "collect" first collects garbage. The
// command "profile" starts a CPU profile or, at the next call, ends it and writes a heap profile.
func (p *peer) ask(t testing.TB, command string) (u usage) {
	t.Helper()
	if _, err := fmt.Fprintln(p.in, command); err != nil {
		t.Fatal(err)
	}
	if err := p.out.Decode(&u); err != nil {
		t.Fatal(err)
	}
	return u
}

// url returns the URL of a path on the server, over TLS if secure is true.
func (p *peer) url(secure bool, path string) string {
	if secure {
		return "https://" + p.HTTPS + path
	}
	return "http://" + p.HTTP + path
}

// post sends a request with a JSON body and decodes the response into out, if out is not nil.
// If token is empty, it signs the request with the access key.
func (p *peer) post(secure bool, path, body, token string, out any) error {
	req, err := http.NewRequest(http.MethodPost, p.url(secure, path), strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	} else if key, err := communication.NewAccessKey(p.AccessKey); err != nil {
		return err
	} else if err := key.Sign(req, time.Now()); err != nil {
		return err
	}
	res, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return err
	case res.StatusCode != http.StatusCreated:
		return fmt.Errorf("status %d: %s", res.StatusCode, answer)
	case out == nil:
		return nil
	}
	return json.Unmarshal(answer, out)
}

// liveUser is the id of a user on a server, with an access token.
type liveUser struct{ id, token string }

// users creates n users on Confab.
func (p *peer) users(t testing.TB, n int) []liveUser {
	t.Helper()
	us := make([]liveUser, n)
	err := together(n, 32, func(i int) error {
		var made struct {
			Identity    struct{ ID string }
			AccessToken struct{ Token string }
		}
		if err := p.post(false, "/identities?api-version=2023-10-01", `{"createTokenWithScopes":["chat"]}`, "", &made); err != nil {
			return err
		}
		us[i] = liveUser{made.Identity.ID, made.AccessToken.Token}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return us
}

// thread creates a thread with the users us on Confab and returns the URL path of its messages. The
// first user is the creator.
func (p *peer) thread(t testing.TB, us []liveUser) (path string) {
	t.Helper()
	type participant map[string]map[string]string
	var ps []participant
	for _, u := range us[1:] {
		ps = append(ps, participant{"communicationIdentifier": {"rawId": u.id}})
	}
	body, err := json.Marshal(map[string]any{"topic": "lunch", "participants": ps})
	if err != nil {
		t.Fatal(err)
	}
	var made struct{ ChatThread struct{ ID string } }
	if err := p.post(false, "/chat/threads?api-version=2025-03-15", string(body), us[0].token, &made); err != nil {
		t.Fatal(err)
	}
	return "/chat/threads/" + made.ChatThread.ID + "/messages?api-version=2025-03-15"
}

// together calls do with the numbers from 0 to n-1, from several goroutines. It returns the
// first error.
func together(n, goroutines int, do func(int) error) error {
	var all sync.WaitGroup
	next := make(chan int)
	errs := make(chan error, goroutines)
	for range goroutines {
		all.Go(func() {
			for i := range next {
				if err := do(i); err != nil {
					select {
					case errs <- fmt.Errorf("%d: %w", i, err):
					default:
					}
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	all.Wait()
	close(errs)
	return <-errs
}

// stream is a client's connection on which it reads server-sent events over HTTP/1.1.
type stream struct {
	conn     net.Conn
	in       *bufio.Reader
	unread   []byte // the bytes that the last call of read has returned, and the begin of the next event
	returned int    // the number of bytes that the last call of read has returned
}

// dial opens a stream of server-sent events and reads the headers of the response. If local,
// such as 127.0.0.2, is not empty, the connection comes from that address.
func (p *peer) dial(secure bool, token, local string) (*stream, error) {
	conn, err := p.connect(secure, local)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(conn, "GET /chat/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n", token); err != nil {
		conn.Close()
		return nil, err
	}
	s := &stream{conn: conn, in: bufio.NewReader(conn)}
	for line := 0; ; line++ {
		text, err := s.in.ReadString('\n')
		if err == nil && line == 0 && !strings.Contains(text, " 200 ") {
			err = errors.New(text)
		}
		if err != nil {
			conn.Close()
			return nil, err
		}
		if text == "\r\n" {
			return s, nil
		}
	}
}

// Close closes the connection.
func (s *stream) Close() error { return s.conn.Close() }

// read reads chunks of the response, each of which is one write of the server, until an event
// ends. It returns the bytes of all whole events that were not returned before, which are valid
// until the next call, the number of these events, and the number of writes that brought them.
func (s *stream) read() (data []byte, events, writes int, err error) {
	s.unread = append(s.unread[:0], s.unread[s.returned:]...)
	s.returned = 0
	for s.returned == 0 {
		line, err := s.in.ReadString('\n')
		if err != nil {
			return nil, 0, 0, err
		}
		n, err := strconv.ParseUint(strings.TrimSpace(line), 16, 31)
		if err != nil {
			return nil, 0, 0, err
		}
		before := len(s.unread)
		s.unread = slices.Grow(s.unread, int(n)+2)[:before+int(n)+2]
		if _, err := io.ReadFull(s.in, s.unread[before:]); err != nil {
			return nil, 0, 0, err
		}
		s.unread = s.unread[:before+int(n)] // without the end of the line after the chunk
		s.returned = bytes.LastIndex(s.unread, []byte("\n\n")) + 2
		if s.returned == 1 {
			s.returned = 0 // no event ends in this chunk
		}
		writes++
	}
	data = s.unread[:s.returned]
	events = bytes.Count(data, []byte("}\n\n")) // heartbeats end otherwise
	return data, events, min(events, writes), nil
}

// peerChild is the main function of a child process that startPeer starts. It serves until its
// stdin is closed.
func peerChild(program string) {
	run := serveConfab
	if program == rawPeer {
		run = serveRaw
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serveConfab runs a Confab server and answers the commands of the parent process.
func serveConfab() error {
	cfg, err := config.Load(config.Input{Defaults: map[string]string{
		"data": os.Getenv("TEST_PEER_DATA"), "listen": "localhost:0", "listen-http": "localhost:0", "listen-ops": "off", "listen-admin": "localhost:0",
		"limits": "off", "live-sessions": "15000", "connections-per-address": "0",
	}})
	if err != nil {
		return err
	}
	s, err := server.Start(context.Background(), server.Options{Config: cfg, NoFiles: cfg.InMemory(), Access: func(rest.Record) {}})
	if err != nil {
		return err
	}
	i := s.Info()
	if i.CA == nil {
		if i.CA, err = os.ReadFile(i.CAFile); err != nil {
			return err
		}
	}
	obey(&peer{HTTP: strings.TrimPrefix(i.HTTP, "http://"), HTTPS: strings.TrimPrefix(i.LocalEndpoint, "https://"), AccessKey: i.AccessKey, Admin: i.Admin, AdminSecret: i.AdminSecret, CA: i.CA})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return s.Close(ctx)
}

// obey writes the addresses and the keys of the server p to the parent process, and then answers
// the commands of peer.ask until stdin is closed.
func obey(p *peer) {
	out := json.NewEncoder(os.Stdout)
	out.Encode(p)
	var profile *os.File
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		command := in.Text()
		dir := os.Getenv("TEST_PEER_PROFILE")
		switch {
		case command == "collect":
			runtime.GC()
			debug.FreeOSMemory() // collects again
		case command == "profile" && dir != "" && profile == nil:
			profile, _ = os.CreateTemp(dir, os.Getenv("TEST_PEER_CHILD")+".*.cpu")
			pprof.StartCPUProfile(profile)
		case command == "profile" && profile != nil:
			pprof.StopCPUProfile()
			profile.Close()
			profile = nil
			heap, _ := os.CreateTemp(dir, os.Getenv("TEST_PEER_CHILD")+".*.heap")
			pprof.WriteHeapProfile(heap)
			heap.Close()
		}
		out.Encode(used())
	}
}

// used returns the CPU time and the memory that this process uses.
func used() usage {
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(samples)
	u := usage{Heap: samples[0].Value.Uint64(), Stacks: samples[1].Value.Uint64(), Routines: runtime.NumGoroutine(), CPU: cputime.Self()}
	status, _ := os.ReadFile("/proc/self/statm") // Linux only
	var size, pages uint64
	fmt.Sscan(string(status), &size, &pages)
	u.Resident = pages * uint64(os.Getpagesize())
	return u
}

// rawStream is a stream of server-sent events of the raw broadcast.
type rawStream struct {
	mu   sync.Mutex // held while a write runs
	conn net.Conn
}

func (s *rawStream) write(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn.Write(b)
}

// serveRaw runs the raw broadcast, the program with which Confab is compared. GET /chat/events
// opens a stream, and GET /socket.io/1/websocket/ a WebSocket. POST /raw/sse/each sends a message
// with the posted bytes to all streams, with one write for each stream, and POST /raw/trouter/each
// to all WebSockets. The writes run in goroutines, so that a slow client does not delay the others.
// With /turn at the end of the path, the writes run one after the other. With /nobody at the end,
// nothing is written. GET /echo opens a WebSocket that sends back what it receives.
func serveRaw() error {
	pair, ca, err := localca.Temporary(localca.Options{})
	if err != nil {
		return err
	}
	var mu sync.Mutex // guards streams and posted
	var streams []*rawStream
	var posted int64
	sockets := newRawSockets()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /chat/events", func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n")
		mu.Lock()
		streams = append(streams, &rawStream{conn: conn})
		mu.Unlock()
		go io.Copy(io.Discard, conn)
	})
	mux.HandleFunc("GET /socket.io/1/websocket/", sockets.open)
	mux.HandleFunc("GET /echo", sockets.echo)
	mux.HandleFunc("POST /raw/{protocol}/{how}", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(err)
		}
		how := r.PathValue("how")
		mu.Lock()
		posted++
		switch {
		case how == "nobody":
		case r.PathValue("protocol") == "trouter":
			sockets.broadcast(rawFrame(posted, body), how == "turn")
		default:
			message := fmt.Appendf(nil, "id: %s\nevent: chatMessageReceived\ndata: {%s%s}\n\n", strings.Repeat("x", 34), body, strings.Repeat("x", 340))
			frame := fmt.Appendf(nil, "%x\r\n%s\r\n", len(message), message)
			for _, s := range streams {
				if how == "turn" {
					s.write(frame)
				} else {
					go s.write(frame)
				}
			}
		}
		mu.Unlock()
		w.WriteHeader(http.StatusCreated)
	})
	listen := func() net.Listener {
		l, err2 := net.Listen("tcp", "localhost:0")
		err = errors.Join(err, err2)
		return l
	}
	plain, secure := listen(), listen()
	if err != nil {
		return err
	}
	s := &http.Server{Handler: mux, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}}
	go s.Serve(plain)
	go s.ServeTLS(secure, "", "")
	obey(&peer{HTTP: plain.Addr().String(), HTTPS: secure.Addr().String(), CA: ca})
	return s.Close()
}

// peerFolder returns an empty folder for the data of a peer.
func peerFolder(t testing.TB) string { return filepath.Join(t.TempDir(), "data") }
