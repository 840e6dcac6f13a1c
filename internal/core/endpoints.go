package core

import (
	"context"
	"fmt"
	"time"
)

// Endpoint is a client of the official protocol: a browser tab or a device. The store
// remembers how far each one has read the event log.
type Endpoint struct {
	User string
	ID   string // unique among the endpoints of the user; chosen by the client
	At   Cursor // after the last event that the client has answered
	Seen int64  // time of its last sign of life, epoch milliseconds
}

// Bounds of the endpoints that a store remembers. The caller of Store.PutEndpoints
// drops the oldest endpoint of a user with more than MaxEndpoints. Service.Sweep drops
// endpoints that were not seen for EndpointsKept.
const (
	MaxEndpoints  = 20
	EndpointsKept = 24 * time.Hour
)

// sweepEndpointsEvery is the time between two deletions of old endpoints by Sweep.
const sweepEndpointsEvery = time.Hour

// sweepEndpoints deletes the endpoints that were not seen for EndpointsKept, about once
// an hour.
func (s *Service) sweepEndpoints(ctx context.Context) error {
	now := s.now()
	if since := now.Sub(s.endpointsSwept); since >= 0 && since < sweepEndpointsEvery {
		return nil
	}
	s.endpointsSwept = now
	if err := s.store.ExpireEndpoints(ctx, now.Add(-EndpointsKept).UnixMilli()); err != nil {
		return fmt.Errorf("delete old endpoints: %w", err)
	}
	return nil
}

// eraseEndpoints deletes all endpoints of a user.
func (s *Service) eraseEndpoints(ctx context.Context, user string) error {
	es, err := s.store.Endpoints(ctx, user)
	if err == nil {
		err = s.store.DropEndpoints(ctx, es)
	}
	if err != nil {
		return fmt.Errorf("delete the endpoints: %w", err)
	}
	return nil
}
