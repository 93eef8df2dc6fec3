package receipt

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// tilesOnDisk reads C2SP tlog-tiles for the Go checksum database's own verifier, which shares no code with what wrote them.
type tilesOnDisk struct{ dir string }

func (tilesOnDisk) Height() int                     { return 8 }
func (tilesOnDisk) SaveTiles([]tlog.Tile, [][]byte) {}
func (d tilesOnDisk) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, t := range tiles {
		// tile/8/L/N in the checksum database is tile/L/N here.
		path := "tile/" + strings.TrimPrefix(t.Path(), "tile/8/")
		data, err := os.ReadFile(filepath.Join(d.dir, "log", path))
		if err != nil { // a partial tile may have grown
			whole, _, _ := strings.Cut(path, ".p/")
			data, err = os.ReadFile(filepath.Join(d.dir, "log", whole))
		}
		if err != nil {
			return nil, err
		}
		out = append(out, data[:t.W*tlog.HashSize])
	}
	return out, nil
}

// Another implementation checks the log: the checkpoint as a signed note, its root from the tiles, the inclusion of every
// record of the journal, and the consistency of an earlier tree with this one.
func TestAnotherImplementationVerifiesTheLog(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 300)
	before := checkpointOf(t, dir)
	fill(t, dir, 400)
	tree := checkpointOf(t, dir)
	if tree.N != 700 {
		t.Fatalf("the checkpoint is of %d leaves", tree.N)
	}
	hashes := tlog.TileHashReader(tree, tilesOnDisk{dir})
	root, err := tlog.TreeHash(tree.N, hashes)
	if err != nil || root != tree.Hash {
		t.Fatalf("root %v, the checkpoint says %v, %v", root, tree.Hash, err)
	}
	consistency, err := tlog.ProveTree(tree.N, before.N, hashes)
	if err != nil {
		t.Fatal(err)
	}
	if err := tlog.CheckTree(consistency, tree.N, tree.Hash, before.N, before.Hash); err != nil {
		t.Fatalf("the tree of %d leaves is no prefix: %v", before.N, err)
	}
	leaves := entriesOf(t, dir, tree.N)
	err = scan(journalDir(dir), 0, func(r Record) error {
		if string(leaves[r.Seq]) != string(r.Leaf[:]) {
			return fmt.Errorf("leaf %d is not the record's digest", r.Seq)
		}
		proof, err := tlog.ProveRecord(tree.N, int64(r.Seq), hashes)
		if err != nil {
			return err
		}
		return tlog.CheckRecord(proof, tree.N, tree.Hash, int64(r.Seq), tlog.RecordHash(r.Leaf[:]))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkpointOf(t *testing.T, dir string) tlog.Tree {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "log", "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	pub, err := os.ReadFile(filepath.Join(dir, "key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(strings.TrimSpace(string(pub)))
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(raw, note.VerifierList(v))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(n.Text, "\n") // origin, size, root (C2SP tlog-checkpoint)
	var tree tlog.Tree
	if lines[0] != "prod/test" {
		t.Fatalf("origin %q", lines[0])
	}
	if _, err := fmt.Sscan(lines[1], &tree.N); err != nil {
		t.Fatal(err)
	}
	if tree.Hash, err = tlog.ParseHash(lines[2]); err != nil {
		t.Fatal(err)
	}
	return tree
}

// entriesOf reads the entry bundles: each entry with its length as two bytes before it.
func entriesOf(t *testing.T, dir string, n int64) [][]byte {
	t.Helper()
	var out [][]byte
	for bundle := int64(0); bundle*256 < n; bundle++ {
		path := filepath.Join(dir, "log", "tile", "entries", fmt.Sprintf("%03d", bundle))
		if rest := n - bundle*256; rest < 256 {
			path += fmt.Sprintf(".p/%d", rest)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for len(data) > 0 {
			size := int(binary.BigEndian.Uint16(data))
			out = append(out, data[2:2+size])
			data = data[2+size:]
		}
	}
	return out
}
