package reference

import (
	"os"
	"runtime"
	"sync"
	"time"
)

// dataLog is a file to which lines are appended. One goroutine, the committer, writes all waiting
// lines and makes them durable with one fdatasync.
type dataLog struct {
	file      *os.File
	slow      time.Duration // added to each sync
	offset    int64
	wake      chan struct{}
	committer sync.WaitGroup
	waiters   sync.Pool // of *waiter

	mu    sync.Mutex // guards queue
	queue []*waiter
}

// waiter is a line that waits until the committer has written it.
type waiter struct {
	line string
	done chan error // of capacity 1
}

// logSize is the size of the log file in bytes. openLog fills the file with zeros, so that appends
// never make it longer. An append that reaches the end of the file continues at its beginning.
const logSize = 128 << 20

func openLog(path string, slow time.Duration) (*dataLog, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	zeros := make([]byte, 1<<20)
	for range logSize / len(zeros) {
		if _, err := f.Write(zeros); err != nil {
			f.Close()
			return nil, err
		}
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return nil, err
	}
	l := &dataLog{file: f, slow: slow, wake: make(chan struct{}, 1)}
	l.waiters.New = func() any { return &waiter{done: make(chan error, 1)} }
	l.committer.Go(l.commit)
	return l, nil
}

// append returns when the line is on the disk. It is safe for concurrent use.
func (l *dataLog) append(line string) error {
	w := l.waiters.Get().(*waiter)
	w.line = line
	l.mu.Lock()
	l.queue = append(l.queue, w)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	err := <-w.done
	l.waiters.Put(w)
	return err
}

// commit writes batches of lines until l.wake is closed.
func (l *dataLog) commit() {
	var batch []*waiter
	var buf []byte
	for range l.wake {
		for {
			runtime.Gosched() // lets other goroutines add lines to the batch
			l.mu.Lock()
			batch, l.queue = l.queue, batch[:0]
			l.mu.Unlock()
			if len(batch) == 0 {
				break
			}
			buf = buf[:0]
			for _, w := range batch {
				buf = append(buf, w.line...)
			}
			err := l.write(buf)
			for _, w := range batch {
				w.done <- err
			}
		}
	}
}

func (l *dataLog) write(buf []byte) error {
	if l.offset+int64(len(buf)) > logSize {
		l.offset = 0
	}
	if _, err := l.file.WriteAt(buf, l.offset); err != nil {
		return err
	}
	l.offset += int64(len(buf))
	time.Sleep(l.slow)
	return datasync(l.file)
}

// close makes the committer end and closes the file. Do not call it while an append is in progress.
func (l *dataLog) close() error {
	close(l.wake)
	l.committer.Wait()
	return l.file.Close()
}
