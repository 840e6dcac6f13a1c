package core

import (
	"context"
	"fmt"
)

// User returns the row of a user. If the user was never created, the row has state UserUnknown. The
// row may come from a cache. A change by this process is visible at once, and a change by another
// process after at most freshFor. If the store fails, User returns a cached row if the row is
// younger than trustedFor.
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

// StoredUser returns the row of a user as it is in the store now. If the user was never
// created, the row has state UserUnknown.
func (s *Service) StoredUser(ctx context.Context, id string) (User, error) {
	us, err := s.loadUsers(ctx, []string{id})
	return us[id], err
}

// ListUsers returns up to limit users, including deleted users, whose ids are greater than
// after, in the order of ids. It is meant for the server's operator.
func (s *Service) ListUsers(ctx context.Context, after string, limit int) ([]User, error) {
	us, err := s.store.ListUsers(ctx, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list users after %q: %w", after, err)
	}
	return us, nil
}

// cachedUser returns the cached row of a user. It returns false if the row is not cached, or if
// other processes write to the store and the row is older than freshFor.
func (s *Service) cachedUser(id string) (User, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shared {
		s.asked[id] = struct{}{}
	}
	u, ok := s.users.Get(id)
	return u.User, ok && (!s.shared || s.now().Sub(u.read) < freshFor)
}

// loadUsers reads the rows of users from the store and caches the rows that exist. The result
// has an entry for every id, with state UserUnknown for users that do not exist.
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
		// Do not cache a row if a change was committed during the read, or if another call has
		// read the row later.
		if old, ok := s.users.Peek(u.ID); seen == s.userChanges && (!ok || !read.Before(old.read)) {
			s.users.Add(u.ID, cachedUser{u, read})
		}
	}
	return us, nil
}

// CreateUser creates a user with a new id (docs/contract/identity.md §3.1). It writes the audit
// rows in the same batch. A row without a Target gets the id of the user as its Target.
func (s *Service) CreateUser(ctx context.Context, audit ...Audit) (User, error) {
	return s.createUser(ctx, "", audit...)
}

// createUser creates a user with a new id and this custom id, which may be empty. It fails with
// ErrCustomIDTaken if another user has the custom id.
func (s *Service) createUser(ctx context.Context, customID string, audit ...Audit) (User, error) {
	u := User{State: UserLive, Generation: 1, CustomID: customID}
	u.ID = s.resource.UserID(newUserPart(s.random, s.now().UnixMilli()))
	audit = s.stampAll(audit, u.ID)
	_, err := s.change(ctx, func(Rows) (*Change, error) {
		return &Change{Key: u.ID, ReadUsers: []User{{ID: u.ID}}, PutUsers: []User{u}, Audits: audit}, nil
	})
	if err != nil {
		return User{}, err
	}
	return u, nil
}

// LiveUser returns the stored row of a user for whom tokens may be issued. It fails with 401
// IdentityNotOwned for an id of another resource, an unknown id or a deleted user
// (docs/contract/identity.md §1 rule 10). It uses no cached row, because a token with the
// generation of an outdated row would be invalid from the start. Unverified: the status for an
// unknown id and for a deleted user.
func (s *Service) LiveUser(ctx context.Context, id string) (User, error) {
	if !s.resource.Owns(id) {
		return User{}, errNotOwned
	}
	u, err := s.StoredUser(ctx, id)
	if err == nil && u.State != UserLive {
		return User{}, errNotOwned
	}
	return u, err
}

// UserForToken returns the row of a user for whom a token is to be issued. With Options.Adopt
// it first creates a user whose id belongs to this resource and is unknown. It fails with 401
// IdentityNotOwned in the same cases as LiveUser.
func (s *Service) UserForToken(ctx context.Context, id string) (User, error) {
	u, err := s.LiveUser(ctx, id)
	if err == nil || !s.adopt || !s.resource.Owns(id) {
		return u, err
	}
	err = s.changeUser(ctx, id, nil, nil, func(row *User) error {
		if row.State == UserUnknown {
			*row = adopted(id)
		}
		if row.State != UserLive {
			return errNotOwned
		}
		u = *row
		return nil
	})
	if err != nil {
		return User{}, err
	}
	return u, nil
}

// adopted returns the row of a user that Options.Adopt creates: its id belongs to this resource
// and was issued before the app moved to this server.
func adopted(id string) User { return User{ID: id, State: UserLive, Generation: 1} }

// RevokeTokens invalidates all access tokens that were issued to the user so far
// (docs/contract/identity.md §3.3). It writes the audit rows in the same batch; if it fails, it
// writes no audit row.
func (s *Service) RevokeTokens(ctx context.Context, id string, audit ...Audit) error {
	return s.changeLiveUser(ctx, id, TokensRevoked, audit, func(u *User) { u.Generation++ })
}

// DeleteUser begins a user's deletion by setting the state UserDeleting (docs/contract/identity.md
// §3.4). From then on the user's tokens may only be used to leave threads, and to delete threads
// that the user has created or is alone in. After the grace, Sweep erases the user's data.
// DeleteUser removes the custom id and the time of the last token at once. It writes the audit rows
// in the same batch; if it fails, it writes no audit row.
func (s *Service) DeleteUser(ctx context.Context, id string, audit ...Audit) error {
	return s.changeLiveUser(ctx, id, UserRemoved, audit, func(u *User) {
		u.State, u.DeletedAt = UserDeleting, s.now().UnixMilli()
		u.CustomID, u.TokenIssuedAt = "", 0
	})
}

// Leaving reports whether a user was deleted and the user's grace has not ended.
func (s *Service) Leaving(u User) bool {
	return u.State == UserDeleting && s.now().UnixMilli() < u.DeletedAt+s.grace.Milliseconds()
}

// changeLiveUser applies edit to a live user's row and commits the row with the audit rows and an
// event of this kind, which says that the user's tokens have ended. It fails with 401
// IdentityNotOwned if the user is not live. With Options.Adopt it first creates a user whose id
// belongs to this resource and is unknown.
func (s *Service) changeLiveUser(ctx context.Context, id string, kind EventKind, audit []Audit, edit func(*User)) error {
	if !s.resource.Owns(id) {
		return errNotOwned
	}
	ended := Event{Kind: kind, Actor: id}
	return s.changeUser(ctx, id, []Event{ended}, s.stampAll(audit, id), func(u *User) error {
		if s.adopt && u.State == UserUnknown {
			*u = adopted(id)
		}
		if u.State != UserLive {
			return errNotOwned
		}
		edit(u)
		return nil
	})
}

// changeUser applies edit to a user's row and commits the result together with events and audit
// rows. It may call edit several times. If edit returns an error or does not change the row,
// changeUser writes nothing.
func (s *Service) changeUser(ctx context.Context, id string, events []Event, audit []Audit, edit func(*User) error) error {
	_, err := s.change(ctx, func(rows Rows) (*Change, error) {
		us, err := rows.Users(id)
		if err != nil {
			return nil, err
		}
		c := &Change{Key: id, ReadUsers: []User{us[id]}}
		u := us[id]
		err = edit(&u)
		if err == nil && u != us[id] {
			c.PutUsers, c.Events, c.Audits = []User{u}, events, audit
		}
		return c, err
	})
	return err
}

// invalidateUsers removes users from the cache, so that their rows are read from the store again.
// It does not cache the new rows, because of two concurrent changes of a user, the one that was
// committed first may call invalidateUsers last.
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
