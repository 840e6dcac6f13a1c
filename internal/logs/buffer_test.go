package logs

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gatedWriter is a writer whose calls of Write block until the gate is open. After that, the first
// fails calls of Write take half of the bytes and return an error.
type gatedWriter struct {
	gate  chan struct{} // channel that is closed when the gate is open; nil: the gate is always open
	mu    sync.Mutex    // guards the fields below
	got   bytes.Buffer
	fails int
}

func (w *gatedWriter) Write(p []byte) (int, error) {
	if w.gate != nil {
		<-w.gate
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fails > 0 {
		w.fails--
		n, _ := w.got.Write(p[:len(p)/2])
		return n, errors.New("no space left on device")
	}
	return w.got.Write(p)
}

func (w *gatedWriter) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.got.String()
}

// buffered returns an output with a buffer, and loggers for requests and for other lines.
func buffered(w *gatedWriter) (o *Output, requests, other *slog.Logger) {
	o = NewBufferedOutput(w)
	return o, slog.New(o.RequestHandler()), slog.New(o.Handler())
}

// TestBufferFlushes checks that a line about a request is written after flushAfter and not before,
// that an error is written at once after the lines before it, and that Close writes all other
// lines.
func TestBufferFlushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w gatedWriter
		o, requests, other := buffered(&w)
		for _, step := range []struct {
			do   func()
			want string // the messages of all lines that the writer has got after do
		}{
			{func() { requests.Info("a") }, ""},
			{func() { time.Sleep(flushAfter - time.Nanosecond); requests.Info("b") }, ""},
			{func() { time.Sleep(time.Nanosecond) }, "ab"},
			{func() { requests.Info("c") }, "ab"},
			{func() { other.Error("d") }, "abcd"},
			{func() { requests.Info("e") }, "abcd"},
			{func() { time.Sleep(flushAfter) }, "abcde"},
			{func() { other.Info("f") }, "abcdef"},
			{func() { requests.Info("g"); o.Close() }, "abcdefg"},
			{func() { other.Error("h"); o.Close() }, "abcdefg"},
		} {
			step.do()
			synctest.Wait()
			got := ""
			for line := range strings.Lines(w.String()) {
				_, msg, _ := strings.Cut(strings.TrimSpace(line), "msg=")
				got += msg
			}
			if got != step.want {
				t.Fatalf("written %q, want %q", got, step.want)
			}
		}
		if n := o.Dropped(); n != 1 {
			t.Errorf("%d lines dropped, want the one after Close", n)
		}
	})
}

// TestBufferNeverWaits blocks the writer and logs more than the buffer holds. It checks that no
// logger waits, that lines about requests leave room for errors, that each line is written or
// counted, and that, when the writer works again, one line has the number of dropped lines.
func TestBufferNeverWaits(t *testing.T) {
	for _, json := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := gatedWriter{gate: make(chan struct{})}
			o, requests, other := buffered(&w)
			o.Set(slog.LevelInfo, json)
			other.Info("the writer blocks at this line")
			synctest.Wait()
			text := strings.Repeat("x", 200)
			const many = 2000
			for range many {
				requests.Info("request", "text", text)
			}
			other.Error("an error")
			dropped := o.Dropped()
			close(w.gate)
			o.Close()
			got := w.String()
			written := strings.Count(got, text)
			if dropped == 0 || written+int(dropped) != many || len(got) < bufferSize || len(got) > 3*bufferSize {
				t.Errorf("%d lines written and %d dropped of %d, %d bytes", written, dropped, many, len(got))
			}
			if strings.Count(got, "an error") != 1 || strings.Count(got, "log lines were dropped") != 1 || o.Dropped() != dropped {
				t.Errorf("the log ends with %s", got[max(0, len(got)-500):])
			}
			want := slog.Uint64("lines", dropped)
			line := want.String()
			if json {
				line = strings.Replace(`"`+line, "=", `":`, 1)
			}
			if !strings.Contains(got, line) {
				t.Errorf("the log does not have %s", line)
			}
		})
	}
}

// TestBufferOfAFullDisk makes the writer refuse the second half of its first lines, as a full disk
// does. It checks that each lost line is counted, and that the next line of the log begins on a
// line of its own although half a line is before it.
func TestBufferOfAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := gatedWriter{fails: 1}
		o, requests, other := buffered(&w)
		const many = 5
		for range many {
			requests.Info("early", "text", "of an odd number of lines, whose half ends within a line")
		}
		time.Sleep(flushAfter)
		synctest.Wait()
		torn := w.String()
		whole := strings.Count(torn, "\n")
		if whole == 0 || strings.HasSuffix(torn, "\n") {
			t.Fatalf("the writer has taken %q, want a line and the beginning of another", torn)
		}
		other.Info("after")
		o.Close()
		if dropped := o.Dropped(); dropped != uint64(many-whole) {
			t.Errorf("%d lines dropped, but %d of %d are written", dropped, whole, many)
		}
		rest, found := strings.CutPrefix(w.String(), torn+"\n")
		lines := strings.Split(strings.TrimSpace(rest), "\n")
		if !found || len(lines) != 2 || !strings.HasSuffix(lines[0], " msg=after") || !strings.HasPrefix(lines[0], "time=") || !strings.HasSuffix(lines[1], " "+slog.Int("lines", many-whole).String()) {
			t.Errorf("the log goes on with %q", rest)
		}
	})
}

// TestCloseDoesNotHang checks that Close returns while the writer blocks.
func TestCloseDoesNotHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := gatedWriter{gate: make(chan struct{})}
		o, _, other := buffered(&w)
		other.Error("stuck")
		began := time.Now()
		o.Close()
		if took := time.Since(began); took != closeWait {
			t.Errorf("Close took %v, want %v", took, closeWait)
		}
		close(w.gate)
	})
}
