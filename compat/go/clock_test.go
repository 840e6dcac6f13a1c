package compat

import (
	"net/http"
	"testing"

	"github.com/confab-chat/confab/sdk/chat"
	"github.com/confab-chat/confab/sdk/communication"
)

// TestRetention checks that a thread with a retention policy is deleted when it is due, and that a
// thread without a policy is kept.
func TestRetention(t *testing.T) {
	ids := newIdentity(t)
	user, err := ids.CreateUser(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	client, err := chat.NewClient(connection.Endpoint(), ids.NewTokenCredential(user, nil), nil) // use a credential that renews its token, because the test moves the clock
	if err != nil {
		t.Fatal(err)
	}
	var threads []*chat.ThreadClient
	for _, policy := range []chat.RetentionPolicy{{DeleteThreadAfterDays: 30}, {}} {
		made, err := client.CreateThread(t.Context(), "lunch", &chat.CreateThreadOptions{RetentionPolicy: policy})
		if err != nil {
			t.Fatal(err)
		}
		threads = append(threads, client.NewThreadClient(made.Thread.ID))
	}
	dev(t, http.MethodPost, "/dev/clock", `{"advance":"719h"}`)
	for _, thread := range threads {
		send(t, thread, "an hour before its end")
	}
	dev(t, http.MethodPost, "/dev/clock", `{"advance":"2h"}`)
	_, err = threads[0].GetProperties(t.Context())
	mustBe(t, "a thread that is over", err, communication.ErrNotFound)
	send(t, threads[1], "still here")
	for item, err := range client.ListThreads(t.Context(), nil) {
		if err != nil || (item.ID == threads[0].ID()) == item.DeletedOn.IsZero() {
			t.Errorf("the list shows %+v, %v", item, err)
		}
	}
}
