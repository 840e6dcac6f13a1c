package pebble

import (
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// Damage is the error for a store whose files or rows are missing, unreadable or inconsistent.
// errors.Is matches it with ErrDamaged. Open returns it before it changes anything in the
// folder.
type Damage struct {
	Dir  string // the store's folder
	File string // the name of the damaged file in Dir; "" if the rows contradict each other, not a file
	What string // what is wrong, without the name of the file, such as "it is missing"
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

// Unwrap returns the error that was the cause, or nil.
func (d *Damage) Unwrap() error { return d.Err }

// Remedy returns one sentence, without a full stop, that says what an operator can do and what
// data may be lost.
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

// newer returns the error for the store in dir, which a newer version wrote. The format and its
// arguments say what this version does not know.
func newer(dir, format string, args ...any) error {
	return &tooNew{fmt.Errorf("store %s was %w: %w", dir, ErrNewer, fmt.Errorf(format, args...))}
}

// Unwrap returns the error that holds the message.
func (e *tooNew) Unwrap() error { return e.error }

// Remedy returns what an operator can do, as one sentence without a full stop.
func (e *tooNew) Remedy() string {
	return "install that version or a later one; to go back, restore a backup from before the upgrade with `confab restore`"
}

// damaged returns a *Damage for rows that cannot be read. what names these rows, or is "". The
// *Damage has the name of the damaged file if Pebble's error has it.
func (s *Store) damaged(what string, err error) error {
	file, reason := damagedFile(s, err)
	return &Damage{Dir: s.dir, File: file, What: strings.TrimPrefix(what+": "+reason, ": "), Err: err}
}

// damagedFile returns the base name of the file that Pebble found damaged, or "", and the reason.
// If an error of Pebble names a file, the reason is only in the error's details: the text of the
// error itself has no useful information.
func damagedFile(s *Store, err error) (file, reason string) {
	info := pebble.ExtractDataCorruptionInfo(err)
	if info == nil {
		return "", err.Error()
	}
	return s.fs.PathBase(info.Path), info.Details.Error()
}

// unreadable is the error for rows that cannot be read because Pebble found a file damaged.
type unreadable struct {
	path string
	text string
	err  error
}

func (u *unreadable) Error() string { return "read " + u.path + ": " + u.text }
func (u *unreadable) Unwrap() error { return u.err }

// legible returns an error of Pebble's in a form that is useful in a log: with the path of the
// damaged file and the reason, without the meaningless text that Pebble appends. It returns
// other errors unchanged.
func legible(err error) error {
	info := pebble.ExtractDataCorruptionInfo(err)
	if info == nil {
		return err
	}
	return &unreadable{info.Path, info.Details.Error(), err}
}

// closed closes an iterator. It returns an error of an earlier read or of the close.
func closed(it *pebble.Iterator) error { return legible(it.Close()) }
