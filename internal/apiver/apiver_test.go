package apiver_test

import (
	"slices"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/apiver"
)

func TestListsAreInTheOrderOfHistory(t *testing.T) {
	for _, f := range []*apiver.List{apiver.Chat, apiver.Identity} {
		vs := f.Versions()
		if !slices.IsSorted(vs) || len(slices.Compact(slices.Clone(vs))) != len(vs) {
			t.Errorf("versions %q are not in order or not unique", vs)
		}
		for _, v := range vs {
			if _, err := time.Parse(time.DateOnly, string(v[:10])); err != nil {
				t.Errorf("version %q does not start with a date", v)
			}
		}
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		list *apiver.List
		name string
		want apiver.Version
		ok   bool
	}{
		{apiver.Chat, "2021-09-07", "2021-09-07", true},
		{apiver.Chat, "2021-09-27", "2021-09-07", true},
		{apiver.Chat, "2020-11-01-preview3", "2020-11-01-preview3", true},
		{apiver.Chat, "2020-11-01", "2020-11-01", false},
		{apiver.Chat, "2022-10-01", "2022-10-01", false},
		{apiver.Identity, "2022-10-01", "2022-10-01", true},
		{apiver.Identity, "2021-09-27", "2021-09-27", false},
		{apiver.Identity, "2020-07-20-preview2", "2020-07-20-preview2", true},
		{apiver.Identity, "2020-07-20-preview1", "2020-07-20-preview1", false},
		{apiver.Identity, "2021-11-01", "2021-10-31-preview", true},
		{apiver.Identity, "2023-08-01", "2023-08-01", false},
		{apiver.Identity, "", "", false},
	} {
		if got, ok := c.list.Parse(c.name); got != c.want || ok != c.ok {
			t.Errorf("Parse(%q) = %q, %v; want %q, %v", c.name, got, ok, c.want, c.ok)
		}
	}
}

func TestNewer(t *testing.T) {
	for _, c := range []struct {
		list *apiver.List
		name string
		want bool
	}{
		{apiver.Chat, "2031-01-01", true},
		{apiver.Chat, "2025-03-16-preview", true},
		{apiver.Chat, "2031-01-01-preview12", true},
		{apiver.Chat, "2025-03-15", false},
		{apiver.Chat, "2025-03-15-preview", false}, // refused, although the date is the date of a known version
		{apiver.Chat, "2024-12-31", false},         // a date between known versions
		{apiver.Chat, "2031-02-30", false},
		{apiver.Chat, "2031-01-01-beta", false},
		{apiver.Chat, "2031-01-01 ", false},
		{apiver.Chat, "2031-1-1", false},
		{apiver.Chat, "latest", false},
		{apiver.Chat, "", false},
		{apiver.Identity, "2031-01-01", true},
		{apiver.Identity, "2023-08-01", false},
	} {
		if got := c.list.Newer(c.name); got != c.want {
			t.Errorf("Newer(%q) = %v, want %v", c.name, got, c.want)
		}
	}
}

func TestSpan(t *testing.T) {
	onePreview := apiver.Span{Since: "2021-01-27-preview4", Until: "2021-03-07"}
	for _, c := range []struct {
		span apiver.Span
		v    apiver.Version
		want bool
	}{
		{apiver.Span{}, "2020-11-01-preview3", true},
		{apiver.Span{Since: "2021-09-07"}, "2021-03-07", false},
		{apiver.Span{Since: "2021-09-07"}, "2021-09-07", true},
		{apiver.Span{Since: "2021-09-07"}, "2025-03-15", true},
		{onePreview, "2020-11-01-preview3", false},
		{onePreview, "2021-01-27-preview4", true},
		{onePreview, "2021-03-07", false},
	} {
		if got := c.span.Has(c.v); got != c.want {
			t.Errorf("%+v.Has(%q) = %v, want %v", c.span, c.v, got, c.want)
		}
	}
}
