// Package transfer writes the records of a store to an export, a text file with one JSON object per
// line, and reads them back. docs/export-format.md describes the format, and testdata has examples.
//
// A Reader returns io.EOF only after it has checked that the file is complete and unaltered. An
// import must commit its changes only after io.EOF; it then never keeps a part of a damaged file.
package transfer

import "github.com/confab-chat/confab/internal/core"

// Format is the version of the export format that a Writer writes. A Reader reads this version
// and all earlier ones. Format 2 added the times of events and the events of users, format 3 the
// metadata and the retention policy with which a member left, format 4 the superseded versions
// of messages, format 5 the custom ids of users, the times of their last tokens, the role ids of
// participants, and the fingerprints of messages, and format 6 the audit rows.
const Format = 6

// sumEvery is the number of rows between two checksum lines. The checksums detect an
// altered file early and show roughly where it was altered.
const sumEvery = 10_000

// maxLine is the greatest length of a line, in bytes. No record needs more: a message has at
// most a megabyte of text, and JSON needs at most six bytes for each byte of text.
const maxLine = 64 << 20

// Summary holds the number of rows in an export, and the export's checksum.
type Summary struct {
	Rows     core.Counts `json:"rows"`
	Checksum string      `json:"sha256"` // hexadecimal SHA-256 of all lines but the last
}

// The lines of an export that are not records: header is the first line, trailer the last, and a
// sumLine with a checksum follows every sumEvery rows.
type (
	header struct {
		Confab string `json:"confab"` // "export"
		Format int    `json:"format"`
		Made   int64  `json:"made"` // epoch milliseconds
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
