package apiver

import (
	"slices"
	"testing"
)

// TestHistory checks that every row names a feature, that its bounds are versions of its API, that
// its spans are in order and do not touch, and that at least one version has the feature and at
// least one does not.
func TestHistory(t *testing.T) {
	for list, features := range history {
		isVersion := func(v Version) bool { return slices.Contains(list.versions, v) }
		for name, spans := range features {
			if name == "" {
				t.Error("a row has no name")
			}
			for i, s := range spans {
				for _, bound := range []Version{s.Since, s.Until} {
					if bound != "" && !isVersion(bound) {
						t.Errorf("%s: bound %q is no version", name, bound)
					}
				}
				if s.Until != "" && s.Until <= s.Since {
					t.Errorf("%s: span %+v is empty", name, s)
				}
				if i > 0 && (spans[i-1].Until == "" || spans[i-1].Until >= s.Since) {
					t.Errorf("%s: span %+v does not lie after the one before", name, s)
				}
			}
			with := slices.ContainsFunc(list.versions, name.Has)
			without := slices.ContainsFunc(list.versions, func(v Version) bool { return !name.Has(v) })
			if !with || !without {
				t.Errorf("%s: some version has it: %v; some version lacks it: %v", name, with, without)
			}
		}
	}
}

func TestFeatureComesGoesAndComesBack(t *testing.T) {
	for v, want := range map[Version]bool{
		"2023-04-01-preview": false,
		"2023-07-01-preview": true,
		"2023-11-07":         false,
		"2023-11-15-preview": true,
		"2024-03-01-preview": true,
		"2024-03-07":         false,
		"2024-03-15-preview": true,
		"2025-03-15":         true,
	} {
		if got := Feature("thread metadata").Has(v); got != want {
			t.Errorf("thread metadata at %s: %v, want %v", v, got, want)
		}
	}
	if !Feature("").Has("2021-03-07") {
		t.Error("the empty feature does not hold at 2021-03-07")
	}
	defer func() {
		if recover() == nil {
			t.Error("a feature without a row does not panic")
		}
	}()
	Feature("no such feature").Has("2021-03-07")
}
