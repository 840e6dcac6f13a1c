package storetest

import (
	"context"
	"testing"

	"github.com/confab-chat/confab/internal/core"
)

// testUserList reads the list of all users in pages of several sizes. One id is a prefix of
// another one, and two ids would be sorted differently by the rules of a language than by their
// bytes.
func testUserList(t *testing.T, e Engine) {
	s := e.Open(t)
	defer closeStore(t, s)
	all := []core.User{
		{ID: user(1), State: core.UserLive, Generation: 3},
		{ID: user(2), State: core.UserDeleting, Generation: 1, DeletedAt: start},
		{ID: user(2) + "0", State: core.UserLive, Generation: 1},
		{ID: user(3), State: core.UserDeleted, Generation: 1, DeletedAt: start},
		{ID: "8:orgid:Zoe", State: core.UserLive, Generation: 1},
		{ID: "8:orgid:ann", State: core.UserLive, Generation: 1},
	}
	for _, i := range []int{4, 0, 5, 3, 2, 1} {
		apply(t, s, start, putUser(core.User{ID: all[i].ID}, all[i]))
	}
	apply(t, s, start, create(thread(1), "", user(1))) // write rows of other kinds, which ListUsers must not return
	for limit := 1; limit <= len(all)+1; limit++ {
		var got []core.User
		for after := ""; ; after = got[len(got)-1].ID {
			page, err := s.ListUsers(context.Background(), after, limit)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) > limit {
				t.Fatalf("a page of %d users, want at most %d", len(page), limit)
			}
			if len(page) == 0 {
				break
			}
			got = append(got, page...)
		}
		mustEqual(t, "all users", got, all)
	}
	page, err := s.ListUsers(context.Background(), user(2)[:len(user(2))-1], 1) // no user has this id
	if err != nil || len(page) != 1 || page[0].ID != user(1) {
		t.Errorf("after the beginning of an id: %+v, %v, want %s", page, err, user(1))
	}
}
