package server

import (
	"reflect"
	"slices"
	"testing"
)

// TestWelcomeHoldsNoSecret checks that the template of the welcome page cannot read a field of
// Info that is secret, or that Start may still write while the page is served.
func TestWelcomeHoldsNoSecret(t *testing.T) {
	var names []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[welcomeData]()) {
		if f.Anonymous {
			t.Errorf("%s is embedded: its fields are within reach too", f.Name)
		}
		names = append(names, f.Name)
	}
	if want := []string{"Dev", "Memory", "Endpoint", "Public", "Chat", "CAFile", "Style", "Command"}; !slices.Equal(names, want) {
		t.Errorf("the page can show %q, want %q", names, want)
	}
}
