package receipt

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	segmentSuffix = ".receipts"
	// segmentSize is where a new segment begins: small enough that one record is found, and purged, in milliseconds.
	segmentSize = 4 << 20
	maxLine     = 4 << 20
	leafDomain  = "rampart-receipt-v1\x00"
	purgedSalt  = "-"
)

// ErrDamaged says that the journal's bytes are not what was written: a line before the last one does not parse,
// or numbers are missing. The message names the file and the offset.
var ErrDamaged = errors.New("the receipts' journal is damaged")

// misplaced is a record that stands at another's number.
type misplaced struct{ seq, want uint64 }

func (m *misplaced) Error() string {
	return fmt.Sprintf("record %d stands where %d belongs", m.seq, m.want)
}

// Record is one line of the journal.
type Record struct {
	Seq  uint64
	Salt []byte // nil when purged
	Body []byte // the receipt's JSON; nil when purged
	Leaf [sha256.Size]byte
}

// Purged reports whether only the record's leaf is left.
func (r Record) Purged() bool { return r.Body == nil }

func leafOf(salt, body []byte) (leaf [sha256.Size]byte) {
	h := sha256.New()
	h.Write([]byte(leafDomain))
	h.Write(salt)
	h.Write(body)
	h.Sum(leaf[:0])
	return leaf
}

func appendLine(dst []byte, r Record) []byte {
	dst = strconv.AppendUint(dst, r.Seq, 10)
	if r.Purged() {
		dst = append(dst, " "+purgedSalt+" "...)
		dst = hex.AppendEncode(dst, r.Leaf[:])
		return append(dst, '\n')
	}
	dst = append(dst, ' ')
	dst = hex.AppendEncode(dst, r.Salt)
	dst = append(dst, ' ')
	dst = append(dst, r.Body...)
	return append(dst, '\n')
}

// parseLine reads a line without its newline. The record's slices are copies.
func parseLine(line []byte) (Record, error) {
	seq, rest, ok1 := bytes.Cut(line, []byte{' '})
	salt, body, ok2 := bytes.Cut(rest, []byte{' '})
	if !ok1 || !ok2 || len(body) == 0 {
		return Record{}, errors.New("not a record")
	}
	n, err := strconv.ParseUint(string(seq), 10, 64)
	if err != nil {
		return Record{}, fmt.Errorf("no number: %w", err)
	}
	r := Record{Seq: n}
	if string(salt) == purgedSalt {
		leaf, err := hex.DecodeString(string(body))
		if err != nil || len(leaf) != sha256.Size {
			return Record{}, errors.New("a purged record without its digest")
		}
		copy(r.Leaf[:], leaf)
		return r, nil
	}
	if r.Salt, err = hex.DecodeString(string(salt)); err != nil {
		return Record{}, fmt.Errorf("salt: %w", err)
	}
	r.Body = bytes.Clone(body)
	r.Leaf = leafOf(r.Salt, r.Body)
	return r, nil
}

// journal is the append-only file of records. One goroutine writes.
type journal struct {
	dir  string
	file *os.File
	size int64  // of the current segment, up to the last whole record
	next uint64 // the number of the next record
	// torn is what was cut from the last segment at opening: bytes of a record whose write was cut short.
	torn int64
	// notable is the number behind the last record at opening that is not about an anchor, as far as the last
	// segment tells: too high a number only means one anchor too many.
	notable uint64
}

func segmentName(first uint64) string { return fmt.Sprintf("%020d%s", first, segmentSuffix) }

// segments lists the journal's files in order, with the number of each one's first record.
func segments(dir string) (names []string, firsts []uint64, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries { // ReadDir sorts, and the names have a fixed width
		base, ok := strings.CutSuffix(e.Name(), segmentSuffix)
		if !ok {
			continue
		}
		first, err := strconv.ParseUint(base, 10, 64)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %s is no segment's name", ErrDamaged, e.Name())
		}
		names, firsts = append(names, e.Name()), append(firsts, first)
	}
	return names, firsts, nil
}

// openJournal opens or makes the journal, reads its last segment, and cuts a record whose write was torn.
func openJournal(dir string) (*journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the receipts' journal: %w", err)
	}
	names, firsts, err := segments(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the receipts' journal: %w", err)
	}
	j := &journal{dir: dir}
	if len(names) == 0 {
		return j, j.startSegment()
	}
	last := len(names) - 1
	path := filepath.Join(dir, names[last])
	f, err := os.OpenFile(path, os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the receipts' journal: %w", err)
	}
	j.file, j.next = f, firsts[last]
	whole, err := scanSegment(f, path, firsts[last], 0, func(r Record) error {
		j.next = r.Seq + 1
		if !bytes.Contains(r.Body, []byte(`"kind":"anchor"`)) {
			j.notable = j.next
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading the receipts' journal: %w", err), f.Close())
	}
	if j.torn = info.Size() - whole; j.torn > 0 {
		if err := errors.Join(f.Truncate(whole), f.Sync()); err != nil {
			return nil, errors.Join(fmt.Errorf("cutting a torn record from %s: %w", path, err), f.Close())
		}
	}
	j.size = whole
	return j, nil
}

// scanSegment calls fn for each whole record from number from on, and returns the offset behind the last one. Only the
// end of a file may be torn: a bad line with whole ones after it is ErrDamaged. Records before from are passed over unread.
func scanSegment(f io.Reader, path string, first, from uint64, fn func(Record) error) (int64, error) {
	in := bufio.NewReaderSize(f, 256<<10)
	var offset int64
	want := first
	for {
		line, err := readLine(in)
		if err == io.EOF {
			return offset, nil // what is left has no newline: torn, or nothing
		}
		if err != nil {
			return offset, fmt.Errorf("reading %s at byte %d: %w", path, offset, err)
		}
		if want < from {
			offset += int64(len(line))
			want++
			continue
		}
		r, perr := parseLine(line[:len(line)-1])
		if perr != nil || r.Seq != want {
			if _, err := in.Peek(1); perr != nil && err == io.EOF {
				return offset, nil // the very last line, written in part over preallocated blocks
			}
			if perr == nil {
				perr = &misplaced{r.Seq, want}
			}
			return offset, fmt.Errorf("%w: %s, byte %d: %w", ErrDamaged, path, offset, perr)
		}
		if err := fn(r); err != nil {
			return offset, err
		}
		offset += int64(len(line))
		want++
	}
}

// readLine returns a line with its newline, io.EOF when the rest has none.
func readLine(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if err == nil || err == io.EOF {
		return line, err
	}
	long := bytes.Clone(line)
	for errors.Is(err, bufio.ErrBufferFull) && len(long) <= maxLine {
		line, err = in.ReadSlice('\n')
		long = append(long, line...)
	}
	if len(long) > maxLine {
		return nil, fmt.Errorf("%w: a line of more than %d bytes", ErrDamaged, maxLine)
	}
	return long, err
}

// scan calls fn for every record from number from on, in order.
func scan(dir string, from uint64, fn func(Record) error) error {
	names, firsts, err := segments(dir)
	if err != nil {
		return fmt.Errorf("reading the receipts' journal: %w", err)
	}
	start, found := slices.BinarySearch(firsts, from)
	if !found && start > 0 {
		start--
	}
	for i := start; i < len(names); i++ {
		if err := scanFile(filepath.Join(dir, names[i]), firsts[i], from, fn); err != nil {
			return err
		}
	}
	return nil
}

// standsElsewhere reports whether a line of the journal bears the number seq, in any place.
func standsElsewhere(dir string, seq uint64) (bool, error) {
	names, _, err := segments(dir)
	if err != nil {
		return false, fmt.Errorf("reading the receipts' journal: %w", err)
	}
	number := strconv.AppendUint(nil, seq, 10)
	for _, name := range names {
		src, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return false, fmt.Errorf("reading the receipts' journal: %w", err)
		}
		for line := range bytes.Lines(src) {
			if first, _, ok := bytes.Cut(line, []byte{' '}); ok && bytes.Equal(first, number) {
				return true, nil
			}
		}
	}
	return false, nil
}

func scanFile(path string, first, from uint64, fn func(Record) error) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("opening the receipts' journal: %w", err)
	}
	defer f.Close()
	_, err = scanSegment(f, path, first, from, fn)
	return err
}

func (j *journal) startSegment() error {
	if j.file != nil {
		if err := j.file.Close(); err != nil {
			return fmt.Errorf("closing a segment of the receipts' journal: %w", err)
		}
	}
	f, err := os.OpenFile(filepath.Join(j.dir, segmentName(j.next)), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("starting a segment of the receipts' journal: %w", err)
	}
	j.file, j.size = f, 0
	return syncDir(j.dir)
}

// append writes bodies as the next records and syncs once. When it returns an error, none of them is in the
// journal: the file is cut back to the last record that was acknowledged.
func (j *journal) append(bodies [][]byte) ([]Record, error) {
	if j.size >= segmentSize {
		if err := j.startSegment(); err != nil {
			return nil, err
		}
	}
	records := make([]Record, len(bodies))
	salts := make([]byte, 16*len(bodies))
	if _, err := rand.Read(salts); err != nil {
		return nil, fmt.Errorf("salting receipts: %w", err)
	}
	var buf []byte
	for i, b := range bodies {
		if len(b) > maxLine-256 {
			return nil, fmt.Errorf("a receipt of %d bytes is more than a ledger takes (%d)", len(b), maxLine-256)
		}
		salt := salts[16*i : 16*i+16]
		records[i] = Record{Seq: j.next + uint64(i), Salt: salt, Body: b, Leaf: leafOf(salt, b)}
		buf = appendLine(buf, records[i])
	}
	_, err := j.file.WriteAt(buf, j.size)
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("writing receipts: %w", err), j.file.Truncate(j.size))
	}
	j.size += int64(len(buf))
	j.next += uint64(len(bodies))
	return records, nil
}

func (j *journal) close() error { return j.file.Close() }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
