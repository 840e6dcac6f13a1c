package core

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// maxIssued is the greatest number of users for whom the service remembers the time of the latest
// token without having stored it. When this number is reached, TokenIssued for another user waits
// until the times are stored.
const maxIssued = 10_000

// issued has, for each user who got an access token since the last sweep, the time of the latest
// token in epoch milliseconds.
type issued struct {
	storing sync.Mutex // held while the times are written to the store; it is locked before mu
	mu      sync.Mutex // guards at
	at      map[string]int64
}

// TokenIssued remembers the present time as that of the user's latest access token. It does not
// write to the store; Sweep and Close do, for many users at once. The contract shows the time in
// one preview version and promises nothing about it. A synced write for each token would make
// issuing tokens as costly as sending messages, and impossible on a full disk. A server that
// crashes therefore forgets the times since its last sweep, and other servers see a time only after
// the sweep.
func (s *Service) TokenIssued(ctx context.Context, id string) {
	if s.noteIssued(id, maxIssued) {
		return
	}
	if err := s.storeIssued(ctx); err == nil {
		// The limit is doubled here, because many calls may have waited for the same write.
		s.noteIssued(id, 2*maxIssued)
	}
}

// noteIssued remembers the present time as the time of the user's latest token. It returns false
// and does nothing if the user is not among the remembered ones and their number has reached most.
func (s *Service) noteIssued(id string, most int) bool {
	now := s.now().UnixMilli()
	s.issued.mu.Lock()
	defer s.issued.mu.Unlock()
	was, noted := s.issued.at[id]
	if !noted && len(s.issued.at) >= most {
		return false
	}
	s.issued.at[id] = max(was, now)
	return true
}

// LastTokenIssuedAt returns the time at which a user got the latest access token, as far as this
// server knows, or the zero time if the user got none. u is the user's row.
func (s *Service) LastTokenIssuedAt(u User) time.Time {
	s.issued.mu.Lock()
	defer s.issued.mu.Unlock()
	if at := max(u.TokenIssuedAt, s.issued.at[u.ID]); at != 0 {
		return time.UnixMilli(at)
	}
	return time.Time{}
}

// storeIssued writes the remembered times of issued tokens to the rows of the users. It keeps the
// times that it could not write, and begins no further write after turnTime.
func (s *Service) storeIssued(ctx context.Context) error {
	s.issued.storing.Lock()
	defer s.issued.storing.Unlock()
	s.issued.mu.Lock()
	notes := maps.Clone(s.issued.at)
	s.issued.mu.Unlock()
	ends := s.now().Add(turnTime)
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(notes)), sweepPage) {
		if err := s.storeIssuedTo(ctx, ids, notes); err != nil {
			return fmt.Errorf("store when tokens were issued to %d users: %w", len(ids), err)
		}
		s.issued.mu.Lock()
		for _, id := range ids {
			if s.issued.at[id] == notes[id] {
				delete(s.issued.at, id)
			}
		}
		s.issued.mu.Unlock()
		if s.over(ends) {
			break
		}
	}
	return nil
}

// storeIssuedTo writes the remembered times of some users in one change. It leaves out users who
// were deleted meanwhile, and users for whom another server has stored a later time.
func (s *Service) storeIssuedTo(ctx context.Context, ids []string, notes map[string]int64) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	_, err := s.change(ctx, func(rows Rows) (*Change, error) {
		us, err := rows.Users(ids...)
		if err != nil {
			return nil, err
		}
		c := &Change{Key: ids[0]}
		for _, id := range ids {
			u := us[id]
			c.ReadUsers = append(c.ReadUsers, u)
			if u.State == UserLive && u.TokenIssuedAt < notes[id] {
				u.TokenIssuedAt = notes[id]
				c.PutUsers = append(c.PutUsers, u)
			}
		}
		return c, nil
	})
	return err
}
