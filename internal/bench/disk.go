package bench

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// MessageSize is the size in bytes of the messages that this package sends.
const MessageSize = messageSize

// Disk measures how fast the embedded store is on a disk, so that an operator can judge a
// server's disk. Make one with OpenDisk, and close it.
type Disk struct {
	stand *stand
	file  *os.File // for flushes
}

// OpenDisk creates a store in the folder dir, which must be empty, with 200 threads of ten
// participants each.
func OpenDisk(ctx context.Context, dir string) (*Disk, error) {
	file, err := os.OpenFile(filepath.Join(dir, "flush"), os.O_CREATE|os.O_RDWR|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	st, err := newStand(ctx, filepath.Join(dir, "store"), 200, 10)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &Disk{stand: st, file: file}, nil
}

// Close closes the store. It does not delete the files in the folder.
func (d *Disk) Close() error { return cmp.Or(d.stand.close(), d.file.Close()) }

// Latency is the median and the 99th percentile of the times that an operation takes.
type Latency struct {
	Median time.Duration
	P99    time.Duration // 99 of 100 operations take less time than this
}

// Flush repeats one operation for the time span: it appends 4 KiB to a file and flushes them to the
// disk. It returns how long the operation takes.
func (d *Disk) Flush(span time.Duration) (Latency, error) {
	block := make([]byte, 4096)
	var failure error
	_, l := repeat(1, span, func(_, _ int) bool {
		if _, failure = d.file.Write(block); failure == nil {
			failure = datasync(d.file)
		}
		return failure == nil
	})
	return l, failure
}

// Send sends messages of MessageSize bytes from concurrent senders for the time span, without HTTP
// and TLS. It returns the number of messages that the store writes per second, and the time from
// the start of a send until the message is on the disk.
func (d *Disk) Send(ctx context.Context, senders int, span time.Duration) (rate float64, wait Latency, err error) {
	return d.stand.run(ctx, senders, span)
}

// Footprint sends n messages and compacts the store. It returns two figures in bytes per message:
// written is what the store writes to the disk, including its log and its compactions, and kept is
// what remains on the disk.
func (d *Disk) Footprint(ctx context.Context, n int) (written, kept float64, err error) {
	return d.stand.footprint(ctx, n)
}
