package server

import (
	"errors"
	"io"
	"testing"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/core"
)

// TestUnfinishedFolderIsNotRead checks that Check and Salvage refuse a data folder in which a
// restore has not finished.
func TestUnfinishedFolderIsNotRead(t *testing.T) {
	c := config.Config{Data: t.TempDir()}
	s, err := openEmbedded(c, core.Resource{ID: newGUID(), Epoch: newGUID(), Keys: initialKeys(c)}, storeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Close(), markUnfinished(c.Data)); err != nil {
		t.Fatal(err)
	}
	_, checked := Check(t.Context(), c, func(string) {})
	_, _, salvaged := Salvage(t.Context(), c, io.Discard, t.TempDir(), ExportOptions{Row: func() {}})
	for name, err := range map[string]error{"check": checked, "salvage": salvaged} {
		if unfinished := (*UnfinishedError)(nil); !errors.As(err, &unfinished) {
			t.Errorf("%s of an unfinished folder: %v, want *UnfinishedError", name, err)
		}
	}
}
