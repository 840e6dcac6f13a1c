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
	if u, ok := s.cachedUser(id); ok {
		return u, nil
	}
	us, err := s.loadUsers(ctx, []string{id})
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if u, ok := s.users.Get(id); ok && s.now().Sub(u.read) < trustedFor {
			return u.User, nil
		}
	}
	return us[id], err
}

// cachedUser returns a row that is not too old to be trusted.
func (s *Service) cachedUser(id string) (User, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shared {
		s.asked[id] = struct{}{}
	}
	u, ok := s.users.Get(id)
	return u.User, ok && (!s.shared || s.now().Sub(u.read) < freshFor)
}

// loadUsers reads the rows of users by id, and caches those that exist.
func (s *Service) loadUsers(ctx context.Context, ids []string) (map[string]User, error) {
	s.mu.Lock()
	seen := s.userChanges
	s.mu.Unlock()
	read := s.now()
	rows, err := s.store.Users(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("load %d users: %w", len(ids), err)
	}
	us := make(map[string]User, len(ids))
	for _, id := range ids {
		us[id] = User{ID: id}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range rows {
		us[u.ID] = u
		// A change that was committed since must not be hidden by this older row.
		if seen == s.userChanges {
			s.users.Add(u.ID, cachedUser{u, read})
		}
	}
	return us, nil
}

// CreateUser makes a user with a new id (docs/contract/identity.md §3.1).
func (s *Service) CreateUser(ctx context.Context) (User, error) {
	u := User{State: UserLive, Generation: 1}
	u.ID = communication.JoinUserID(s.resource.ID, newUserPart(s.random, s.now().UnixMilli()))
	_, err := s.change(ctx, func(Rows) (*Change, error) {
		return &Change{Key: u.ID, ReadUsers: []User{{ID: u.ID}}, PutUsers: []User{u}}, nil
	})
	if err != nil {
		return User{}, err
	}
	return u, nil
}

// LiveUser returns the row of a user for whom tokens may be issued, or fails
// with 401 IdentityNotOwned: for an id of another resource, an unknown id and
// a deleted user alike (docs/contract/identity.md §1 rule 10). Unverified: the last two.
func (s *Service) LiveUser(ctx context.Context, id string) (User, error) {
	if !s.owns(id) {
		return User{}, errNotOwned
	}
	u, err := s.User(ctx, id)
	if err == nil && u.State != UserLive {
		err = errNotOwned
	}
	if err != nil {
		return User{}, err
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
	_, err = s.changeUser(ctx, id, func(was User) (User, error) {
		switch was.State {
		case UserUnknown:
			u = User{ID: id, State: UserLive, Generation: 1}
			return u, nil
		case UserLive:
			u = was
			return was, nil
		}
		return User{}, errNotOwned
	})
	if err != nil {
		return User{}, err
	}
	return u, nil
}

// RevokeTokens ends every token issued to the user so far (docs/contract/identity.md §3.3).
func (s *Service) RevokeTokens(ctx context.Context, id string) error {
	return s.changeLiveUser(ctx, id, func(u *User) { u.Generation++ })
}

// DeleteUser begins the user's deletion (docs/contract/identity.md §3.4). From now on its
// tokens may only delete threads and leave them; after the grace Sweep erases
// its content.
func (s *Service) DeleteUser(ctx context.Context, id string) error {
	return s.changeLiveUser(ctx, id, func(u *User) {
		u.State, u.DeletedAt = UserDeleting, s.now().UnixMilli()
	})
}

// Leaving says whether a user is in the grace of its deletion.
func (s *Service) Leaving(u User) bool {
	return u.State == UserDeleting && s.now().UnixMilli() < u.DeletedAt+s.grace.Milliseconds()
}

func (s *Service) changeLiveUser(ctx context.Context, id string, edit func(*User)) error {
	if !s.owns(id) {
		return errNotOwned
	}
	_, err := s.changeUser(ctx, id, func(u User) (User, error) {
		if u.State != UserLive {
			return u, errNotOwned
		}
		edit(&u)
		return u, nil
	})
	return err
}

// changeUser replaces a user's row, unless edit returns it as it was.
func (s *Service) changeUser(ctx context.Context, id string, edit func(User) (User, error)) (Outcome, error) {
	return s.change(ctx, func(rows Rows) (*Change, error) {
		us, err := rows.Users(id)
		if err != nil {
			return nil, err
		}
		c := &Change{Key: id, ReadUsers: []User{us[id]}}
		u, err := edit(us[id])
		if err == nil && u != us[id] {
			c.PutUsers = []User{u}
		}
		return c, err
	})
}

// invalidateUsers drops cached rows, so that the next question reads them from
// the store. The writer does not put its own row there: of two changes the first
// to commit may be the last to come back from its lane.
func (s *Service) invalidateUsers(users []User) {
	if len(users) == 0 {
		return
	}
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
