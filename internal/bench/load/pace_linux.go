package load

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pacer wakes its caller at equal intervals. It uses a timer of the kernel, because a timer of Go
// waits at least a millisecond when nothing else runs, and this wait would count as time of the
// server.
type pacer struct{ timer *os.File }

func newPacer(interval time.Duration) (*pacer, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	every := unix.NsecToTimespec(interval.Nanoseconds())
	if err := unix.TimerfdSettime(fd, 0, &unix.ItimerSpec{Interval: every, Value: every}, nil); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &pacer{os.NewFile(uintptr(fd), "timer")}, nil
}

// wait returns at the end of the present interval, or at once if an interval has ended since the
// last call.
func (p *pacer) wait() error {
	var expirations [8]byte
	_, err := p.timer.Read(expirations[:])
	return err
}

func (p *pacer) close() { p.timer.Close() }
