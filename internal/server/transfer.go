package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/transfer"
)

// ExportOptions configures Export. The field Row is required.
type ExportOptions struct {
	Keys bool      // include the access keys
	Now  time.Time // time of the export, which is written into the file
	Row  func()    // called before each record is written
}

// Options with which Export and Import open the store. The cache is small, because each row is
// read or written only once.
var (
	forExport = storeOptions{cache: 8 << 20, memTable: 4 << 20, readOnly: true}
	forImport = storeOptions{cache: 8 << 20}
)

// Export writes all records of the store of the settings to out and returns their number and
// checksum. It changes nothing in an embedded store, so the data folder may also be a backup. It
// fails with *NoDataError if the store does not exist, with *UnfinishedError if the folder is
// unfinished, and with *DataInUseError if a server uses the embedded store; the caller can then
// export a backup instead. It works on a full disk.
func Export(ctx context.Context, c config.Config, out io.Writer, o ExportOptions) (sum transfer.Summary, err error) {
	if c.Database == "" {
		if err := CheckFinished(c.Data); err != nil {
			return sum, err
		}
		if !hasStore(c) {
			return sum, &NoDataError{Path: c.Data}
		}
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

// Import reads an export into the store of the settings, which must be empty or not exist. If
// the engine can do so, Import then checks all rows and compares their number with that in the
// export. It calls row for each record, to show progress. keys reports whether the export
// contained access keys.
//
// A data folder is marked as unfinished until Import has succeeded. If Import fails, it removes
// a store that it created, and deletes the rows that it wrote to an existing store. If it cannot
// delete them, or if the check of the rows failed, the folder keeps the mark.
func Import(ctx context.Context, c config.Config, in io.Reader, row func()) (sum transfer.Summary, keys bool, err error) {
	im := importing{ctx: ctx, reader: transfer.NewReader(in), row: row}
	if c.Database != "" || c.InMemory() {
		err = im.into(c)
		return im.reader.Summary(), im.keys, err
	}
	if err := checkData(c); err != nil {
		return sum, false, err
	}
	if hasStore(c) {
		err = im.intoExisting(c)
	} else {
		err = im.intoNew(c)
	}
	return im.reader.Summary(), im.keys, err
}

// importing is the state of one Import.
type importing struct {
	ctx    context.Context
	reader *transfer.Reader
	row    func()       // called for each record
	begin  func() error // called when the store was found to be empty, before the first row is written, or nil
	keys   bool         // the export has access keys
	wrote  bool         // whether the engine has imported all rows; a later check may still find them wrong
}

// intoNew imports into a data folder without a store. It marks the folder as unfinished before it
// creates the store, because otherwise a server could start on the new, empty store.
func (im *importing) intoNew(c config.Config) error {
	_, err := os.Stat(c.Data)
	created := errors.Is(err, os.ErrNotExist)
	if err := makeFolder(c.Data); err != nil {
		return err
	}
	err = markUnfinished(c.Data)
	if err == nil {
		if err = im.into(c); err == nil {
			return markFinished(c.Data)
		}
		var inUse *DataInUseError // this error means that another server has just created the store
		if errors.As(err, &inUse) {
			err = errors.Join(err, discard(c.Data))
		} else {
			err = errors.Join(err, discard(c.Data, storeName))
		}
	}
	if created {
		os.Remove(c.Data)
	}
	return err
}

// intoExisting imports into the store of a data folder. It marks the folder as unfinished only
// after it has found that the store is empty, because the mark tells the owner to remove the
// store, which must not happen to a store with rows.
func (im *importing) intoExisting(c config.Config) error {
	marked := false
	im.begin = func() error {
		err := markUnfinished(c.Data)
		marked = err == nil
		return err
	}
	err := im.into(c)
	if marked && (err == nil || !im.wrote) {
		err = errors.Join(err, markFinished(c.Data)) // remove the mark of the folder; if the engine could not delete the rows, the store has a mark of its own
	}
	return err
}

// into imports an export into the store of the settings, checks the rows, and closes the store.
func (im *importing) into(c config.Config) error {
	s, err := openStore(im.ctx, c, forImport)
	if err != nil {
		return err
	}
	importer, ok := s.(core.Importer)
	if !ok {
		return errors.Join(errors.New("this store cannot import"), s.Close())
	}
	err = importer.Import(im.ctx, im.next)
	im.wrote = err == nil
	if checker, ok := s.(core.Checker); ok && err == nil {
		var rows core.Counts
		rows, err = checker.Check(im.ctx)
		if want := im.reader.Summary().Rows; err == nil && rows != want {
			err = fmt.Errorf("the store has the rows %+v after the import of %+v", rows, want)
		}
	}
	return errors.Join(err, s.Close())
}

// next returns the next record of the export. Before the first record it calls im.begin.
func (im *importing) next() (core.Record, error) {
	if begin := im.begin; begin != nil {
		im.begin = nil
		if err := begin(); err != nil {
			return nil, err
		}
	}
	record, err := im.reader.Next()
	if err != nil {
		return nil, err
	}
	im.row()
	if resource, ok := record.(core.Resource); ok {
		im.keys = len(resource.Keys[0].Secret) > 0
	}
	return record, nil
}
