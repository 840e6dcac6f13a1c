// Package transfer moves the records of a store to another: it writes them to an
// export, a file of lines of text, and reads them back. docs/export-format.md describes
// the file; testdata has a line of each kind.
//
// A Reader returns io.EOF only after the checksum of the last line has proved that the
// file is complete and unaltered. An import that commits nothing before then never keeps
// part of a damaged file.
package transfer

import "github.com/confab-chat/confab/internal/core"

// Format is the version of the file that this package writes, and the newest that it
// reads.
const Format = 1

// sumEvery is the number of rows between two checksums, so that an altered file is
// detected early and roughly located.
const sumEvery = 10_000

// maxLine is more than a row can have, in bytes: a message has a megabyte of
// text at most, and a byte of it six characters at most.
const maxLine = 64 << 20

// Summary counts the rows of an export.
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
	trailer struct {
		Kind string `json:"kind"`
		Summary
	}
)

const (
	kindSum     = "sum"
	kindTrailer = "end"
)
