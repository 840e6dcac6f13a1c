package bench

import (
	"fmt"
	"os"
	"runtime"
	"sync"
)

// refLog is the plain log file with which the stores are compared. Several concurrent writers,
// called lanes, append batches of bytes to the preallocated file, with one fdatasync per
// batch. Do not change refLog: otherwise the measured ratios cannot be compared with earlier
// ones.
type refLog struct {
	file  *os.File
	lanes []*refLane
	done  sync.WaitGroup

	mu     sync.Mutex // guards offset
	offset int64
	syncs  int
}

type refLane struct {
	wake  chan struct{}
	mu    sync.Mutex // guards queue
	queue []*refWrite
}

type refWrite struct {
	data []byte
	done chan struct{}
}

// refLogSize is the size of the log file in bytes. The file is filled with zeros at the start,
// so appends never make it longer. When the end is reached, appends continue at the start.
const refLogSize = 128 << 20

func newRefLog(path string, lanes int) (*refLog, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	l := &refLog{file: f}
	zeros := make([]byte, 1<<20)
	for range refLogSize / len(zeros) {
		if _, err := f.Write(zeros); err != nil {
			return nil, err
		}
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	for range lanes {
		lane := &refLane{wake: make(chan struct{}, 1)}
		l.lanes = append(l.lanes, lane)
		l.done.Go(func() { l.run(lane) })
	}
	return l, nil
}

// append adds the write w to the next batch of a lane, and returns when the bytes of w are on
// the disk.
func (l *refLog) append(lane int, w *refWrite) {
	n := l.lanes[lane%len(l.lanes)]
	n.mu.Lock()
	n.queue = append(n.queue, w)
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
	<-w.done
}

func (l *refLog) run(lane *refLane) {
	var batch []*refWrite
	var buf []byte
	for range lane.wake {
		for {
			runtime.Gosched()
			lane.mu.Lock()
			batch, lane.queue = lane.queue, batch[:0]
			lane.mu.Unlock()
			if len(batch) == 0 {
				break
			}
			buf = buf[:0]
			for _, w := range batch {
				buf = append(buf, w.data...)
			}
			if err := l.write(buf); err != nil {
				panic(fmt.Sprintf("reference log: %v", err))
			}
			for _, w := range batch {
				w.done <- struct{}{}
			}
		}
	}
}

func (l *refLog) write(buf []byte) error {
	l.mu.Lock()
	if l.offset+int64(len(buf)) > refLogSize {
		l.offset = 0
	}
	at := l.offset
	l.offset += int64(len(buf))
	l.syncs++
	l.mu.Unlock()
	if _, err := l.file.WriteAt(buf, at); err != nil {
		return err
	}
	return datasync(l.file)
}

func (l *refLog) close() error {
	for _, lane := range l.lanes {
		close(lane.wake)
	}
	l.done.Wait()
	return l.file.Close()
}
