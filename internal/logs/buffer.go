package logs

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"time"
)

const (
	// bufferSize is the number of bytes that a buffer holds before it drops lines about requests.
	bufferSize = 64 << 10
	// bufferReserve is the number of bytes beyond bufferSize that a buffer keeps free for lines
	// that are not about requests, so that many requests do not displace an error.
	bufferReserve = 64 << 10
	// flushAfter is the longest time that a line about a request stays in a buffer while the
	// writer behind the buffer accepts lines.
	flushAfter = 100 * time.Millisecond
	// dropsEvery is the minimum time between two lines about dropped lines.
	dropsEvery = time.Second
	// closeWait is the longest time that close waits for the writer behind the buffer.
	closeWait = time.Second
)

var errDropped = errors.New("the log line was dropped")

// buffer holds log lines for a writer that may be slow or may block, such as a pipe or a full disk.
// Only the goroutine of the buffer waits for the writer. If the buffer has no room for a line, or
// the writer refuses a line, the buffer drops the line and counts it. It writes lines in the order
// in which they were added.
//
// A buffer is safe for concurrent use. Its methods do not keep the slices that they get.
type buffer struct {
	to   io.Writer
	note func(dropped uint64) []byte // returns the line about dropped lines

	later chan struct{} // channel of capacity 1, which has an element if a first line was added to lines
	now   chan struct{} // channel of capacity 1, which has an element if the lines must be written at once
	end   chan struct{} // closed by close
	done  chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex // guards the fields below
	lines   []byte
	urged   bool   // a signal was already sent to now for the present lines
	dropped uint64 // since the start
	closed  bool
}

// newBuffer returns a buffer and starts its goroutine, which writes lines to the writer to until
// close is called. The function note returns a line for the log about dropped lines.
func newBuffer(to io.Writer, note func(dropped uint64) []byte) *buffer {
	b := &buffer{
		to: to, note: note,
		later: make(chan struct{}, 1), now: make(chan struct{}, 1), end: make(chan struct{}), done: make(chan struct{}),
	}
	go b.run()
	return b
}

// Write adds a line, which the goroutine of the buffer writes at once, after the lines that were
// added before. It implements io.Writer. It fails if the line was dropped.
func (b *buffer) Write(line []byte) (int, error) { return b.add(line, bufferSize+bufferReserve, true) }

// requestWriter is a writer that adds lines to a buffer, which writes them within flushAfter.
type requestWriter struct{ b *buffer }

func (w requestWriter) Write(line []byte) (int, error) { return w.b.add(line, bufferSize, false) }

// add adds a line if the buffer then has at most size bytes. If urgent is false, the line may wait
// for further lines.
func (b *buffer) add(line []byte, size int, urgent bool) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || len(b.lines)+len(line) > size {
		b.dropped++
		return 0, errDropped
	}
	first := len(b.lines) == 0
	b.lines = append(b.lines, line...)
	switch {
	case b.urged:
	case urgent || len(b.lines) >= bufferSize/2:
		b.urged = true
		signal(b.now)
	case first:
		signal(b.later)
	}
	return len(line), nil
}

// signal sends to a channel of capacity 1, unless an earlier signal is still in it.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run writes the lines until close is called.
func (b *buffer) run() {
	defer close(b.done)
	out := drain{to: b.to, note: b.note}
	var spare []byte
	for ended := false; !ended; {
		select {
		case <-b.later:
			select {
			case <-time.After(flushAfter):
			case <-b.now:
			case <-b.end:
			}
		case <-b.now:
		case <-b.end:
			ended = true
		}
		b.mu.Lock()
		lines, dropped := b.lines, b.dropped
		b.lines, b.urged = spare[:0], false
		b.mu.Unlock()
		lost := out.write(lines, dropped, ended)
		b.mu.Lock()
		b.dropped += lost
		b.mu.Unlock()
		spare = lines
	}
}

// drain is the state of a buffer's goroutine: which lines it has written so far.
type drain struct {
	to   io.Writer
	note func(dropped uint64) []byte
	torn bool      // the writer has taken the beginning of a line and refused the rest
	said uint64    // number of dropped lines that the notes so far have counted
	next time.Time // the time before which no note is written
}

// write writes lines. After them it writes a note if lines were dropped since the last note, at
// most once in dropsEvery unless last is true. It returns the number of lines that the writer has
// refused.
func (d *drain) write(lines []byte, dropped uint64, last bool) (lost uint64) {
	noted := dropped > d.said && (last || !time.Now().Before(d.next))
	end := len(lines)
	if noted {
		lines = append(lines, d.note(dropped-d.said)...)
	}
	if len(lines) == 0 {
		return 0
	}
	if d.torn {
		if _, err := d.to.Write([]byte("\n")); err != nil {
			return uint64(bytes.Count(lines[:end], []byte("\n")))
		}
		d.torn = false
	}
	n, err := d.to.Write(lines)
	switch {
	case err != nil:
		d.torn = n > 0 && lines[n-1] != '\n'
		return uint64(bytes.Count(lines[min(n, end):end], []byte("\n")))
	case noted:
		d.said, d.next = dropped, time.Now().Add(dropsEvery)
	}
	return 0
}

// drops returns the number of lines that were dropped since the start.
func (b *buffer) drops() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dropped
}

// close writes the lines that the buffer holds, and ends its goroutine. Lines that are added later
// are dropped. If the writer blocks, close returns after closeWait, and the goroutine ends when
// the writer returns.
func (b *buffer) close() {
	b.mu.Lock()
	again := b.closed
	b.closed = true
	b.mu.Unlock()
	if !again {
		close(b.end)
	}
	select {
	case <-b.done:
	case <-time.After(closeWait):
	}
}
