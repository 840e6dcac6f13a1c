package core

import (
	"context"
	"fmt"
)

// relist moves the entries of threads with many participants in the participants' lists of threads.
// wakeRelist wakes it after a change has begun such a move. After an error it leaves the rest to
// the next sweep, which reports the error. It returns when ctx ends.
func (s *Service) relist(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.relistings:
		}
		for more := true; more && ctx.Err() == nil; {
			var err error
			if more, err = s.store.Relist(ctx, MaxMoves); err != nil {
				break
			}
		}
	}
}

// wakeRelist wakes relist, which then looks for list entries to move.
func (s *Service) wakeRelist() {
	select {
	case s.relistings <- struct{}{}:
	default:
	}
}

// sweepLists moves list entries that relist has not moved: after an error, after a crash, and
// entries whose move another server began. It stops after turnTime.
func (s *Service) sweepLists(ctx context.Context) error {
	ends := s.now().Add(turnTime)
	for more := true; more && !s.over(ends); {
		var err error
		if more, err = s.store.Relist(ctx, MaxMoves); err != nil {
			return fmt.Errorf("move threads in users' lists: %w", err)
		}
	}
	return nil
}
