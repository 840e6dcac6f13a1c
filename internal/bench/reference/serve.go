// Package reference has small servers with which Confab is compared. Each does less than a chat
// server must do, so the ratio of Confab to it shows how much faster Confab could become:
//
//   - null answers a send with an id: it uses net/http and TLS, looks up the bearer, and
//     decodes and encodes JSON;
//   - log does what null does, and writes the message durably to the disk before it answers;
//   - front runs packages rest and core of Confab on the same log;
//   - page answers a request for messages with the same stored bytes.
//
// Do not change them: ratios could then not be compared with earlier ones. A reference runs in
// a process of its own and prints a load.Announcement.
package reference

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/confab-chat/confab/internal/bench/load"
	"github.com/confab-chat/confab/internal/localca"
)

// Options configures Serve.
type Options struct {
	Kind             string        // null, log, front or page
	Dir              string        // folder for the log files of the reference servers "log" and "front"
	Threads, Members int           // numbers of threads, and of members of each, in the World that is announced
	Body             string        // file with the bytes with which the reference server "page" answers
	SlowSync         time.Duration // time that is added to each sync of the reference servers "log" and "front"
}

// Serve runs a reference until ctx is done. It prints a load.Announcement to out when the
// reference accepts connections.
func Serve(ctx context.Context, o Options, out io.Writer) error {
	w := invented(o.Threads, o.Members)
	var h http.Handler
	switch o.Kind {
	case "null":
		h = newNull(w, nil)
	case "page":
		body, err := os.ReadFile(o.Body)
		if err != nil {
			return err
		}
		h = newPage(w, body)
	case "log", "front":
		l, err := openLog(filepath.Join(o.Dir, o.Kind+".log"), o.SlowSync)
		if err != nil {
			return err
		}
		defer l.close()
		h = newNull(w, l)
		if o.Kind == "front" {
			f, err := newFront(ctx, l, o.Threads, o.Members)
			if err != nil {
				return err
			}
			defer f.close()
			h, w = f.handler, f.world
		}
	default:
		return fmt.Errorf("no reference is called %q", o.Kind)
	}
	return serve(ctx, h, w, out)
}

// serve serves the handler h over TLS, and the metrics of this process over plain HTTP, on ports of
// the loopback address.
func serve(ctx context.Context, h http.Handler, w load.World, out io.Writer) error {
	pair, ca, err := localca.Temporary(localca.Options{})
	if err != nil {
		return err
	}
	main, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		return err
	}
	defer main.Close()
	ops, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		return err
	}
	defer ops.Close()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	// Turn HTTP/2 off, because the load generator does not use it.
	silent := log.New(io.Discard, "", 0)
	server := &http.Server{Handler: h, ErrorLog: silent, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}}}
	metrics := &http.Server{Handler: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), ErrorLog: silent}
	ended := make(chan error, 2)
	go func() { ended <- server.ServeTLS(main, "", "") }()
	go func() { ended <- metrics.Serve(ops) }()
	err = json.NewEncoder(out).Encode(load.Announcement{
		Endpoint: "https://" + main.Addr().String(), CA: string(ca), Ops: "http://" + ops.Addr().String(), World: w,
	})
	if err == nil {
		select {
		case err = <-ended:
		case <-ctx.Done():
		}
	}
	server.Close()
	metrics.Close()
	return err
}

// bearerSize is the size in bytes of the access tokens of a Confab server.
const bearerSize = 520

// invented returns a World with made-up threads and members. Their bearer tokens are as long as
// real access tokens.
func invented(threads, members int) load.World {
	random := rand.New(rand.NewPCG(3, uint64(time.Now().UnixNano())))
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	w := load.World{Threads: make([]load.Thread, threads)}
	for i := range w.Threads {
		t := &w.Threads[i]
		t.ID = fmt.Sprintf("19:%032x@thread.v2", i)
		for range members {
			b := make([]byte, bearerSize)
			for j := range b {
				b[j] = letters[random.IntN(len(letters))]
			}
			t.Bearers = append(t.Bearers, string(b))
		}
	}
	return w
}
