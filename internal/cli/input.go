package cli

import (
	"context"
	"fmt"
	"io"
	"os"
)

// Read reads at most limit bytes of the file at path, "-" being stdin. Stdin and pipes may give nothing for as long as their writer
// likes: when the process is told to end meanwhile, Read returns an error that wraps [context.Canceled] at once.
func (e Env) Read(path string, limit int64) ([]byte, error) {
	if path != "-" {
		if info, err := os.Stat(path); err != nil || info.Mode().IsRegular() {
			return readFile(path, limit)
		}
	}
	type answer struct {
		src []byte
		err error
	}
	got := make(chan answer, 1)
	go func() { // left behind when the process ends: opening and reading a pipe cannot be called off
		var a answer
		if path == "-" {
			a.src, a.err = io.ReadAll(io.LimitReader(e.Stdin, limit))
		} else {
			a.src, a.err = readFile(path, limit)
		}
		got <- a
	}()
	select {
	case a := <-got:
		return a.src, a.err
	case <-e.Ended:
		return nil, fmt.Errorf("reading %s: %w", path, context.Canceled)
	}
}

func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}
