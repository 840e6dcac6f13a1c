package core_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/sdk/communication"
)

// TestManyMoveInAtOnce uses the same three unknown user ids in many concurrent calls, with
// Options.Adopt: in new threads, as added participants, for tokens and for revocations of tokens.
// It checks that every call succeeds, that each id is in every thread, and that each user's
// generation counts all revocations.
func TestManyMoveInAtOnce(t *testing.T) {
	onEngines(t, func(t *testing.T, houses []*house) {
		for _, h := range houses {
			adopting, err := core.New(t.Context(), h.store, new(local.Bus), core.Options{Adopt: true, Now: func() time.Time { return time.UnixMilli(h.now.Load()) }})
			if err != nil {
				t.Fatal(err)
			}
			h.Service.Close()
			h.Service = adopting
			t.Cleanup(adopting.Close)
		}
		const threads, revocations = 16, 3
		ann := houses[0].user(t)
		var stored []string
		var people []core.NewParticipant
		for n := range 3 {
			id := communication.JoinUserID(resourceID, fmt.Sprintf("0000000c-6219-6975-dc7b-%012d", n))
			stored = append(stored, id)
			people = append(people, core.NewParticipant{User: communication.ParseRawID(id)})
		}
		old := houses[0].thread(t, ann)
		made := make([]string, threads)
		var jobs []job
		for i := range threads {
			jobs = append(jobs, job{"creates", func(s *core.Service) error {
				thread, bad, err := s.CreateThread(context.Background(), ann, core.CreateThread{Topic: "t", Participants: people})
				made[i] = thread.ID
				if len(bad) > 0 {
					err = fmt.Errorf("refused: %v", bad)
				}
				return err
			}})
		}
		for i, id := range stored {
			jobs = append(jobs, job{"tokens", func(s *core.Service) error {
				_, err := s.UserForToken(context.Background(), id)
				return err
			}}, job{"additions", func(s *core.Service) error {
				bad, err := s.AddParticipants(context.Background(), ann, old, people[i:i+1])
				if len(bad) > 0 {
					err = fmt.Errorf("refused: %v", bad)
				}
				return err
			}})
			for range revocations {
				jobs = append(jobs, job{"revocations", func(s *core.Service) error { return s.RevokeTokens(context.Background(), id) }})
			}
		}
		run(t, houses, jobs)
		want := map[string]int{ann: 1, stored[0]: 1, stored[1]: 1, stored[2]: 1}
		for _, thread := range append(made, old) {
			got := map[string]int{}
			for _, m := range houses[0].allParticipants(t, ann, thread) {
				got[m.User]++
			}
			equal(t, "participants", got, want)
		}
		for _, id := range stored {
			u, err := houses[0].StoredUser(context.Background(), id)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "the row of a user", u, core.User{ID: id, State: core.UserLive, Generation: 1 + revocations})
		}
	})
}
