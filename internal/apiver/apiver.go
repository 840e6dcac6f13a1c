// Package apiver is the dated list of the api-versions that Confab speaks, and
// Span, a stretch of it.
//
// Everything that differs between versions is a span on a row of a table: on a
// route, on a field of a wire struct. A new version is a row here, and a new
// bound there; no code asks for the version.
package apiver

import "slices"

// Version is the name of an api-version, such as "2021-09-07" or
// "2021-01-27-preview4". Names start with a date and compare as text in the
// order of history; a test holds the lists to that.
type Version string

// List is the api-versions of one API.
type List struct {
	versions []Version
	aliases  map[Version]Version
}

// Chat is the list of the chat routes (docs/contract/api-versions.md §1).
var Chat = &List{
	versions: []Version{
		"2020-11-01-preview3",
		"2021-01-27-preview4",
		"2021-03-07",
		"2021-09-07",
		"2023-11-07",
		"2024-03-07",
		"2025-03-15",
	},
	// A slip in the Java SDK's enum; whether it was ever sent is not known
	// (docs/contract/api-versions.md §6).
	aliases: map[Version]Version{"2021-09-27": "2021-09-07"},
}

// Identity is the list of the identity routes (docs/contract/identity.md §2).
var Identity = &List{
	versions: []Version{
		"2021-03-07",
		"2022-06-01",
		"2022-10-01",
		"2023-10-01",
	},
}

// Parse finds a version by the name that a client sent; ok is false for a name
// that is not in the list.
func (l *List) Parse(name string) (v Version, ok bool) {
	v = Version(name)
	if is, ok := l.aliases[v]; ok {
		return is, true
	}
	return v, slices.Contains(l.versions, v)
}

// Versions returns the list, oldest first. It is shared and must not be changed.
func (l *List) Versions() []Version { return l.versions }

// Span is the versions from Since on and before Until. An empty bound is open,
// so the zero Span is all of history. It has an end because history branches: a
// thing can live in one preview alone.
type Span struct{ Since, Until Version }

// Has reports whether a version lies in the span.
func (s Span) Has(v Version) bool {
	return v >= s.Since && (s.Until == "" || v < s.Until)
}
