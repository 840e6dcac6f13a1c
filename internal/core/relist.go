package core

import (
	"context"
	"fmt"
)

// relist moves the list entries of threads with many participants, whenever change wakes it, until
// ctx ends. After an error it stops and leaves the rest to the next sweep, which reports the error.
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

// wakeRelist makes relist look for list entries to move.
func (s *Service) wakeRelist() {
	select {
	case s.relistings <- struct{}{}:
	default:
	}
}

// sweepLists moves list entries that relist has not moved: after an error, after a crash, and those of
// other servers. It stops after turnTime.
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
