package pebble

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// Pebble's logs and manifests are sequences of records. A file is divided into blocks of 32
// KiB. A record consists of one or more chunks. No chunk crosses the end of a block; if the
// rest of a block is too short for a chunk, it is filled with zeros. A chunk has a header,
// which is
//
//	checksum(4) length(2) kind(1)                             in a manifest
//	checksum(4) length(2) kind(1) log(4)                      in a log, before Pebble's format 21
//	checksum(4) length(2) kind(1) log(4) synced offset(8)     in a log
//
// and then a payload of length bytes. Pebble writes new logs over old ones; the log number in
// the header tells the chunks of the two apart. The synced offset says how many bytes of the
// log were durable before the chunk was written. A log that was closed ends with a header that
// has length 0 and the next log's number.
//
// Pebble's own reader takes the first chunk that it cannot read for the end of the file. The
// reader in this file says what it found there.
const (
	blockSize = 32 << 10

	plainHeader  = 7
	logHeader    = plainHeader + 4
	syncedHeader = logHeader + 8
)

// chunkPart says which part of a record a chunk holds.
type chunkPart byte

const (
	whole chunkPart = iota + 1
	first
	middle
	last
)

// chunk is one chunk of a log or a manifest.
type chunk struct {
	part    chunkPart
	payload []byte // payload of the chunk; valid until the next call of the reader
	synced  int64  // bytes of the log that were durable before this chunk was written; 0 if the chunk does not say
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum returns the checksum for a chunk; b is the chunk from its kind to the end of its
// payload.
func checksum(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}

// badChunk is the error for bytes that cannot be read as a chunk of the file.
type badChunk struct {
	what string // what is wrong, as in "a record's checksum is wrong"
	torn bool   // the file ends before the chunk does
	zero bool   // the bytes are zero
	old  bool   // true if the bytes are a valid chunk of another log
}

func (b *badChunk) Error() string { return b.what }

// errClosed is returned at the end of a log that was closed properly.
var errClosed = errors.New("the log was closed")

// parseChunk reads the chunk at the start of b; b must end where the chunk's block or the file
// ends. It returns the chunk and its length, header included. log is the number of the log that
// is read; it is ignored for chunks of a manifest, which have none. It fails with errClosed or
// *badChunk.
func parseChunk(b []byte, log uint32) (c chunk, n int, err error) {
	bad := func(what string) (chunk, int, error) { return chunk{}, 0, &badChunk{what: what} }
	if len(b) < plainHeader {
		return chunk{}, 0, &badChunk{what: "a record is cut off", torn: true}
	}
	sum, length, kind := binary.LittleEndian.Uint32(b), int(binary.LittleEndian.Uint16(b[4:])), b[6]
	if kind == 0 && sum == 0 && length == 0 {
		return chunk{}, 0, &badChunk{what: "zeros instead of a record", zero: true}
	}
	header := plainHeader
	switch {
	case kind == 0 || kind > 12:
		return bad("no record begins here")
	case kind > 8:
		header = syncedHeader
	case kind > 4:
		header = logHeader
	}
	if len(b) < header {
		return chunk{}, 0, &badChunk{what: "a record is cut off", torn: true}
	}
	other := false
	if header > plainHeader {
		switch number := binary.LittleEndian.Uint32(b[plainHeader:]); {
		case number == log+1 && length == 0 && sum == 0:
			return chunk{}, 0, errClosed
		case number != log:
			other = true
		}
	}
	n = header + length
	if n > len(b) {
		return chunk{}, 0, &badChunk{what: "a record is cut off", torn: true}
	}
	switch {
	case sum != checksum(b[6:n]):
		return bad("a record's checksum is wrong")
	case other:
		return chunk{}, 0, &badChunk{what: "a record of another log", old: true}
	}
	c = chunk{part: chunkPart((kind-1)%4 + 1), payload: b[header:n]}
	if header == syncedHeader {
		c.synced = int64(binary.LittleEndian.Uint64(b[logHeader:]))
	}
	return c, n, nil
}

// chunkReader reads the chunks of a log or a manifest, one after another.
type chunkReader struct {
	r     io.Reader
	log   uint32 // number of the log; ignored for a manifest
	start int64  // offset of the block in buf
	at    int    // index in buf at which the next chunk starts
	n     int    // bytes of buf that are valid
	ended bool   // the file has no more blocks
	open  bool   // true if the record of the last chunk continues in the next chunk
	buf   [blockSize]byte
}

func newChunkReader(r io.Reader, number uint64) *chunkReader {
	return &chunkReader{r: r, log: uint32(number)}
}

// offset returns the offset in the file at which the next chunk starts.
func (c *chunkReader) offset() int64 { return c.start + int64(c.at) }

// load reads the next block of the file. It returns io.EOF after the last block.
func (c *chunkReader) load() error {
	c.start += int64(c.n)
	c.at, c.n = 0, 0
	if c.ended {
		return io.EOF
	}
	n, err := io.ReadFull(c.r, c.buf[:])
	c.n = n
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		c.ended = true
		if n > 0 {
			err = nil
		} else {
			err = io.EOF
		}
	}
	return err
}

// next returns the next chunk. It returns io.EOF if the file ends where a record may start,
// errClosed at the end of a closed log, and *badChunk at the first bytes that cannot be read as
// a chunk. After *badChunk, offset returns where these bytes start.
func (c *chunkReader) next() (chunk, error) {
	for {
		rest := c.buf[c.at:c.n]
		if padding(rest, c.ended) {
			if err := c.load(); errors.Is(err, io.EOF) && c.open {
				return chunk{}, &badChunk{what: "a record is cut off", torn: true}
			} else if err != nil {
				return chunk{}, err
			}
			continue
		}
		k, n, err := parseChunk(rest, c.log)
		if err == nil && c.open != (k.part == middle || k.part == last) {
			err = &badChunk{what: "a part of a record stands alone"}
		}
		switch {
		case errors.Is(err, errClosed) && c.open:
			err = &badChunk{what: "the log ends inside a record"}
		case errors.Is(err, errClosed):
			c.at += logHeader
		}
		if err != nil {
			return chunk{}, err
		}
		c.at += n
		c.open = k.part == first || k.part == middle
		return k, nil
	}
}

// padding reports whether rest, the end of a block, is only padding because it is too short for
// another chunk. ended says that the block is the last one of the file; there, any bytes are
// the start of a chunk.
func padding(rest []byte, ended bool) bool {
	switch {
	case len(rest) < plainHeader:
		return len(rest) == 0 || !ended
	case len(rest) < syncedHeader:
		return allZero(rest)
	}
	return false
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// tail describes the bytes behind the last chunk that can be read.
type tail struct {
	bytes    int64 // number of bytes that are neither zero nor a chunk of an older log that this log overwrites
	promised int64 // the greatest offset up to which a later chunk says that the log was durable
	chunks   int   // number of chunks of this log that follow unreadable bytes
}

// tail reads the rest of the file and counts its bytes and chunks.
func (c *chunkReader) tail() (t tail, err error) {
	for ; err == nil; err = c.load() {
		rest := c.buf[c.at:c.n]
		for err == nil {
			var k chunk
			var n int
			k, n, err = parseChunk(rest, c.log)
			if err == nil {
				t.promised = max(t.promised, k.synced)
				t.chunks++
				t.bytes += int64(n)
				rest = rest[n:]
			}
		}
		if bad := (*badChunk)(nil); errors.As(err, &bad) && bad.old {
			continue
		}
		for len(rest) > 0 && rest[len(rest)-1] == 0 {
			rest = rest[:len(rest)-1]
		}
		t.bytes += int64(len(rest))
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return t, err
}
