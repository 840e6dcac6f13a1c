package core

import (
	"context"
	"fmt"
	"time"
)

// Endpoint is a client of the official live-event protocol: a browser tab or a device. The
// store remembers how far each endpoint has read the event log.
type Endpoint struct {
	User string
	ID   string // id of the endpoint, unique among the endpoints of the user; chosen by the client
	At   Cursor // the client has acknowledged all events up to this cursor
	Seen int64  // time of the client's last sign of life, in epoch milliseconds

	// Answered has the positions after At of events that the client has acknowledged, while an
	// event before them is still unacknowledged. The positions ascend.
	Answered []uint64

	// Owner is the server that has the client's socket, or had its last socket. It is empty if
	// only one server uses the store.
	Owner string
	Open  bool // Owner has a socket
}

// SharedEndpoints is implemented by stores that several servers use at once. A client that
// loses its connection may connect to another server. The new server then takes the endpoint
// over from its owner, after the owner has stored which events the client has acknowledged.
type SharedEndpoints interface {
	// CallEndpoint asks the owner of an endpoint to end the client's socket, and to store
	// the endpoint with Open false. It does nothing if the endpoint has another owner.
	CallEndpoint(ctx context.Context, user, id, owner string) error
	// EndpointCalled returns whether an endpoint is open, and whether a call of CallEndpoint
	// for it is still waiting for its owner.
	EndpointCalled(ctx context.Context, user, id string) (open, called bool, err error)
	// CalledEndpoints returns the users and ids of this owner's endpoints for which
	// CallEndpoint was called. It returns each call only once.
	CalledEndpoints(ctx context.Context, owner string) ([]Endpoint, error)
	// TakeEndpoint makes a server the owner of an open endpoint, and returns the row as it was
	// before. found is false, and nothing is written, if the endpoint does not exist.
	TakeEndpoint(ctx context.Context, user, id, owner string) (was Endpoint, found bool, err error)
}

// Bounds of the endpoints that a store remembers. If a user has more than MaxEndpoints, the
// caller of Store.PutEndpoints deletes the user's oldest ones. Service.Sweep deletes endpoints
// that were not seen for EndpointsKept.
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
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	es, err := s.store.Endpoints(ctx, user)
	if err == nil {
		err = s.store.DropEndpoints(ctx, es)
	}
	if err != nil {
		return fmt.Errorf("delete the endpoints: %w", err)
	}
	return nil
}
