package main

import (
	"os"
	"strings"
	"testing"

	"github.com/confab-chat/confab/chattest"
)

// TestMain starts a server and sets CONFAB_CA_FILE, as `confab run` does.
func TestMain(m *testing.M) { os.Exit(chattest.Main(m)) }

// TestQuickstart runs the program and checks its output.
func TestQuickstart(t *testing.T) {
	s := chattest.Shared(t)
	var out strings.Builder
	if err := run(t.Context(), s.ConnectionString(), &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, want := range []string{
		`created thread 19:`, `the topic is "Dinner" now, the metadata map[place:canteen], and the thread is deleted after 60 days`,
		`edited it: "Where do we eat today?"`, "html             (deleted)", "participantAdded 2 participants",
		"a telephone cannot be in a thread", "in the thread: Fred", "has read up to", "page 2: Dinner",
		"send message: 403 Forbidden", "create thread: 401 Unauthorized", `deleted thread "Dinner"`, "deleted the users",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "Eve\n") && strings.Contains(out.String(), "in the thread: Eve") {
		t.Error("Eve was not removed")
	}
}
