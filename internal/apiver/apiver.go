// Package apiver lists the api-versions that Confab supports, and says which features of the
// contract each of them has.
//
// A route or a JSON field that exists only in some versions is marked with the name of a [Feature].
// The table history has the versions of each feature. To support a new version, add it to its list
// and adjust the table. No other code depends on versions.
package apiver

import (
	"regexp"
	"slices"
	"time"
)

// Version is the name of an api-version, such as "2021-09-07" or "2021-01-27-preview4".
// Names start with a date, so comparing them as strings gives their chronological order.
type Version string

// List contains the api-versions that one API supports.
type List struct {
	versions []Version // oldest first
	aliases  map[Version]Version
}

// Chat lists the api-versions of the chat routes (docs/contract/api-versions.md §1).
var Chat = &List{
	versions: []Version{
		"2020-09-21-preview2",
		"2020-11-01-preview3",
		"2021-01-27-preview4",
		"2021-03-01-preview5",
		"2021-03-07",
		"2021-04-05-preview6",
		"2021-09-07",
		"2021-10-01-preview7",
		"2023-04-01-preview",
		"2023-07-01-preview",
		"2023-11-07",
		"2023-11-15-preview",
		"2024-03-01-preview",
		"2024-03-07",
		"2024-03-15-preview",
		"2024-06-05-preview",
		"2025-03-15",
	},
	// The Java SDK contains the date 2021-09-27, which is wrong, instead of the version's date
	// (docs/contract/api-versions.md §6). Unverified: that any client sends the wrong date.
	aliases: map[Version]Version{"2021-09-27": "2021-09-07"},
}

// Identity lists the api-versions of the identity routes (docs/contract/identity.md §2).
var Identity = &List{
	versions: []Version{
		"2020-07-20-preview2",
		"2021-02-22-preview1",
		"2021-03-07",
		"2021-03-31-preview1",
		"2021-10-31-preview",
		"2022-06-01",
		"2022-10-01",
		"2023-10-01",
		"2025-03-02-preview",
		"2025-06-30",
	},
	// The alias has no OpenAPI file. A recording shows that the real service lists it.
	aliases: map[Version]Version{"2021-11-01": "2021-10-31-preview"},
}

// Parse returns the version with the given name. An alias (a wrong name that a client may send)
// stands for its version. ok is false for any other name.
func (l *List) Parse(name string) (v Version, ok bool) {
	v = Version(name)
	if is, ok := l.aliases[v]; ok {
		return is, true
	}
	return v, slices.Contains(l.versions, v)
}

// Newest returns the newest version.
func (l *List) Newest() Version { return l.versions[len(l.versions)-1] }

// form is the form of the names of versions: a date, then -preview and a number for a preview.
var form = regexp.MustCompile(`^(\d{4}-\d\d-\d\d)(-preview\d{0,3})?$`)

// Newer reports whether the name has the form of a version, with a date after that of the newest
// version.
func (l *List) Newer(name string) bool {
	parts := form.FindStringSubmatch(name)
	if parts == nil {
		return false
	}
	_, err := time.Parse(time.DateOnly, parts[1])
	return err == nil && parts[1] > string(l.Newest())[:len(time.DateOnly)]
}

// Versions returns the versions, oldest first. The caller must not change the slice.
func (l *List) Versions() []Version { return l.versions }

// Span is a range of api-versions, from Since up to but not including Until. An empty Since or
// Until does not limit the range, so the zero Span contains all versions.
type Span struct{ Since, Until Version }

// Has reports whether the span contains the version.
func (s Span) Has(v Version) bool {
	return v >= s.Since && (s.Until == "" || v < s.Until)
}
