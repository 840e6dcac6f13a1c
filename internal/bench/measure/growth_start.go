package measure

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/bench/load"
)

// The kinds of starts.
const (
	startEmpty  = "empty folder"
	startAgain  = "again, no messages"
	startClean  = "after a clean stop"
	startKilled = "after a kill"
)

// starts measures how long a server needs from its start to its first answer. In each round it
// starts one server of each kind; every second round uses the reverse order.
func (g *growth) starts(ctx context.Context) error {
	type kind struct {
		GrownStart
		run   func() (started, error)
		times []float64
		cpus  []float64
	}
	base, err := os.MkdirTemp(g.Dir, "base-")
	if err != nil {
		return err
	}
	kinds := []*kind{
		{GrownStart: GrownStart{Kind: startEmpty}, run: func() (started, error) {
			dir, err := os.MkdirTemp(g.Dir, "start-")
			if err != nil {
				return started{}, err
			}
			return g.startOnce(ctx, dir, (*load.Server).Kill, "", http.StatusUnauthorized)
		}},
		{GrownStart: GrownStart{Kind: startAgain}, run: func() (started, error) {
			return g.startOnce(ctx, base, stop, "", http.StatusUnauthorized)
		}},
	}
	for _, s := range g.stores {
		room := s.world.Rooms[0]
		path := fmt.Sprintf("/chat/threads/%s/messages?maxPageSize=%d&%s", room.ID, pageSize, apiVersion)
		request := func(dir string, end func(*load.Server)) (started, error) {
			return g.startOnce(ctx, dir, end, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+room.Bearers[0]+"\r\n\r\n", http.StatusOK)
		}
		kinds = append(kinds,
			&kind{GrownStart: GrownStart{Kind: startClean, Messages: s.messages}, run: func() (started, error) { return request(s.dir, stop) }},
			&kind{GrownStart: GrownStart{Kind: startKilled, Messages: s.messages}, run: func() (started, error) {
				dir, err := g.fresh(s.killed, filepath.Join(s.dir, "data"))
				if err != nil {
					return started{}, err
				}
				s, err := request(dir, (*load.Server).Kill)
				return s, errors.Join(err, os.RemoveAll(dir))
			}})
	}
	// The round -1 is not counted, because the first start with a data folder creates certificates.
	for n := -1; n < g.o.Starts; n++ {
		for _, i := range load.Order(max(n, 0), len(kinds)) {
			s, err := kinds[i].run()
			if err != nil {
				return fmt.Errorf("%s, %d messages: %w", kinds[i].Kind, kinds[i].Messages, err)
			}
			if n >= 0 {
				kinds[i].times = append(kinds[i].times, milliseconds(s.took))
				kinds[i].cpus = append(kinds[i].cpus, milliseconds(s.cpu))
			}
		}
	}
	for _, k := range kinds {
		k.Median, k.Least, k.Most = load.Median(k.times), slices.Min(k.times), slices.Max(k.times)
		k.CPU = load.Median(k.cpus)
		g.report.Starts = append(g.report.Starts, k.GrownStart)
	}
	return nil
}

func stop(s *load.Server) { _ = s.Stop() } // ignore the error, which means that the process has ended already

// started holds how long a server took from its start until its first answer, and the CPU time that
// it used until then.
type started struct{ took, cpu time.Duration }

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// startOnce starts a server with the data folder dir/data and measures the time until the server
// answers a request with the given status. If request is empty, it requests a list of threads
// without a token. At the end it calls the function end, which ends the server.
func (g *growth) startOnce(ctx context.Context, dir string, end func(*load.Server), request string, status int) (result started, err error) {
	if request == "" {
		request = "GET /chat/threads?" + apiVersion + " HTTP/1.1\r\nHost: localhost\r\n\r\n"
	}
	port, err := freePort()
	if err != nil {
		return result, err
	}
	address := "localhost:" + port
	log, err := os.Create(filepath.Join(dir, "start.log"))
	if err != nil {
		return result, err
	}
	defer log.Close()
	began := time.Now()
	s, err := load.Start(ctx, load.Command{
		Program: g.Program, Args: []string{"serve", "--data", filepath.Join(dir, "data"), "--listen", address, "--listen-ops", "localhost:0"}, Dir: dir, Stderr: log,
	})
	if err != nil {
		return result, err
	}
	defer end(s)
	// Do not check the certificate, because the server creates it during the start.
	s.Endpoint, s.TLS = &url.URL{Scheme: "https", Host: address}, &tls.Config{InsecureSkipVerify: true}
	for {
		conn, err := load.Dial(ctx, s)
		if err == nil {
			defer conn.Close()
			conn.SetDeadline(began.Add(startPatience))
			err = answers(conn, status, request)
			result.took = time.Since(began)
			if err != nil {
				return result, err
			}
			used, err := s.Usage(ctx)
			result.cpu = used.CPU
			return result, err
		}
		if s.Ended() || time.Since(began) > startPatience || ctx.Err() != nil {
			text, _ := os.ReadFile(log.Name())
			return result, fmt.Errorf("the server did not start: %w: %s", err, text[max(0, len(text)-1000):])
		}
		time.Sleep(time.Millisecond / 2)
	}
}

// startPatience is the longest time that a start may take.
const startPatience = 2 * time.Minute

// freePort returns a TCP port of this machine on which no process listens.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// ProcessMemory is the memory of a process in bytes. Both fields are 0 on systems without /proc.
type ProcessMemory struct {
	Own      float64 `json:"ownBytes"`      // without the pages of files, such as the program's file
	Resident float64 `json:"residentBytes"` // with them
}

// memoryOf reads the memory of a process.
func memoryOf(pid int) (m ProcessMemory) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		n, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
		switch {
		case err != nil:
		case name == "RssAnon":
			m.Own = n * 1024
		case name == "VmRSS":
			m.Resident = n * 1024
		}
	}
	return m
}
