package main

import (
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/rampart-flags/rampart/internal/cli"
)

// painted is text of our own that may hold colour. Other text is made printable first: it may come from a commit.
type painted string

// row is what the format says, cut into cells at its tabs.
func row(format string, args ...any) []string {
	for i, arg := range args {
		switch arg := arg.(type) {
		case painted:
		case string:
			args[i] = strings.ReplaceAll(cli.Printable(arg), "\t", " ") // a tab of its own would make a cell
		case fmt.Stringer:
			args[i] = cli.Printable(arg.String())
		default:
			if v := reflect.ValueOf(arg); v.Kind() == reflect.String {
				args[i] = cli.Printable(v.String())
			}
		}
	}
	return strings.Split(fmt.Sprintf(format, args...), "\t")
}

var colour = regexp.MustCompile("\x1b\\[[0-9;]*m")

// printRows prints columns two spaces apart. Rows that follow each other without an empty one between them share their widths;
// the last cell of a row widens nothing, and colour takes no room.
func printRows(w io.Writer, rows [][]string) {
	width := func(cell string) int { return utf8.RuneCountInString(colour.ReplaceAllString(cell, "")) }
	for len(rows) > 0 {
		n := 0
		var widths []int
		for ; n < len(rows) && strings.Join(rows[n], "") != ""; n++ {
			for i := range rows[n] {
				if i == len(widths) {
					widths = append(widths, 0)
				}
				if i < len(rows[n])-1 {
					widths[i] = max(widths[i], width(rows[n][i]))
				}
			}
		}
		for _, row := range rows[:n] {
			var line strings.Builder
			for i, cell := range row {
				line.WriteString(cell)
				if i < len(row)-1 {
					line.WriteString(strings.Repeat(" ", widths[i]-width(cell)+2))
				}
			}
			fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
		}
		if rows = rows[n:]; len(rows) > 0 {
			fmt.Fprintln(w)
			rows = rows[1:]
		}
	}
}
