//go:build !linux

package load

import "time"

// pacer wakes its caller at equal intervals.
type pacer struct{ ticker *time.Ticker }

func newPacer(interval time.Duration) (*pacer, error) { return &pacer{time.NewTicker(interval)}, nil }

// wait returns at the end of the present interval, or at once if an interval has ended since the
// last call.
func (p *pacer) wait() error {
	<-p.ticker.C
	return nil
}

func (p *pacer) close() { p.ticker.Stop() }
