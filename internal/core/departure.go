package core

import (
	"context"
	"time"
)

// Departure says when a user has left a thread, and who removed the user.
type Departure struct {
	At   time.Time // zero if it is not known
	By   string    // the user who removed the member, or the member itself; empty if the server did
	Name string    // the display name, in the thread, of the user who removed the member; may be empty
}

// Departure returns when a user has left a thread and who removed the user. event is the number of
// the event of leaving: the To of the user's last interval. ok is false if the log does not keep
// the event any more. Departure reads the store, so do not call it for each refused request.
func (s *Service) Departure(ctx context.Context, thread string, event uint64) (d Departure, ok bool, err error) {
	events, err := s.store.ThreadEvents(ctx, thread, event, 1)
	if err != nil || len(events) == 0 || events[0].Number != event || events[0].Kind != ParticipantsRemoved {
		return Departure{}, false, err
	}
	d = Departure{By: events[0].Actor}
	if events[0].At != 0 {
		d.At = time.UnixMilli(events[0].At)
	}
	if v, err := s.store.View(ctx, thread, d.By); err == nil && v.Member != nil {
		d.Name = v.Member.DisplayName
	}
	return d, true, nil
}
