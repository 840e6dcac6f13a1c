package server

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/transfer"
)

// ExportOptions of Export.
type ExportOptions struct {
	Keys bool // with the access keys
	Now  time.Time
	Row  func() // called for each record
}

// Options of a store whose rows are read or written once: a bigger cache would hold
// memory and nothing that is read again.
var (
	forExport = storeOptions{cache: 8 << 20, memTable: 4 << 20}
	forImport = storeOptions{cache: 8 << 20}
)

// Export writes all records of the store of the settings to out. No server may run on
// an embedded store; export a backup of it instead.
func Export(ctx context.Context, c config.Config, out io.Writer, o ExportOptions) (sum transfer.Summary, err error) {
	if c.Database == "" && !hasStore(c) {
		return sum, &NoDataError{Path: c.Data}
	}
	s, err := openStore(ctx, c, forExport)
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	w := transfer.NewWriter(out, transfer.Options{Made: o.Now.UnixMilli(), Keys: o.Keys})
	exporter, ok := s.(core.Exporter)
	if !ok {
		return sum, errors.New("this store cannot be exported")
	}
	err = exporter.Export(ctx, func(r core.Record) error {
		o.Row()
		return w.Write(r)
	})
	if err != nil {
		return sum, err
	}
	return w.Close()
}

// Import fills the store of the settings, which must be empty or not exist, and checks
// all of it where the engine can. keys reports whether the export has the access keys.
func Import(ctx context.Context, c config.Config, in io.Reader, row func()) (sum transfer.Summary, keys bool, err error) {
	made := c.Database == "" && !hasStore(c)
	_, err = os.Stat(c.Data)
	folder := made && errors.Is(err, os.ErrNotExist)
	s, err := openStore(ctx, c, forImport)
	if err != nil {
		return sum, false, err
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
		return sum, false, errors.New("this store cannot import")
	}
	r := transfer.NewReader(in)
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
