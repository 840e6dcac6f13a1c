package core

import (
	"context"
	"fmt"

	"github.com/confab-chat/confab/sdk/communication"
)

// User returns the row of a user of this resource; State is UserUnknown for an
// id that was never made. It is cached, and a change made here shows at once;
// one made by another process shows after freshFor.
func (s *Service) User(ctx context.Context, id string) (User, error) {
	s.mu.Lock()
	u, ok := s.users.Get(id)
	seen := s.userChanges
	if s.shared {
		s.asked[id] = struct{}{}
	}
	s.mu.Unlock()
	read := s.now()
	age := read.Sub(u.read)
	if ok && (!s.shared || age < freshFor) {
		return u.User, nil
	}
	row, err := s.store.User(ctx, id)
	if err != nil && ok && age < trustedFor {
		return u.User, nil
	}
	if err != nil {
		return User{}, fmt.Errorf("load user %s: %w", id, err)
	}
	row.ID = id
	s.mu.Lock()
	defer s.mu.Unlock()
	// A change that was committed since must not be hidden by this older row.
	if row.State != UserUnknown && seen == s.userChanges {
		s.users.Add(id, cachedUser{row, read})
	}
	return row, nil
}

// CreateUser makes a user with a new id (identity.md §3.1).
func (s *Service) CreateUser(ctx context.Context) (User, error) {
	u := User{State: UserLive, Generation: 1}
	_, _, err := s.change(ctx, func() (*Change, error) {
		u.ID = communication.JoinUserID(s.resource.ID, newUserPart(s.random, s.now().UnixMilli()))
		return &Change{Key: u.ID, Users: []User{{ID: u.ID}}, PutUsers: []User{u}}, nil
	})
	if err != nil {
		return User{}, err
	}
	return u, nil
}

// LiveUser returns the row of a user for whom tokens may be issued, or fails
// with 401 IdentityNotOwned: for an id of another resource, an unknown id and
// a deleted user alike (identity.md §1 rule 10). Unverified: the last two.
func (s *Service) LiveUser(ctx context.Context, id string) (User, error) {
	if !s.owns(id) {
		return User{}, errNotOwned
	}
	u, err := s.User(ctx, id)
	if err != nil {
		return User{}, err
	}
	if u.State != UserLive {
		return User{}, errNotOwned
	}
	return u, nil
}

// UserForToken is LiveUser, and with Options.Adopt makes a user of an id of
// this resource that it does not know yet.
func (s *Service) UserForToken(ctx context.Context, id string) (User, error) {
	u, err := s.LiveUser(ctx, id)
	if err == nil || !s.adopt || !s.owns(id) {
		return u, err
	}
	_, _, err = s.change(ctx, func() (*Change, error) {
		was, err := s.User(ctx, id)
		if err != nil {
			return nil, err
		}
		switch was.State {
		case UserUnknown:
			u = User{ID: id, State: UserLive, Generation: 1}
			return &Change{Key: id, Users: []User{was}, PutUsers: []User{u}}, nil
		case UserLive:
			u = was
			return nil, errNothingToDo
		}
		return nil, errNotOwned
	})
	if err != nil {
		return User{}, err
	}
	return u, nil
}

// RevokeTokens ends every token issued to the user so far (identity.md §3.3).
func (s *Service) RevokeTokens(ctx context.Context, id string) error {
	return s.changeUser(ctx, id, func(u *User) { u.Generation++ })
}

// DeleteUser begins the user's deletion (identity.md §3.4). From now on its
// tokens may only delete threads and leave them; after the grace its content
// goes, which Sweep does.
func (s *Service) DeleteUser(ctx context.Context, id string) error {
	return s.changeUser(ctx, id, func(u *User) {
		u.State, u.DeletedAt = UserDeleting, s.now().UnixMilli()
	})
}

// Leaving says whether a user is in the grace of its deletion.
func (s *Service) Leaving(u User) bool {
	return u.State == UserDeleting && s.now().UnixMilli() < u.DeletedAt+s.grace.Milliseconds()
}

func (s *Service) changeUser(ctx context.Context, id string, edit func(*User)) error {
	c, _, err := s.change(ctx, func() (*Change, error) {
		was, err := s.LiveUser(ctx, id)
		if err != nil {
			return nil, err
		}
		is := was
		edit(&is)
		return &Change{Key: id, Users: []User{was}, PutUsers: []User{is}}, nil
	})
	if err == nil {
		s.forget(c.PutUsers)
	}
	return err
}

// forget drops rows that have changed, so that whoever asks next reads them from
// the store. The writer does not put its own row there: of two changes the first
// to commit may be the last to come back from its lane.
func (s *Service) forget(users []User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.userChanges++
	for _, u := range users {
		s.users.Remove(u.ID)
	}
}

// owns says whether a well-formed user id belongs to this resource.
func (s *Service) owns(id string) bool {
	_, user, ok := communication.SplitUserID(id)
	return ok && id == communication.JoinUserID(s.resource.ID, user)
}
