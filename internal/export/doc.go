// Package export writes the records of a store as lines of text and reads them
// back. docs/export-format.md describes the file; testdata has one of each line.
//
// A Reader returns io.EOF only after the last line has proved that everything
// before it is as it was written. Whoever keeps nothing before that never keeps
// anything of a file that was cut or altered.
package export

import "github.com/confab-chat/confab/internal/core"

// Format is the version of the file that this package writes, and the greatest
// that it reads.
const Format = 1

// sumEvery is how many rows there are between two checksums, so that an altered
// file is found out early and roughly where.
const sumEvery = 10_000

// maxLine is more than a row can have, in bytes: a message has a megabyte of
// text at most, and a byte of it six characters at most.
const maxLine = 64 << 20

// Summary is what an export holds.
type Summary struct {
	Rows     core.Counts `json:"rows"`
	Checksum string      `json:"sha256"` // of all lines before the last
}

// The first line, the checksums on the way and the last line.
type (
	header struct {
		Confab string `json:"confab"` // "export"
		Format int    `json:"format"`
		Made   int64  `json:"made"`
	}
	sumLine struct {
		Kind     string `json:"kind"`
		Checksum string `json:"sha256"`
	}
	endLine struct {
		Kind string `json:"kind"`
		Summary
	}
)

const (
	kindSum = "sum"
	kindEnd = "end"
)
