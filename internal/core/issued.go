package core

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// maxIssued is the greatest number of users whose latest token is noted and not stored yet.
// When this number is reached, TokenIssued for a further user waits until the notes are
// stored.
const maxIssued = 10_000

// issued has, for each user to whom tokens were issued since the last sweep, the time of the
// last one in epoch milliseconds.
type issued struct {
	storing sync.Mutex // held while notes are written to the store; it is locked before mu
	mu      sync.Mutex // guards at
	at      map[string]int64
}

// TokenIssued notes that an access token was issued to a user just now. It does not write to the
// store: Sweep and Close do, for many users at once. The contract shows the time in one preview
// version and promises nothing about it, and a synced write for each token would make issuing
// tokens as costly as sending messages and impossible on a full disk. So a server that crashes
// forgets the times since its last sweep, and other servers see a time after the sweep.
func (s *Service) TokenIssued(ctx context.Context, id string) {
	if s.noteIssued(id, maxIssued) {
		return
	}
	if err := s.storeIssued(ctx); err == nil {
		s.noteIssued(id, 2*maxIssued) // after one write, many waiting calls note their users at once
	}
}

// noteIssued notes the present time for a user. It does not, and returns false, if the
// user has no note yet and the number of notes has reached most.
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

// LastTokenIssuedAt returns the time at which the last access token was issued to a user, as far
// as this server knows. It returns the zero time if no token was. u is the user's row.
func (s *Service) LastTokenIssuedAt(u User) time.Time {
	s.issued.mu.Lock()
	defer s.issued.mu.Unlock()
	if at := max(u.TokenIssuedAt, s.issued.at[u.ID]); at != 0 {
		return time.UnixMilli(at)
	}
	return time.Time{}
}

// storeIssued writes the notes of issued tokens to the rows of the users. It keeps the notes that
// it could not write, and begins nothing more after turnTime.
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

// storeIssuedTo writes the notes of some users in one change. It leaves out users who were
// deleted meanwhile, and those for whom another server has stored a later time.
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
