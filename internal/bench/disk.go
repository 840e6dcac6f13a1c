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

// Disk measures what the embedded store does on a disk, for the operator of a server. Make one
// with OpenDisk, and close it.
type Disk struct {
	stand *stand
	file  *os.File // for flushes
}

// OpenDisk makes a store in the folder dir, which must be empty, with 200 threads of ten
// people.
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

// Close closes the store. It leaves the files to the owner of the folder.
func (d *Disk) Close() error { return cmp.Or(d.stand.close(), d.file.Close()) }

// Latency is how long an operation takes.
type Latency struct {
	Median time.Duration
	P99    time.Duration // 1 of 100 takes this long or longer
}

// Flush writes 4 KiB to the end of a file and flushes it to the disk, again and again for
// span, and returns how long that takes.
func (d *Disk) Flush(span time.Duration) (Latency, error) {
	block := make([]byte, 4096)
	var failure error
	s := load(1, span, func(_, _ int) bool {
		if _, failure = d.file.Write(block); failure == nil {
			failure = datasync(d.file)
		}
		return failure == nil
	})
	return Latency{s.p50, s.p99}, failure
}

// Send sends messages of MessageSize bytes from a number of senders at the same time, for
// span. It returns how many of them the store writes in a second, and how long a sender waits
// until the message is on the disk. There is no HTTP or TLS between.
func (d *Disk) Send(ctx context.Context, senders int, span time.Duration) (rate float64, wait Latency, err error) {
	s, err := d.stand.run(ctx, cell{senders: senders, threads: len(d.stand.threads)}, span)
	return s.rate, Latency{s.p50, s.p99}, err
}

// Footprint sends n messages and compacts the store. It returns the bytes per message that
// were written to the disk, with the log and the compactions, and those that stay.
func (d *Disk) Footprint(ctx context.Context, n int) (written, kept float64, err error) {
	return d.stand.footprint(ctx, n)
}
