package server

import (
	"reflect"
	"slices"
	"testing"
)

// TestWelcomeHoldsNoSecret checks that no field of Info with a secret, or that Start still writes
// while the page is served, is within reach of the template.
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
