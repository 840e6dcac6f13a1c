package server

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/export"
)

type (
	// Moved is what an export or an import moved.
	Moved = export.Summary
	// Counts are rows by their kinds.
	Counts = core.Counts
	// ExportError is what is wrong with an export, and in which line.
	ExportError = export.Error
)

// ExportOptions of Export.
type ExportOptions struct {
	Keys bool // the access keys too
	Now  time.Time
	Row  func() // told of each record
}

// How a store is opened whose rows are read or written once: a cache of more
// than the blocks at hand would hold memory and nothing that is asked for again.
var (
	forExport = storeOptions{cache: 8 << 20, memTable: 4 << 20}
	forImport = storeOptions{cache: 8 << 20}
)

// Export writes all that the store of the settings holds. No server may run on
// an embedded one: of that a backup is exported.
func Export(ctx context.Context, c config.Config, out io.Writer, o ExportOptions) (m Moved, err error) {
	if c.Database == "" && !hasStore(c) {
		return m, &NoDataError{Path: c.Data}
	}
	s, err := openStore(ctx, c, forExport)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	w := export.NewWriter(out, export.Options{Made: o.Now.UnixMilli(), Keys: o.Keys})
	exporter, ok := s.(core.Exporter)
	if !ok {
		return m, errors.New("this store cannot be exported")
	}
	err = exporter.Export(ctx, func(r core.Record) error {
		o.Row()
		return w.Write(r)
	})
	if err != nil {
		return m, err
	}
	return w.Close()
}

// Import fills the store of the settings, which is empty or not there, and
// reads all of it where the engine can. keys says whether the access keys came
// with the export.
func Import(ctx context.Context, c config.Config, in io.Reader, row func()) (m Moved, keys bool, err error) {
	made := c.Database == "" && !hasStore(c)
	_, err = os.Stat(c.Data)
	folder := made && errors.Is(err, os.ErrNotExist)
	s, err := openStore(ctx, c, forImport)
	if err != nil {
		return m, false, err
	}
	defer func() {
		err = errors.Join(err, s.Close())
		if err != nil && made {
			err = errors.Join(err, os.RemoveAll(storeFolder(c.Data)))
		}
		if err != nil && folder {
			os.Remove(c.Data)
		}
	}()
	importer, ok := s.(core.Importer)
	if !ok {
		return m, false, errors.New("this store cannot import")
	}
	r := export.NewReader(in)
	err = importer.Import(ctx, func() (core.Record, error) {
		record, err := r.Next()
		if err != nil {
			return nil, err
		}
		row()
		if resource, ok := record.(core.Resource); ok {
			keys = len(resource.Keys[0].Secret) > 0
		}
		return record, nil
	})
	if checker, ok := s.(core.Checker); ok && err == nil {
		_, err = checker.Check(ctx)
	}
	return r.Summary(), keys, err
}
