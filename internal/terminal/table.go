package terminal

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Table prints rows in aligned columns. Cells are cleaned: names and reasons
// come from elsewhere.
type Table struct{ w *tabwriter.Writer }

func NewTable(w io.Writer, header ...string) *Table {
	t := &Table{w: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
	t.Row(header...)
	return t
}

// Row appends a row; an empty cell is shown as "-".
func (t *Table) Row(cells ...string) {
	for i, c := range cells {
		if c = Clean(c); c == "" {
			c = "-"
		}
		cells[i] = strings.ReplaceAll(c, "\t", " ")
	}
	fmt.Fprintln(t.w, strings.Join(cells, "\t"))
}

// Flush writes the table.
func (t *Table) Flush() error {
	if err := t.w.Flush(); err != nil {
		return fmt.Errorf("write output: %w", err)
	}

	return nil
}
