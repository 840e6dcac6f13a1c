package pebble

import (
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// Damage is the error for a store whose files or rows are missing, unreadable or
// inconsistent. It matches ErrDamaged. Open returns it before it changes anything in
// the folder.
type Damage struct {
	Dir  string // the store's folder
	File string // the name of the damaged file in Dir; "" if the rows contradict each other, not a file
	What string // what is wrong, without File: "it is missing"
	Err  error  // the cause, or nil; Error does not print it
}

// Error returns one line with the folder, the file and what is wrong.
func (d *Damage) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "store %s is damaged: ", d.Dir)
	if d.File != "" {
		fmt.Fprintf(&b, "%s: ", d.File)
	}
	b.WriteString(d.What)
	return b.String()
}

// Is reports whether target is ErrDamaged.
func (d *Damage) Is(target error) bool { return target == ErrDamaged }

// Unwrap returns the cause, or nil.
func (d *Damage) Unwrap() error { return d.Err }

// Remedy returns what an operator can do, as one sentence without a full stop, and what is lost
// at most.
func (d *Damage) Remedy() string {
	what := "bring a backup back with `confab restore`, or save every row that can still be read with `confab export --salvage`"
	switch {
	case d.File == "":
		return what
	case strings.HasSuffix(d.File, tableSuffix), strings.HasSuffix(d.File, blobSuffix):
		return what + "; at most the rows in this file are lost"
	case strings.HasSuffix(d.File, logSuffix):
		return what + "; at most the last changes are lost, those that only this file had"
	}
	return what + "; no row was in this file"
}

// tooNew is the error for a store that a newer version of Confab wrote. It wraps ErrNewer.
type tooNew struct{ error }

// newer returns the error for the store in dir, of which the format and its arguments say why
// it must be a newer version's.
func newer(dir, format string, args ...any) error {
	return &tooNew{fmt.Errorf("store %s was %w: %w", dir, ErrNewer, fmt.Errorf(format, args...))}
}

// Unwrap returns the error with the text.
func (e *tooNew) Unwrap() error { return e.error }

// Remedy returns what an operator can do, as one sentence without a full stop.
func (e *tooNew) Remedy() string {
	return "install that version or a later one; to go back, restore a backup from before the upgrade with `confab restore`"
}

// damaged returns *Damage for rows that cannot be read, which what names. It names the file
// if Pebble does.
func (s *Store) damaged(what string, err error) error {
	file, reason := damagedFile(s, err)
	return &Damage{Dir: s.dir, File: file, What: strings.TrimPrefix(what+": "+reason, ": "), Err: err}
}

// damagedFile returns the name of the file that Pebble found damaged, or "", and the text of
// err. Pebble appends an error whose text says nothing to those that name a file.
func damagedFile(s *Store, err error) (file, reason string) {
	info := pebble.ExtractDataCorruptionInfo(err)
	if info == nil {
		return "", err.Error()
	}
	return s.fs.PathBase(info.Path), info.Details.Error()
}

// unreadable is the error for rows that cannot be read since Pebble found a file damaged.
type unreadable struct {
	path string
	text string
	err  error
}

func (u *unreadable) Error() string { return "read " + u.path + ": " + u.text }
func (u *unreadable) Unwrap() error { return u.err }

// legible returns an error of Pebble's for the log: with the path of a damaged file, in
// place of the error without a text that Pebble appends.
func legible(err error) error {
	info := pebble.ExtractDataCorruptionInfo(err)
	if info == nil {
		return err
	}
	return &unreadable{info.Path, info.Details.Error(), err}
}

// closed closes an iterator and returns its error, also that of its reads.
func closed(it *pebble.Iterator) error { return legible(it.Close()) }
