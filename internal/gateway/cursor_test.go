package gateway_test

import (
	"errors"
	"testing"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/gateway"
)

// FuzzParseCursor parses any text as a cursor. It checks that ParseCursor fails with one of
// its two errors, or that FormatCursor makes the same text from the returned cursor.
func FuzzParseCursor(f *testing.F) {
	const epoch, user = "first", "8:acs:x_y"
	threads := []string{"19:a@thread.v2"}
	c := core.Cursor{Epoch: epoch, Position: 42, Check: 7}
	f.Add("")
	f.Add("x")
	f.Add(gateway.FormatCursor(c, user, threads))
	f.Add("\r\n" + gateway.FormatCursor(c, user, threads))
	f.Add(gateway.FormatCursor(c, user, nil))
	f.Add(gateway.FormatCursor(core.Cursor{Epoch: "other", Position: 42}, user, threads))
	f.Fuzz(func(t *testing.T, text string) {
		got, err := gateway.ParseCursor(text, epoch, user, threads)
		switch {
		case errors.Is(err, gateway.ErrCursorDamaged), errors.Is(err, gateway.ErrCursorForeign):
			if got != (core.Cursor{}) {
				t.Errorf("got %+v and %v", got, err)
			}
		case err != nil:
			t.Errorf("an unknown error: %v", err)
		case got.Epoch == epoch:
			if again := gateway.FormatCursor(got, user, threads); again != text {
				t.Errorf("%q is the cursor %+v, which has the text %q", text, got, again)
			}
		case got.Epoch != "":
			t.Errorf("%q has the epoch %q", text, got.Epoch)
		}
	})
}
