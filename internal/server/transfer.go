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

// ExportOptions configures Export. Row is required.
type ExportOptions struct {
	Keys bool      // include the access keys
	Now  time.Time // time of the export, written to the file
	Row  func()    // called before each record is written
}

// The store's options for Export and Import. The cache is small, because each row is
// read or written only once.
var (
	forExport = storeOptions{cache: 8 << 20, memTable: 4 << 20}
	forImport = storeOptions{cache: 8 << 20}
)

// Export writes all records of the store of the settings to out and returns their summary.
// It fails with *NoDataError if the store does not exist, and with *DataInUseError if a
// server uses the embedded store; export a backup then.
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

// Import reads an export into the store of the settings, which must be empty or not
// exist, and checks all rows if the engine can. It calls row for each record, to show
// progress. keys reports whether the export contained access keys. If Import fails, it
// removes a store that it created.
func Import(ctx context.Context, c config.Config, in io.Reader, row func()) (sum transfer.Summary, keys bool, err error) {
	newStore := c.Database == "" && !hasStore(c)
	_, err = os.Stat(c.Data)
	newFolder := newStore && errors.Is(err, os.ErrNotExist)
	s, err := openStore(ctx, c, forImport)
	if err != nil {
		return sum, false, err
	}
	defer func() {
		err = errors.Join(err, s.Close())
		if err != nil && newStore {
			err = errors.Join(err, os.RemoveAll(storeFolder(c.Data)))
		}
		if err != nil && newFolder {
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
